package import BitNetCUDADriver
package import BitNetCUDAEngine

/// A device that kernels are checked on, and the memory that a check gives them.
package final class KernelCheckDevice {
  package let library: KernelLibrary
  /// Functions that run in the place of a kernel's own.
  private let substitutes: [Kernel: CUDAFunction]
  private let runsBlocksTogether: Bool
  /// Until the device goes: kernels know addresses alone.
  private var buffers: [CUDABuffer] = []

  /// - Parameters:
  ///   - runsBlocksTogether: launch grids that fit the device cooperatively. On a GPU that makes no difference; the
  ///     emulator runs the blocks of other grids one after the other.
  ///   - substitutes: functions to run in the place of kernels, with those kernels' parameters: how mistakes are
  ///     planted.
  package init(_ library: KernelLibrary, runsBlocksTogether: Bool = false, substitutes: [Kernel: CUDAFunction] = [:]) {
    self.library = library
    self.runsBlocksTogether = runsBlocksTogether
    self.substitutes = substitutes
  }

  /// Device memory of exactly the values' size, in an allocation of its own: what lies before and after cannot be
  /// touched unnoticed.
  package func buffer<Element: BitwiseCopyable>(_ values: [Element]) throws -> CUDABuffer {
    try values.withUnsafeBytes { try buffer(bytes: $0) }
  }

  package func buffer(bytes: UnsafeRawBufferPointer) throws -> CUDABuffer {
    let buffer = try CUDABuffer(library.context, byteCount: bytes.count)
    try buffer.copy(from: bytes)
    buffers.append(buffer)
    return buffer
  }

  /// The address of such memory, 0 for none.
  package func address<Element: BitwiseCopyable>(_ values: [Element]?) throws -> UInt64 {
    try values.map { try buffer($0).address } ?? 0
  }

  /// Runs a kernel to its end.
  ///
  /// - Parameter parameters: the kernel's struct in CUDAKernels.h.
  package func run<Parameters: BitwiseCopyable>(
    _ kernel: Kernel, _ grid: CUDAGrid, sharedBytes: Int = 0, _ parameters: Parameters
  ) throws {
    let function: CUDAFunction
    if let substitute = substitutes[kernel] {
      function = substitute
      if sharedBytes > 48 << 10 { try function.allowSharedMemory(sharedBytes) }
    } else {
      function = try library.prepared(kernel, sharedBytes: sharedBytes)
    }
    var cooperative = false
    if runsBlocksTogether {
      let fitting = try function.maximumBlocksPerMultiprocessor(threads: kernel.threads, sharedBytes: sharedBytes)
      cooperative = grid.x * grid.y * grid.z <= fitting * library.context.device.multiprocessorCount
    }
    try library.stream.launch(
      function, grid: grid, threads: kernel.threads, sharedBytes: sharedBytes, cooperative: cooperative,
      .value(parameters))
    try library.stream.synchronize()
  }
}

extension CUDABuffer {
  /// All it holds.
  func values<Element: BitwiseCopyable>(of type: Element.Type = Element.self) throws -> [Element] {
    let count = byteCount / MemoryLayout<Element>.stride
    return try [Element](unsafeUninitializedCapacity: count) { values, initialized in
      try copy(to: UnsafeMutableRawBufferPointer(values))
      initialized = count
    }
  }
}

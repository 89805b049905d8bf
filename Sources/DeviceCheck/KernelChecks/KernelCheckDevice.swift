package import BitNetCUDADriver
package import BitNetCUDAEngine

/// The device on which kernels are checked, and the memory that a check allocates there.
package final class KernelCheckDevice {
  package let library: KernelLibrary
  /// Functions that run instead of a kernel's own.
  private let substitutes: [Kernel: CUDAFunction]
  private let runsBlocksTogether: Bool
  /// Kept until the device is released, because kernels hold only addresses.
  private var buffers: [CUDABuffer] = []

  /// - Parameters:
  ///   - runsBlocksTogether: whether to launch grids that fit the device cooperatively. On a GPU this makes no
  ///     difference; the emulator runs the blocks of other grids one after another.
  ///   - substitutes: functions to run instead of kernels, with the same parameters. Tests plant mistakes this way.
  package init(_ library: KernelLibrary, runsBlocksTogether: Bool = false, substitutes: [Kernel: CUDAFunction] = [:]) {
    self.library = library
    self.runsBlocksTogether = runsBlocksTogether
    self.substitutes = substitutes
  }

  /// Allocates device memory of exactly the values' size, so that an access before or after it does not go unnoticed.
  package func buffer<Element: BitwiseCopyable>(_ values: [Element]) throws -> CUDABuffer {
    try values.withUnsafeBytes { try buffer(bytes: $0) }
  }

  package func buffer(bytes: UnsafeRawBufferPointer) throws -> CUDABuffer {
    let buffer = try CUDABuffer(library.context, byteCount: bytes.count)
    try buffer.copy(from: bytes)
    buffers.append(buffer)
    return buffer
  }

  /// The address of such memory; 0 when there are no values.
  package func address<Element: BitwiseCopyable>(_ values: [Element]?) throws -> UInt64 {
    try values.map { try buffer($0).address } ?? 0
  }

  /// Runs a kernel and waits for its end.
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
  /// The contents of the buffer.
  func values<Element: BitwiseCopyable>(of type: Element.Type = Element.self) throws -> [Element] {
    let count = byteCount / MemoryLayout<Element>.stride
    return try [Element](unsafeUninitializedCapacity: count) { values, initialized in
      try copy(to: UnsafeMutableRawBufferPointer(values))
      initialized = count
    }
  }
}

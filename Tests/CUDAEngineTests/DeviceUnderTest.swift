import CUDADriver
import CUDAEngine
import CUDAKernels
import CUDATestSupport
import TestSupport
import Ternary

/// A device of the stand-in as a new process would find it, with the kernels, and the buffers that a test gives it.
///
/// A copy of the library has one device: tests on the same copy run one after the other, and a device's user lets go of it before the
/// next one is made.
final class DeviceUnderTest {
  /// Copies of the stand-in's library. Each has variables of its own, so that tests on one disturb no tests on another.
  enum Copy: String {
    case kernels, planted
  }

  let library: KernelLibrary
  /// The mistaken kernel that runs in place of each that is launched.
  private let planted: CUDAFunction?
  private let runsBlocksTogether: Bool
  /// Until the device goes: kernels know addresses alone.
  private var buffers: [CUDABuffer] = []

  /// - Parameters:
  ///   - seed: of the order in which threads run; 0 for the plain one.
  ///   - runsBlocksTogether: whether the blocks of a grid that fits the device take turns, as on a real one. The stand-in does that for
  ///     cooperative launches; other grids run block by block.
  ///   - planted: the name of a mistaken kernel (Tests/CUDAOnCPU/kernels/planted_….cpp) to run in place of the right one.
  init(_ copy: Copy = .kernels, seed: UInt64, runsBlocksTogether: Bool = false, planted: String? = nil) throws {
    let standIn = try Self.standIns[copy]!.get()
    let context = try standIn.context()
    try standIn.setSeed(seed)
    library = try KernelLibrary(context)
    self.runsBlocksTogether = runsBlocksTogether
    self.planted = try planted.map { try standIn.kernel($0, context) }
  }

  /// Device memory of exactly the values' size, in an allocation of its own: what lies before and after cannot be touched unnoticed.
  func buffer<Element: BitwiseCopyable>(_ values: [Element]) throws -> CUDABuffer {
    try values.withUnsafeBytes { try buffer(bytes: $0) }
  }

  func buffer(bytes: UnsafeRawBufferPointer) throws -> CUDABuffer {
    let buffer = try CUDABuffer(library.context, byteCount: bytes.count)
    try buffer.copy(from: bytes)
    buffers.append(buffer)
    return buffer
  }

  /// The address of such memory, 0 for none.
  func address<Element: BitwiseCopyable>(_ values: [Element]?) throws -> UInt64 { try values.map { try buffer($0).address } ?? 0 }

  /// Runs a kernel to its end.
  func run(_ kernel: Kernel, _ grid: CUDAGrid, sharedBytes: Int = 0, _ arguments: CUDAArgument...) throws {
    let function = try planted ?? library.function(kernel)
    if sharedBytes > 48 << 10 { try function.allowSharedMemory(sharedBytes) }
    var cooperative = false
    if runsBlocksTogether {
      let fitting = try function.maximumBlocksPerMultiprocessor(threads: kernel.threads, sharedBytes: sharedBytes)
      cooperative = grid.x * grid.y * grid.z <= fitting * library.context.device.multiprocessorCount
    }
    try library.stream.launch(
      function, grid: grid, threads: kernel.threads, sharedBytes: sharedBytes, cooperative: cooperative, arguments: arguments)
    try library.stream.synchronize()
  }

  private static let standIns: [Copy: Result<StandIn, any Error>] = [
    .kernels: Result { try StandIn(copy: "kernel-tests") }, .planted: Result { try StandIn(copy: "planted-tests") },
  ]
}

extension CUDAArgument {
  static func count(_ value: Int) -> CUDAArgument { .int(Int32(value)) }
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

/// Where two arrays differ first; nil when they are the same. A text of its own, because #expect would look for all the differences of
/// long arrays for minutes.
func difference<Element: Equatable>(_ found: [Element], _ expected: [Element], _ what: String = "output") -> String? {
  difference(found, expected, what) { $0 == $1 }
}

/// The same for numbers that must have the same bits, unless they are not numbers.
func difference(_ found: [Float], _ expected: [Float], _ what: String = "output") -> String? {
  difference(found, expected, what) { $0.bitPattern == $1.bitPattern || ($0.isNaN && $1.isNaN) }
}

private func difference<Element>(_ found: [Element], _ expected: [Element], _ what: String, _ same: (Element, Element) -> Bool) -> String? {
  guard found.count == expected.count else { return "\(what) has \(found.count) elements; expected \(expected.count)" }
  guard let index = found.indices.first(where: { !same(found[$0], expected[$0]) }) else { return nil }
  let count = found.indices.count { !same(found[$0], expected[$0]) }
  return "\(what)[\(index)] is \(found[index]); expected \(expected[index]); \(count) of \(found.count) differ"
}

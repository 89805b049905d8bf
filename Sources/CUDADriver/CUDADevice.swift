import Synchronization

/// A GPU and its capabilities.
package struct CUDADevice: Sendable {
  /// The driver's number for it, from 0.
  package let ordinal: Int
  package let name: String
  /// Compute capability: (9, 0) is Hopper.
  package let capability: (major: Int, minor: Int)
  /// The capability as one number: 90 is 9.0.
  package var computeCapability: Int { 10 * capability.major + capability.minor }
  package let multiprocessorCount: Int
  package let memoryByteCount: Int
  package let l2ByteCount: Int
  /// Bytes of shared memory that a block can have when its kernel allows it.
  package let sharedMemoryPerBlock: Int
  /// The memory's peak bandwidth by its bus and clock; nil if the driver does not report them.
  package let memoryBytesPerSecond: Double?
  /// Whether all blocks of a launch can wait for each other.
  package let supportsCooperativeLaunch: Bool
  /// The GPU's UUID, in hexadecimal digits.
  package let identifier: String
  /// As `cuDriverGetVersion` counts: 12010 is 12.1.
  package var driverVersion: Int { driver.version }
  /// Whether it is a stand-in that runs kernels on the processor: its times mean nothing.
  package var isEmulated: Bool { driver.isEmulated }

  let driver: CUDADriver
  let handle: CUdevice
  let condition = Condition()

  /// Whether a GPU still answers, known to all that was made with one `CUDADevice` and its copies.
  final class Condition: Sendable {
    private let failed = Atomic(false)
    private let abandoned = Atomic(false)

    /// Whether a kernel has ended the context: every call fails.
    var hasFailed: Bool { failed.load(ordering: .acquiring) }
    /// Whether it must not be called any more: a call could wait for ever.
    var isAbandoned: Bool { abandoned.load(ordering: .acquiring) }
    var isUsable: Bool { !hasFailed && !isAbandoned }

    func fail() { failed.store(true, ordering: .releasing) }
    func abandon() { abandoned.store(true, ordering: .releasing) }
  }

  /// Stops all calls to the driver by what was made with this device: they throw, and memory is never freed. For a GPU
  /// whose kernel does not end: the driver would wait for it.
  package func abandon() { condition.abandon() }

  private enum Attribute: Int32 {
    case multiprocessorCount = 16
    /// In kHz.
    case memoryClockRate = 36
    /// In bits.
    case memoryBusWidth = 37
    case l2ByteCount = 38
    case capabilityMajor = 75
    case capabilityMinor = 76
    case cooperativeLaunch = 95
    case sharedMemoryPerBlock = 97
  }

  init(_ driver: CUDADriver, ordinal: Int) throws(CUDAError) {
    let functions = driver.functions
    var handle: CUdevice = 0
    try driver.check(functions.cuDeviceGet(&handle, Int32(ordinal)), "cuDeviceGet", "device \(ordinal)")
    var name = [CChar](repeating: 0, count: 256)
    try driver.check(
      functions.cuDeviceGetName(&name, Int32(name.count), handle), "cuDeviceGetName", "device \(ordinal)")
    var identifier: UUIDBytes = (0, 0)
    try driver.check(functions.cuDeviceGetUuid(&identifier, handle), "cuDeviceGetUuid", "device \(ordinal)")
    var memoryByteCount = 0
    try driver.check(functions.cuDeviceTotalMem(&memoryByteCount, handle), "cuDeviceTotalMem", "device \(ordinal)")

    func attribute(_ attribute: Attribute) throws(CUDAError) -> Int {
      var value: Int32 = 0
      try driver.check(
        functions.cuDeviceGetAttribute(&value, attribute.rawValue, handle), "cuDeviceGetAttribute",
        "attribute \(attribute.rawValue) of device \(ordinal)")
      return Int(value)
    }
    self.driver = driver
    self.handle = handle
    self.ordinal = ordinal
    self.name = String(decoding: name.prefix { $0 != 0 }.map { UInt8(truncatingIfNeeded: $0) }, as: UTF8.self)
    self.identifier = withUnsafeBytes(of: identifier) { bytes in
      bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
    self.memoryByteCount = memoryByteCount
    capability = (try attribute(.capabilityMajor), try attribute(.capabilityMinor))
    multiprocessorCount = try attribute(.multiprocessorCount)
    l2ByteCount = try attribute(.l2ByteCount)
    sharedMemoryPerBlock = try attribute(.sharedMemoryPerBlock)
    supportsCooperativeLaunch = try attribute(.cooperativeLaunch) != 0
    // These two attributes only describe the device, and are deprecated since CUDA 13: a driver without them is as good
    // as any.
    if let width = try? attribute(.memoryBusWidth), let clock = try? attribute(.memoryClockRate), width > 0, clock > 0 {
      // Each wire of the bus makes two transfers in a clock.
      memoryBytesPerSecond = 2 * Double(width) / 8 * Double(clock) * 1000
    } else {
      memoryBytesPerSecond = nil
    }
  }
}

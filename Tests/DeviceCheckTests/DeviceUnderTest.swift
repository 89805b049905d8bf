import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDeviceCheck
import CUDATestSupport

/// Devices of the stand-in with the kernels, in the state that a new process finds.
///
/// A copy of the library has one device, so tests on the same copy run one after another, and a device is released
/// before the next one is made.
enum DeviceUnderTest {
  /// Copies of the stand-in's library. Each has its own variables, so that tests on different copies do not interfere.
  enum Copy: String {
    case kernels, planted
  }

  /// - Parameters:
  ///   - seed: the seed of the order in which threads run; 0 for plain order.
  ///   - runsBlocksTogether: whether the blocks of a grid that fits the device interleave, as on a real one. The
  ///     stand-in does this for cooperative launches; it runs other grids block by block.
  ///   - planted: the names of broken kernels (Tests/CUDAOnCPU/kernels/planted_….cpp) to run instead of the right ones.
  static func start(
    _ copy: Copy = .kernels, seed: UInt64, runsBlocksTogether: Bool = false, planted: [Kernel: String] = [:]
  ) throws -> KernelCheckDevice {
    let standIn = try standIns[copy]!.get()
    let context = try standIn.context()
    try standIn.setSeed(seed)
    return KernelCheckDevice(
      try KernelLibrary(context), runsBlocksTogether: runsBlocksTogether,
      substitutes: try planted.mapValues { try standIn.kernel($0, context) })
  }

  private static let standIns: [Copy: Result<StandIn, any Error>] = [
    .kernels: Result { try StandIn(copy: "kernel-tests") }, .planted: Result { try StandIn(copy: "planted-tests") },
  ]
}

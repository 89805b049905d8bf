import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDeviceCheck
import CUDATestSupport

/// Devices of the stand-in as a new process would find them, with the kernels.
///
/// A copy of the library has one device: tests on the same copy run one after the other, and a device's user lets go of
/// it before the next one is made.
enum DeviceUnderTest {
  /// Copies of the stand-in's library. Each has variables of its own, so that tests on one disturb no tests on another.
  enum Copy: String {
    case kernels, planted
  }

  /// - Parameters:
  ///   - seed: of the order in which threads run; 0 for the plain one.
  ///   - runsBlocksTogether: whether the blocks of a grid that fits the device take turns, as on a real one. The
  ///     stand-in does that for cooperative launches; other grids run block by block.
  ///   - planted: the names of mistaken kernels (Tests/CUDAOnCPU/kernels/planted_….cpp) to run in place of the right
  ///     ones.
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

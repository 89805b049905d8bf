import BitNetRandomModels
import BitNetCUDAEngine
import BitNetDeviceCheck
import TestSupport
import Testing

/// Tests of single kernels on the stand-in, one after another, because it has one device.
///
/// Each test draws its cases from seeds, which a failure names. The order of threads is drawn from the same seed; seeds
/// divisible by four keep plain order. With odd seeds, blocks interleave.
@Suite("Each kernel gives the bits of its scalar specification", .serialized)
enum KernelTests {
  /// Runs a case for each seed, up to the first failure.
  static func run(
    _ seeds: Range<UInt64>, at location: SourceLocation = #_sourceLocation,
    _ check: (inout SeededGenerator) throws -> any KernelCheck
  ) {
    for seed in seeds {
      do {
        var generator = SeededGenerator(seed: seed)
        let device = try DeviceUnderTest.start(seed: seed % 4 == 0 ? 0 : seed, runsBlocksTogether: seed % 2 == 1)
        let check = try check(&generator)
        let comparison = try check.comparison(on: device)
        if comparison.compared > 0 && comparison.differing == 0 { continue }
        let mistake = comparison.first ?? "nothing was compared"
        Issue.record("seed \(seed), \(check.shape): \(mistake)", sourceLocation: location)
      } catch {
        Issue.record("seed \(seed): \(error)", sourceLocation: location)
      }
      return
    }
  }
}

import CUDADriver
import CUDAEngine
import TestSupport
import Testing

/// The kernels with one thing broken (Tests/CUDAOnCPU/kernels/planted_….cpp), run as the tests of the right ones run those: the emulator
/// must not let them pass.
@Suite("Planted mistakes are noticed", .serialized)
struct PlantedMistakeTests {
  @Test("A barrier that is missing")
  func missingBarrier() throws {
    let runs = try runs("selftest_planted_missing_barrier") { try ProductCase(.gemv, .project, &$1).mistake(on: $0) }
    #expect(runs.contains(.wrongResult))
  }

  @Test("A wait for copies that comes too early")
  func earlyWait() throws {
    let runs = try runs("selftest_planted_early_wait") { try ProductCase(.gemm, .project, &$1).mistake(on: $0) }
    #expect(runs.contains(.wrongResult))
  }

  @Test("Registers of a matrix product that are swapped")
  func swappedFragments() throws {
    let runs = try runs("selftest_planted_swapped_fragments") { try ProductCase(.few, .project, &$1).mistake(on: $0) }
    #expect(runs.contains(.wrongResult))
  }

  @Test("A row read past the end that changes no result")
  func readPastEnd() throws {
    let runs = try runs("selftest_planted_read_past_end") { device, generator in
      try ProductCase(.gemv, .project, &generator, shape: ([30, 5], generator.int(33...300))).mistake(on: device)
    }
    #expect(runs.allSatisfy { $0 == .error(700) })
  }

  @Test("A shuffle over a wrong distance")
  func droppedLane() throws {
    let runs = try runs("selftest_planted_dropped_lane") { try HeadCase(&$1).mistake(on: $0, tokens: 4, blocks: 2) }
    #expect(runs.contains(.wrongResult))
  }

  @Test("A barrier that some threads do not come to")
  func unreachedBarrier() throws {
    let runs = try runs("selftest_planted_unreached_barrier") { try QuantizerCase(&$1).mistake(on: $0) }
    #expect(runs.allSatisfy { $0 == .error(719) })
  }

  @Test("A shared counter that is not added to in one piece")
  func plainAddition() throws {
    let runs = try runs("selftest_planted_plain_addition", seeds: 1..<40) { try SamplerCase(&$1).mistake(on: $0) }
    #expect(runs.contains(.wrongResult))
  }

  private enum Run: Equatable {
    /// What must not be all that there is.
    case unnoticed
    case wrongResult
    /// The driver's number.
    case error(UInt32)
  }

  /// Runs a case for some seeds with the mistaken kernel; the right kernel must do it right.
  private func runs(
    _ kernel: String, seeds: Range<UInt64> = 0..<6, _ body: (DeviceUnderTest, inout SeededGenerator) throws -> String?
  ) throws -> [Run] {
    try seeds.map { seed in
      do {
        var generator = SeededGenerator(seed: seed)
        let mistake = try body(DeviceUnderTest(.planted, seed: seed, runsBlocksTogether: seed % 2 == 1), &generator)
        #expect(mistake == nil, "seed \(seed), the right kernel")
      }
      do {
        var generator = SeededGenerator(seed: seed)
        let device = try DeviceUnderTest(.planted, seed: seed, runsBlocksTogether: seed % 2 == 1, planted: kernel)
        return try body(device, &generator) == nil ? .unnoticed : .wrongResult
      } catch CUDAError.call("cuStreamSynchronize", let result, _) {
        return .error(result.code)
      }
    }
  }
}

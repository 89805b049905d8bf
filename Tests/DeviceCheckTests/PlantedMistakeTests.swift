import BitNetRandomModels
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDeviceCheck
import TestSupport
import Testing

/// Kernels with one mistake each (Tests/CUDAOnCPU/kernels/planted_….cpp), run like the right kernels in their tests.
/// The emulator must not let them pass.
@Suite("Planted mistakes are detected", .serialized)
struct PlantedMistakeTests {
  @Test("A missing barrier")
  func missingBarrier() throws {
    let runs = try runs(.gemvProject, "selftest_planted_missing_barrier") { try ProductCheck(.gemv, .project, &$0) }
    #expect(runs.contains(.wrongResult))
  }

  @Test("A wait for copies that ends too early")
  func earlyWait() throws {
    let runs = try runs(.gemm32x64Project, "selftest_planted_early_wait") {
      try ProductCheck(.gemm32x64, .project, &$0)
    }
    #expect(runs.contains(.wrongResult))
  }

  @Test("The same in the attention of windows")
  func earlyWindowWait() throws {
    let runs = try runs(.attendWindow, "selftest_planted_early_window_wait") { PromptAttentionCheck(windows: &$0) }
    #expect(runs.contains(.wrongResult))
  }

  @Test("Swapped registers of a matrix product")
  func swappedFragments() throws {
    let runs = try runs(.fewProject, "selftest_planted_swapped_fragments") { try ProductCheck(.few, .project, &$0) }
    #expect(runs.contains(.wrongResult))
  }

  @Test("A read of a row past the end that changes no result")
  func readPastEnd() throws {
    let runs = try runs(.gemvProject, "selftest_planted_read_past_end") {
      try ProductCheck(.gemv, .project, &$0, shape: ([30, 5], $0.int(33...300)))
    }
    #expect(runs.allSatisfy { $0 == .error(700) })
  }

  @Test("A shuffle over the wrong distance")
  func droppedLane() throws {
    let runs = try runs(.head4, "selftest_planted_dropped_lane") { HeadCheck(&$0, tokens: 4, blocks: 2) }
    #expect(runs.contains(.wrongResult))
  }

  @Test("A barrier that some threads do not reach")
  func unreachedBarrier() throws {
    let runs = try runs(.quantizeRows, "selftest_planted_unreached_barrier") { QuantizerCheck(&$0) }
    #expect(runs.allSatisfy { $0 == .error(719) })
  }

  @Test("A shared counter without an atomic addition")
  func plainAddition() throws {
    let runs = try runs(.sampleRows, "selftest_planted_plain_addition", seeds: 1..<40) { SamplerCheck(&$0) }
    #expect(runs.contains(.wrongResult))
  }

  private enum Run: Equatable {
    /// A finding that would be too weak if it were the only one.
    case unnoticed
    case wrongResult
    /// The driver's error code.
    case error(UInt32)
  }

  /// Runs a case for some seeds with the broken kernel. The right kernel must pass the same cases.
  private func runs(
    _ kernel: Kernel, _ planted: String, seeds: Range<UInt64> = 0..<6,
    _ check: (inout SeededGenerator) throws -> any KernelCheck
  ) throws -> [Run] {
    try seeds.map { seed in
      var generator = SeededGenerator(seed: seed)
      let check = try check(&generator)
      let right = try check.comparison(
        on: DeviceUnderTest.start(.planted, seed: seed, runsBlocksTogether: seed % 2 == 1))
      #expect(right.differing == 0, "seed \(seed), the right kernel: \(right.first ?? "")")
      do {
        let device = try DeviceUnderTest.start(
          .planted, seed: seed, runsBlocksTogether: seed % 2 == 1, planted: [kernel: planted])
        return try check.comparison(on: device).differing == 0 ? .unnoticed : .wrongResult
      } catch CUDAError.call("cuStreamSynchronize", let result, _) {
        return .error(result.code)
      }
    }
  }
}

import BitNetCUDADriver
package import BitNetCUDAEngine
import CBitNetCUDAKernels
import BitNetInference
import BitNetRandomModels

/// Checks of all kernels except the cooperative ones, which are checked as engines. The kernels that all others rely on
/// come first.
package struct KernelCheckList {
  package static let kernels: [Kernel] = [
    .embedRows, .quantizeRows, .gemvExact, .gemvProject, .gemvAdd, .gemvActivate, .fewExact, .fewProject, .fewAdd,
    .fewActivate,
    .gemm32x64Exact, .gemm32x64Project, .gemm32x64Add, .gemm32x64Activate,
    .gemm64x64Exact, .gemm64x64Project, .gemm64x64Add, .gemm64x64Activate,
    .gemm128x64Exact, .gemm128x64Project, .gemm128x64Add, .gemm128x64Activate,
    .gemm96x128Exact, .gemm96x128Project, .gemm96x128Add, .gemm96x128Activate,
    .gemm128x128Exact, .gemm128x128Project, .gemm128x128Add, .gemm128x128Activate,
    .gemm256x128Exact, .gemm256x128Project, .gemm256x128Add, .gemm256x128Activate,
    .rotateAndAppend, .attendDecode, .attendPrompt, .head1, .head4, .head8,
    .screenBuild, .screen1, .screen4, .screenTokens, .screenMany, .screenCuts, .screenRescore, .adjustRows,
    .sampleRows, .describeRows,
    .quantizeParts, .normalizeHeads, .addBranch, .gateRows, .scaleOutputs, .attendWindow,
  ]

  private let shapes: Int
  private let isShort: Bool
  private let seed: UInt64

  /// - Parameters:
  ///   - shapes: the number of random shapes for each kernel.
  ///   - isShort: whether to leave out the shapes of BitNet b1.58 2B-4T.
  ///   - seed: the seed of all random inputs. The same seed repeats the same checks.
  package init(shapes: Int, isShort: Bool, seed: UInt64) {
    (self.shapes, self.isShort, self.seed) = (shapes, isShort, seed)
  }

  /// Checks the kernels one after another. An error of a kernel is the result of its own check.
  ///
  /// - Parameters:
  ///   - device: makes a new device for each case.
  ///   - each: called with each kernel's check as soon as it is complete.
  package func run(on device: () -> KernelCheckDevice, each: (EqualityCheck) throws -> Void) rethrows {
    var large = LargeCases(seed: seed)
    for kernel in Self.kernels { try each(check(kernel, on: device, &large)) }
  }

  private func check(_ kernel: Kernel, on device: () -> KernelCheckDevice, _ large: inout LargeCases) -> EqualityCheck {
    let count = shapes + (isShort ? 0 : large.count(kernel))
    return EqualityCheck(kernel.rawValue, cases: plural(count, "shape")) { check in
      for index in 0..<count {
        var here = "\(kernel.rawValue), case \(index) of seed \(seed)"
        try CheckError.naming(here) {
          let inputs: any KernelCheck
          if index < shapes {
            var generator = SplitMix64(seed: seed &+ UInt64(index) << 32)
            inputs = try Self.random(kernel, &generator)
          } else {
            inputs = try large.make(kernel, index - shapes)
          }
          here += ": \(inputs.shape)"
          check.add(try inputs.comparison(on: device()), place: here)
        }
      }
    }
  }

  private static func random(_ kernel: Kernel, _ generator: inout SplitMix64) throws -> any KernelCheck {
    switch kernel {
    case .embedRows: return EmbeddingCheck(&generator)
    case .quantizeRows: return QuantizerCheck(&generator)
    case .rotateAndAppend: return RotaryCheck(&generator)
    case .attendDecode: return DecodeAttentionCheck(&generator)
    case .attendPrompt: return PromptAttentionCheck(&generator)
    case .attendWindow: return PromptAttentionCheck(windows: &generator)
    case .quantizeParts: return PartQuantizerCheck(&generator)
    case .normalizeHeads: return HeadNormCheck(&generator)
    case .addBranch: return BranchCheck(&generator)
    case .gateRows: return GateCheck(&generator)
    case .scaleOutputs: return OutputScaleCheck(&generator)
    case .head1: return HeadCheck(&generator, tokens: 1)
    case .head4: return HeadCheck(&generator, tokens: 4)
    case .head8: return HeadCheck(&generator, tokens: 8)
    case .screenBuild: return ScreenCopyCheck(&generator)
    case .screen1: return ScreenCheck(&generator, .bounds, tokens: 1)
    case .screen4: return ScreenCheck(&generator, .bounds, tokens: 4)
    // Both together, on different shapes.
    case .screenTokens, .screenMany: return ScreenCheck(&generator, .bounds, tokens: Int(screenGroup))
    case .screenCuts: return ScreenCutsCheck(&generator)
    case .screenRescore:
      return ScreenCheck(&generator, .logits, tokens: [1, 4, Int(screenGroup)][generator.int(0...2)])
    case .adjustRows: return AdjustmentCheck(&generator)
    case .sampleRows: return SamplerCheck(&generator)
    case .describeRows: return DescriptionCheck(&generator)
    case .decodeOne, .decodeOneSmall, .decodeResident, .decodeFew, .decodeOneTraced, .decodeOneSmallTraced,
      .decodeResidentTraced, .decodeFewTraced:
      preconditionFailure("\(kernel.rawValue) is checked with its engine")
    default:
      let (path, outcome) = kernel.product!
      return try ProductCheck(path, outcome, &generator)
    }
  }
}

/// Shapes of BitNet b1.58 2B-4T: hidden rows of 2560, 6912 between, 20 heads of 128 and 5 for keys; for the kernels
/// that it does not need, those of Qwen3 0.6B (1024, 3072, 16 heads of 128 and 8 for keys) and of Gemma 3 (heads of
/// 256).
private struct LargeCases {
  private var generator: SplitMix64
  private let heads = Heads(keyValueHeads: 5, group: 4, size: 128)
  /// A part of the vocabulary. Its logits take long to compute, so the kernels share them.
  private var head: HeadInputs?

  init(seed: UInt64) { generator = SplitMix64(seed: ~seed) }

  func count(_ kernel: Kernel) -> Int {
    [.quantizeRows, .attendDecode, .attendPrompt, .quantizeParts, .attendWindow].contains(kernel) ? 2 : 1
  }

  mutating func make(_ kernel: Kernel, _ index: Int) throws -> any KernelCheck {
    switch kernel {
    case .embedRows: return EmbeddingCheck(&generator, vocabulary: 1000, hidden: 2560, rows: 64)
    case .quantizeRows: return QuantizerCheck(&generator, columns: [2560, 6912][index], rows: 64)
    case .rotateAndAppend: return RotaryCheck(&generator, heads, rowCount: 64, length: 300)
    // Eighteen chunks and fewer, alone and together with other sequences.
    case .attendDecode:
      return DecodeAttentionCheck(
        &generator, heads, rowCount: [4, 1][index], decoding: [4, 1][index],
        lengths: [[1100, 640, 63, 0], [1087]][index], blocks: 18)
    case .attendPrompt: return PromptAttentionCheck(&generator, heads, [[(24, 1076), (5, 64)], [(128, 0)]][index])
    case .attendWindow:
      let heads = Heads(keyValueHeads: 1, group: [3, 4][index], size: 256)
      return PromptAttentionCheck(
        &generator, heads, [[(130, 600), (70, 0)], [(300, 0)]][index],
        windows: [.init(window: 512), .init(window: 200, isBidirectional: true)][index])
    case .quantizeParts: return PartQuantizerCheck(&generator, columns: [1024, 3072][index], rows: 64)
    case .normalizeHeads:
      return HeadNormCheck(&generator, Heads(keyValueHeads: 8, group: 2, size: 128), rows: 64)
    case .addBranch: return BranchCheck(&generator, hidden: 1024, rows: 64)
    case .gateRows: return GateCheck(&generator, width: 3072, rows: 64)
    case .scaleOutputs: return OutputScaleCheck(&generator, hidden: 2560, rowCount: 8)
    case .head1: return HeadCheck(largeHead(), tokens: 1, blocks: 100)
    case .head4: return HeadCheck(largeHead(), tokens: 4, blocks: 100)
    case .head8: return HeadCheck(largeHead(), tokens: 8, blocks: 100)
    case .screenBuild: return ScreenCopyCheck(largeHead(), blocks: 300)
    case .screen1: return ScreenCheck(largeHead(), .bounds, tokens: 1, blocks: 100, &generator)
    case .screen4: return ScreenCheck(largeHead(), .bounds, tokens: 4, blocks: 100, &generator)
    case .screenTokens, .screenMany:
      return ScreenCheck(largeHead(), .bounds, tokens: Int(screenGroup), blocks: 100, &generator)
    case .screenCuts: return ScreenCutsCheck(&generator, vocabulary: 128_256)
    case .screenRescore: return ScreenCheck(largeHead(), .logits, tokens: 4, blocks: 30, &generator)
    case .adjustRows: return AdjustmentCheck(&generator, vocabulary: 128_256)
    case .sampleRows: return SamplerCheck(&generator, vocabulary: 128_256)
    case .describeRows: return DescriptionCheck(&generator, vocabulary: 128_256)
    case .decodeOne, .decodeOneSmall, .decodeResident, .decodeFew, .decodeOneTraced, .decodeOneSmallTraced,
      .decodeResidentTraced, .decodeFewTraced:
      preconditionFailure("\(kernel.rawValue) is checked with its engine")
    default:
      let (path, outcome) = kernel.product!
      let shape: (rows: [Int], columns: Int) =
        switch outcome {
        case .project, .exact: ([2560, 640, 640], 2560)
        case .add: ([2560], 6912)
        case .activate: ([6912, 6912], 2560)
        }
      return try ProductCheck(path, outcome, &generator, shape: shape, tokens: path == .few ? 8 : 70)
    }
  }

  private mutating func largeHead() -> HeadInputs {
    if let head { return head }
    let made = HeadInputs(&generator, vocabulary: 8192, hidden: 2560, rowCount: 4, outputs: 9)
    head = made
    return made
  }
}

extension Kernel {
  /// The product that the kernel computes, if any.
  fileprivate var product: (path: Products.Path, outcome: Products.Outcome)? {
    for path in Products.Path.allCases {
      for outcome in [Products.Outcome.project, .add, .activate, .exact] where Products.kernel(path, outcome) == self {
        return (path, outcome)
      }
    }
    return nil
  }
}

extension EqualityCheck {
  /// - Parameter place: describes the run, for the sentence about the first number that differs.
  fileprivate mutating func add(_ comparison: KernelComparison, place: String) {
    compared += comparison.compared
    differing += comparison.differing
    if first == nil { first = comparison.first.map { "\(place): \($0)" } }
  }
}

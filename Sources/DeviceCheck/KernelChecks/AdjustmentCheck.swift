import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
package import BitNetRandomModels
import CBitNetCUDAKernels

/// The logits and best keys of several outputs after their biases, penalties and masks.
package struct AdjustmentCheck: KernelCheck {
  private let vocabulary: Int
  private let logits: [[Float]]
  private let adjustments: [RowAdjustment?]
  /// The repetition penalties of the outputs that change, and the tokens that they apply to.
  private let penalties: [(value: Float, tokens: [Int32])]
  private let temperatures: [Float]

  package init(_ generator: inout SplitMix64) {
    self.init(&generator, vocabulary: generator.int(1...(generator.chance(30) ? 5000 : 200)))
  }

  package init(_ generator: inout SplitMix64, vocabulary: Int) {
    self.vocabulary = vocabulary
    let outputs = generator.int(1...8)
    temperatures = (0..<outputs).map { _ in [0, 0.7, 1e-6].randomElement(using: &generator)! }
    logits = (0..<outputs).map { _ in
      // Some are minus infinity after the division by the lowest temperature.
      let areHuge = generator.chance(20)
      return (0..<vocabulary).map { _ in
        areHuge
          ? generator.float(-1e35...(-1e33))
          : generator.chance(5)
            ? [.nan, -.infinity, .infinity].randomElement(using: &generator)! : generator.float(-12...12)
      }
    }
    adjustments = (0..<outputs).map { output in
      // At least one output changes, without which nothing is launched.
      output > 0 && generator.chance(30) ? nil : Self.adjustment(vocabulary, &generator)
    }
    penalties = (0..<outputs).map { _ in Self.penalty(vocabulary, &generator) }
  }

  private static func penalty(_ vocabulary: Int, _ generator: inout SplitMix64) -> (value: Float, tokens: [Int32]) {
    guard generator.chance(50) else { return (1, []) }
    let tokens = Set((0..<generator.int(1...1500)).map { _ in Int32(generator.int(0...vocabulary - 1)) })
    return (generator.float(0.1...3), tokens.sorted())
  }

  private static func adjustment(_ vocabulary: Int, _ generator: inout SplitMix64) -> RowAdjustment {
    var mask: TokenMask?
    if generator.chance(80) {
      var words = (0..<(vocabulary + 31) / 32).map { _ in UInt32(truncatingIfNeeded: generator.next()) }
      if generator.chance(40) { words = words.map { _ in 0 } }
      var made = TokenMask(words: words, vocabulary: vocabulary)
      made[generator.int(0...vocabulary - 1)] = true
      mask = made
    }
    let biased = Set((0..<generator.int(0...20)).map { _ in Int32(generator.int(0...vocabulary - 1)) })
    return RowAdjustment(
      mask: mask, biases: biased.sorted().map { TokenBias(token: $0, value: generator.float(-100...100)) })
  }

  package var shape: String {
    let changes = zip(adjustments, penalties).map { adjustment, penalty in
      guard let adjustment else { return "none" }
      return "\(adjustment.mask.map { "\($0.count)" } ?? "all") allowed, \(adjustment.biases.count) biases, "
        + "penalty \(penalty.value) for \(penalty.tokens.count)"
    }
    return "vocabulary \(vocabulary), outputs: \(changes.joined(separator: "; "))"
  }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let found = try device.buffer(logits.flatMap { $0 })
    let best = try device.buffer(logits.map(ScalarArithmetic.bestKey))
    let records = try zip(adjustments, penalties).map { adjustment, penalty in
      guard let adjustment else { return OutputAdjustment() }
      return OutputAdjustment(
        mask: try adjustment.mask.map { try device.address($0.words) } ?? 0,
        biases: try device.address(
          adjustment.biases.map { Bias(token: $0.token, value: $0.value) } + [Bias(token: 0, value: 0)]),
        penalized: try device.address(penalty.tokens + [0]), biasCount: Int32(adjustment.biases.count),
        penalizedCount: Int32(penalty.tokens.count), penalty: penalty.value, isAdjusted: 1)
    }
    try device.run(
      .adjustRows, CUDAGrid(logits.count), sharedBytes: Int(sampleScratchBytes),
      AdjustParameters(
        logits: found.address, best: best.address, adjustments: device.address(records),
        sampling: device.address(temperatures.map { RowSampling(.init(temperature: $0)) }),
        vocabulary: Int32(vocabulary)))

    let expected = logits.indices.map { output in
      adjustments[output].map {
        Self.adjusted(logits[output], $0, penalties[output], temperature: temperatures[output])
      }
        ?? (logits[output], ScalarArithmetic.bestKey(logits[output]))
    }
    var comparison = KernelComparison()
    comparison.compare(try found.values(), expected.flatMap(\.0), "logits", width: vocabulary)
    comparison.compare(try best.values(), expected.map(\.1), "best")
    return comparison
  }

  private static func adjusted(
    _ logits: [Float], _ adjustment: RowAdjustment, _ penalty: (value: Float, tokens: [Int32]), temperature: Float
  ) -> ([Float], UInt64) {
    var logits = logits
    for bias in adjustment.biases { logits[Int(bias.token)] += bias.value }
    for token in penalty.tokens.map(Int.init) {
      logits[token] = logits[token] > 0 ? logits[token] / penalty.value : logits[token] * penalty.value
    }
    // The largest; among equal ones the first, of the allowed tokens alone.
    var best: Int?
    for id in logits.indices where adjustment.allows(id) {
      if best == nil || logits[id] > logits[best!] || (logits[best!].isNaN && logits[id] > -.infinity) { best = id }
    }
    let key = ScalarArithmetic.key(logits[best!], best!)
    for id in logits.indices where !adjustment.allows(id) { logits[id] = -.infinity }
    if !(logits[best!] / (temperature > 0 ? temperature : 1) > -.infinity) {
      logits[logits.indices.first(where: adjustment.allows)!] = 0
    }
    return (logits, key)
  }
}

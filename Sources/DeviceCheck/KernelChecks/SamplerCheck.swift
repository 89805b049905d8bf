import BitNetCUDAEngine
import BitNetCUDADriver
import CBitNetCUDAKernels
import BitNetInference
package import BitNetRandomModels

/// The tokens sampled for several outputs, each with its own parameters.
package struct SamplerCheck: KernelCheck {
  private let vocabulary: Int
  private let logits: [[Float]]
  private let parameters: [SamplingParameters]
  private let positions: [Int32]
  /// The row of the batch of each output.
  private let rows: [Int]
  private let rowCount: Int
  /// The number of messages that each output has sent before.
  private let rounds: [UInt32]
  private let messageRounds: Int
  /// What was left out of the logits of each output, at the first attempt of a screened head; nil without one.
  private let cuts: [Cut]?
  /// Whether each output needs a second attempt, which this is; nil if it is the first or the only one.
  private let retries: [Bool]?

  /// Logits that were not computed.
  private struct Cut {
    var threshold: Float
    var seen: [Bool]
    /// At least their weight.
    var unseen: UInt64
  }

  package init(_ generator: inout SplitMix64) {
    let vocabulary =
      generator.chance(30) ? generator.int(1...20) : generator.int(1...(generator.chance(30) ? 5000 : 1500))
    self.init(&generator, vocabulary: vocabulary)
  }

  package init(_ generator: inout SplitMix64, vocabulary: Int) {
    self.vocabulary = vocabulary
    let rowCount = generator.int(1...5)
    self.rowCount = rowCount
    rows = Array((0..<rowCount).shuffled(using: &generator).prefix(generator.int(1...rowCount)))
    positions = (0..<rowCount).map { _ in Int32(generator.int(0...100_000)) }
    messageRounds = generator.int(1...5)
    rounds = rows.map { _ in UInt32(generator.int(0...20)) }
    logits = rows.map { _ in Self.logits(vocabulary, &generator) }
    parameters = rows.map { _ in
      SamplingParameters(
        temperature: generator.chance(15)
          ? 0 : generator.chance(50) ? generator.float(0.1...2) : generator.float(0.1...100),
        topK: generator.chance(50)
          ? 0
          : [1, 2, 40, vocabulary, vocabulary + 1, generator.int(1...vocabulary)].randomElement(using: &generator)!,
        topP: generator.chance(50)
          ? 1 : [0.9, 1e-6, 0.999_999, generator.float(0.001...1)].randomElement(using: &generator)!,
        minP: generator.chance(50) ? 0 : [1, 0.05, 1e-13, generator.float(0...1)].randomElement(using: &generator)!,
        seed: generator.next())
    }
    let parameters = parameters
    retries = generator.chance(25) ? rows.map { _ in generator.chance(50) } : nil
    cuts =
      retries == nil && generator.chance(60) ? zip(logits, parameters).map { Self.cut($0, $1, &generator) } : nil
  }

  /// A cut somewhere among the logits, for outputs that have one.
  private static func cut(_ logits: [Float], _ parameters: SamplingParameters, _ generator: inout SplitMix64) -> Cut {
    var cut = Cut(threshold: -.infinity, seen: logits.map { _ in true }, unseen: 0)
    let largest = logits.filter { !$0.isNaN }.max() ?? -.infinity
    let temperature = parameters.temperature
    guard largest.isFinite, (largest / temperature).isFinite, temperature > 0, parameters.topP < 1,
      parameters.topK == 0
    else { return cut }
    cut.threshold = largest - temperature * generator.float(0...16)
    let seenBelow = [20, 90, 99].randomElement(using: &generator)!
    cut.seen = logits.map { $0 >= cut.threshold || $0.isNaN || generator.chance(seenBelow) }
    var unseen: UInt64 = 0
    for (logit, isSeen) in zip(logits, cut.seen) where !isSeen {
      unseen += UInt64(canonicalExponential(logit / temperature - largest / temperature) * 0x1p40)
    }
    cut.unseen = unseen + [1, unseen / 100 + 1, unseen + 1].randomElement(using: &generator)!
    return cut
  }

  /// Whether an output's token is open after the attempt.
  private func isOpen(_ output: Int) -> Bool {
    guard let cut = cuts?[output], cut.unseen > 0 else { return false }
    var parameters = parameters[output]
    parameters.minP = 0
    let ids = cut.seen.indices.filter { cut.seen[$0] }.map(Int32.init)
    let seen = ids.map { logits[output][Int($0)] }
    return ids.withUnsafeBufferPointer { ids in
      seen.withUnsafeBufferPointer {
        Sampler.choose(
          $0, ids: ids, parameters: parameters, position: 0, unseen: .init(weight: cut.unseen, below: cut.threshold))
      }
    } == nil
  }

  static func logits(_ count: Int, _ generator: inout SplitMix64) -> [Float] {
    var logits = (0..<count).map { _ in generator.float(-12...12) }
    switch generator.int(0...7) {
    case 0: logits = logits.map { ($0 / 4).rounded() }  // ties
    case 1: logits = logits.map { _ in 2.5 }
    case 2:
      for _ in 0...count / 3 {
        logits[generator.int(0...count - 1)] = [.nan, -.infinity].randomElement(using: &generator)!
      }
    case 3: logits = logits.map { _ in [.nan, -.infinity].randomElement(using: &generator)! }
    case 4 where generator.chance(30): logits[generator.int(0...count - 1)] = .infinity
    case 5: logits = logits.map { $0 * 1e-4 }
    case 6: logits = logits.map { $0 * 20 }
    default: break
    }
    return logits
  }

  package var shape: String {
    let sampling = parameters.map {
      "(temperature \($0.temperature), top-k \($0.topK), top-p \($0.topP), min-p \($0.minP), seed \($0.seed))"
    }
    let attempt =
      retries.map { "second attempt for \($0)" }
      ?? cuts.map { "cuts at \($0.map(\.threshold)), unseen \($0.map(\.unseen))" } ?? "no cuts"
    return "\(attempt), vocabulary \(vocabulary), rows \(rows) of \(rowCount), \(sampling.joined(separator: ", "))"
  }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let outputs = rows.count
    let best = try device.buffer(logits.map(ScalarArithmetic.bestKey))
    let tokens = try device.buffer([Int32](repeating: -1, count: rowCount))
    let positions = try device.buffer(self.positions)
    let rounds = try device.buffer(self.rounds)
    let candidates = Candidates(
      keys: try device.address([UInt64](repeating: 0, count: outputs * vocabulary)),
      weights: try device.address([UInt64](repeating: 0, count: outputs * vocabulary)))
    let host = try CUDAHostBuffer(device.library.context, byteCount: 8 * messageRounds * outputs)
    let messages = host.bytes.bindMemory(to: UInt64.self)
    messages.initialize(repeating: 77)
    let delivery = Delivery(
      messages: host.deviceAddress, rounds: rounds.address, messageRounds: Int32(messageRounds), outputs: Int32(outputs)
    )
    let computed = logits.enumerated().map { output, logits in
      guard let cut = cuts?[output] else { return logits }
      return zip(logits, cut.seen).map { $1 ? $0 : -.infinity }
    }
    let retried = try device.buffer(rows.indices.map { UInt32(retries?[$0] ?? false ? 1 : 0) })
    var attempt = ScreenCuts(cuts: 0, retries: retried.address, attempt: retries == nil ? 0 : 1, unused: 0)
    if cuts != nil || retries != nil {
      attempt.cuts = try device.address(
        rows.indices.map { output in
          let cut = cuts?[output]
          // Those of a second attempt are not looked at.
          return ScreenCut(
            thresholds: (cut?.threshold ?? 1e9, -.infinity), unseen: cut?.unseen ?? (retries == nil ? 0 : 1 << 50))
        })
    }
    try device.run(
      .sampleRows, CUDAGrid(outputs), sharedBytes: Int(sampleScratchBytes),
      SampleParameters(
        logits: device.address(computed.flatMap { $0 }), sampling: device.address(parameters.map { RowSampling($0) }),
        best: best.address, rows: device.address(rows.map(Int32.init)), tokens: tokens.address,
        positions: positions.address, candidates: candidates, delivery: delivery, cuts: attempt,
        vocabulary: Int32(vocabulary)))

    var (expectedTokens, expectedPositions) = ([Int32](repeating: -1, count: rowCount), self.positions)
    var expectedMessages = [UInt64](repeating: 77, count: messageRounds * outputs)
    var (expectedRounds, expectedBest) = (self.rounds, [UInt64](repeating: 0, count: outputs))
    var expectedRetries = [UInt32](repeating: 0, count: outputs)
    for (output, row) in rows.enumerated() {
      if retries?[output] == false || isOpen(output) {
        expectedBest[output] = ScalarArithmetic.bestKey(logits[output])
        expectedRetries[output] = retries == nil ? 1 : 0
        continue
      }
      expectedRounds[output] += 1
      expectedPositions[row] += 1
      let sampled = logits[output].withUnsafeBufferPointer {
        Sampler.sample($0, parameters: parameters[output], history: [], position: Int(expectedPositions[row]))
      }
      expectedTokens[row] = sampled.token
      let round = Int(self.rounds[output]) + 1
      expectedMessages[round % messageRounds * outputs + output] = UInt64(round) << 32 | UInt64(sampled.token)
    }
    var comparison = KernelComparison()
    comparison.compare(try tokens.values(), expectedTokens, "tokens")
    comparison.compare(try positions.values(), expectedPositions, "positions")
    comparison.compare(Array(messages), expectedMessages, "messages", width: outputs)
    comparison.compare(try rounds.values(), expectedRounds, "rounds")
    comparison.compare(try best.values(), expectedBest, "best")
    comparison.compare(try retried.values(), expectedRetries, "retries")
    withExtendedLifetime(host) {}
    return comparison
  }
}

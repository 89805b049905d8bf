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
    return "vocabulary \(vocabulary), rows \(rows) of \(rowCount), \(sampling.joined(separator: ", "))"
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
    try device.run(
      .sampleRows, CUDAGrid(outputs), sharedBytes: Int(sampleScratchBytes),
      SampleParameters(
        logits: device.address(logits.flatMap { $0 }), sampling: device.address(parameters.map { RowSampling($0) }),
        best: best.address, rows: device.address(rows.map(Int32.init)), tokens: tokens.address,
        positions: positions.address, candidates: candidates, delivery: delivery, vocabulary: Int32(vocabulary)))

    var (expectedTokens, expectedPositions) = ([Int32](repeating: -1, count: rowCount), self.positions)
    var expectedMessages = [UInt64](repeating: 77, count: messageRounds * outputs)
    for (output, row) in rows.enumerated() {
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
    comparison.compare(try rounds.values(), self.rounds.map { $0 + 1 }, "rounds")
    comparison.compare(try best.values(), [UInt64](repeating: 0, count: outputs), "best")
    withExtendedLifetime(host) {}
    return comparison
  }
}

package import BitNetInference
import BitNetRandomModels
import BitNetTernary

/// Tokens whose logits are so large that the division by the temperature overflows, or not numbers.
package enum HugeLogits {
  /// Models of hidden size 1 and few tokens, whose logits are the head's values times 1 or -1, with masks to choose
  /// under.
  package static let heads: [(head: [Float], mask: [Int]?)] = [
    ([1e34, 1e35, 1e34], nil), ([1e34, 1e35, 1e34], [1, 2]), ([-1e34, -1e35, -1e34], nil),
    ([-1e34, -1e35, -1e34], [1, 2]), ([-1e35, -1e34, -1e33, 1], [0, 1]), ([.nan, 1], nil), ([.nan, .nan, 2], [0, 1]),
  ]

  /// The tokens that an engine chooses for each of the heads, at several temperatures, without log probabilities, for
  /// which a screen suffices, and with them.
  package static func tokens(_ make: (ModelWeights) throws -> any Engine) throws -> [[SampledToken]] {
    try heads.map { head, allowed in
      let engine = try make(weights(head))
      var adjustment: TokenAdjustment?
      if let allowed {
        var mask = TokenMask(vocabulary: head.count)
        for token in allowed { mask[token] = true }
        adjustment = TokenAdjustment(masks: [mask])
      }
      var found: [SampledToken] = []
      for sampling in [
        SamplingParameters.greedy, .init(temperature: 1e-6), .init(temperature: 1e-6, topP: 0.5),
        .init(temperature: 1e-5, topK: 1), .init(temperature: 1, repetitionPenalty: 1.1),
      ] {
        for (prompt, logProbabilities) in [([0], nil), ([0, 0], nil), ([0], 0), ([0, 0], 0)] as [([Int32], Int?)] {
          // The second step goes on where the first ended.
          let id = engine.makeSequence()
          let want = Batch.Want.token(sampling, logProbabilities: logProbabilities, adjustment: adjustment)
          for input in [Batch.Input.tokens(prompt), .sampled] {
            found += try engine.step(Batch([.init(sequence: id, input: input, want: want)])).flatMap(\.tokens)
          }
        }
      }
      return found
    }
  }

  private static func weights(_ head: [Float]) throws -> ModelWeights {
    var generator = SeededGenerator(seed: 1)
    var configuration = ModelConfiguration.random(using: &generator)
    (configuration.vocabularySize, configuration.hiddenSize, configuration.feedForwardSize) = (head.count, 1, 4)
    (configuration.layerCount, configuration.headSize) = (1, 2)
    (configuration.keyValueHeadCount, configuration.headCount) = (1, 1)
    configuration.ropeScaling = nil
    configuration.tiedEmbedding = false
    let random = try ModelWeights(random: configuration, seed: 1)
    let buffer = AlignedBuffer(count: 2 * head.count)
    head.map(\.bfloat16Bits).withUnsafeBytes { buffer.bytes.copyMemory(from: $0) }
    return try ModelWeights(
      configuration: configuration, embedding: random.embedding, layers: random.layers, finalNorm: [1],
      head: EmbeddingTable(name: "the LM head", rows: head.count, columns: 1, bytes: buffer.shared))
  }
}

/// Where tokens or their log probabilities differ; a NaN is equal to another.
package func differences(_ found: [[SampledToken]], _ expected: [[SampledToken]]) -> [String] {
  func text(_ token: SampledToken) -> String {
    "\(token.token) (\(token.logProbability.map { $0.isNaN ? "nan" : "\($0)" } ?? "-"))"
  }
  guard found.map(\.count) == expected.map(\.count) else { return ["the numbers of tokens differ"] }
  return zip(found, expected).enumerated().flatMap { index, both in
    zip(both.0, both.1).enumerated().compactMap { place, both in
      text(both.0) == text(both.1)
        ? nil : "token \(place) of \(index) is \(text(both.0)); expected \(text(both.1))"
    }
  }
}

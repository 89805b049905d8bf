package import BitNetInference
import BitNetRandomModels

/// Random masks and biases, so that all engines can be given the same.
package func randomAdjustment(vocabulary: Int, using generator: inout SeededGenerator) -> TokenAdjustment? {
  func token() -> Int { Int.random(in: 0..<vocabulary, using: &generator) }
  var mask: TokenMask?
  switch Int.random(in: 0...4, using: &generator) {
  case 0: break
  case 1:  // a single token
    mask = TokenMask(vocabulary: vocabulary)
    mask![token()] = true
  case 2:  // few
    mask = TokenMask(vocabulary: vocabulary)
    for _ in 0..<5 { mask![token()] = true }
  default:  // about half, or nearly all
    let isDense = Bool.random(using: &generator)
    mask = TokenMask(
      words: (0..<(vocabulary + 31) / 32).map { _ in
        UInt32.random(in: 0...UInt32.max, using: &generator) | (isDense ? 0x7FFF_FFFF : 1)
      }, vocabulary: vocabulary)
  }
  let biased = Set((0..<Int.random(in: 0...1, using: &generator) * 12).map { _ in Int32(token()) })
  let biases = biased.sorted().map { TokenBias(token: $0, value: Float.random(in: -100...100, using: &generator)) }
  return TokenAdjustment(mask: mask, biases: biases)
}

/// Decodes several sequences together, each row with its own sampling, masks and biases; some rows have none.
///
/// - Returns: each step's tokens.
package func adjustedTokens(
  _ engine: any Engine, _ samplings: [SamplingParameters], steps: Int, seed: UInt64, logProbabilities: Int? = nil
) throws -> [[SampledToken]] {
  var generator = SeededGenerator(seed: seed)
  let vocabulary = engine.configuration.vocabularySize
  let ids = samplings.map { _ in engine.makeSequence() }
  defer { for id in ids { engine.removeSequence(id) } }
  var tokens: [[SampledToken]] = []
  for step in 0..<steps {
    let entries = ids.indices.map { index in
      let adjustment = randomAdjustment(vocabulary: vocabulary, using: &generator)
      return Batch.Entry(
        sequence: ids[index],
        input: step == 0 ? .tokens((0...index % 5).map { Int32($0 % vocabulary) }) : .sampled,
        want: .token(
          samplings[index], logProbabilities: step % 2 == 1 ? logProbabilities : nil,
          adjustment: (index + step) % 4 == 3 ? nil : adjustment))
    }
    tokens.append(try engine.step(Batch(entries)).map { $0.tokens[0] })
  }
  return tokens
}

/// Ways to sample of all kinds.
package let variedSamplings: [SamplingParameters] = [
  .greedy, .init(temperature: 0.7, seed: 1), .init(temperature: 1.2, topK: 2, seed: 2),
  .init(temperature: 0.01, seed: 3), .init(temperature: 1, topK: 3, topP: 0.8, seed: 4),
  .init(temperature: 0.8, minP: 0.2, seed: 5), .init(temperature: 0.6, repetitionPenalty: 1.2, seed: 6),
  .init(temperature: 100, topK: 5, seed: 7), .init(temperature: 1, topK: 40, minP: 0.01, seed: 8),
  .init(temperature: 0.3, topP: 0.8, seed: 9), .init(temperature: 0.7, topP: 0.9, repetitionPenalty: 1.3, seed: 10),
]

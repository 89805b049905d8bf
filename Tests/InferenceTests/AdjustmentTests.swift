import BitNetInference
import BitNetRandomModels
import TestSupport
import Testing

@Suite("Masks and biases in the sampler")
struct AdjustmentTests {
  private func sample(
    _ logits: [Float], _ parameters: SamplingParameters, history: [Int32] = [], _ adjustment: RowAdjustment? = nil,
    logProbabilities: Int? = nil
  ) -> SampledToken {
    logits.withUnsafeBufferPointer {
      Sampler.sample(
        $0, parameters: parameters, history: history, position: 5, logProbabilities: logProbabilities,
        adjustment: adjustment)
    }
  }

  @Test("choose as plain logits do to which the biases are added and whose excluded tokens are impossible")
  func equalToChangedLogits() {
    var generator = SeededGenerator(seed: 7)
    var excluded = 0
    for round in 0..<400 {
      let count = Int.random(in: 2...90, using: &generator)
      let logits = (0..<count).map { _ in Float.random(in: -8...8, using: &generator) }
      guard let random = randomAdjustment(vocabulary: count, using: &generator) else { continue }
      let adjustment = RowAdjustment(mask: random.masks.first, biases: random.biases)
      var changed = logits
      for bias in random.biases { changed[Int(bias.token)] += bias.value }
      let parameters = variedSamplings[round % variedSamplings.count]
      let history = (0..<3).map { _ in Int32.random(in: 0..<Int32(count), using: &generator) }
      let unmasked = sample(changed, parameters, history: history).token
      // A penalty leaves minus infinity as it is.
      for id in logits.indices where !adjustment.allows(id) { changed[id] = -.infinity }
      let expected = sample(changed, parameters, history: history).token
      #expect(sample(logits, parameters, history: history, adjustment).token == expected, "round \(round)")
      if unmasked != expected { excluded += 1 }
    }
    #expect(excluded > 50)
  }

  @Test("never choose an excluded token, even where the allowed ones have no logits")
  func impossible() {
    var mask = TokenMask(vocabulary: 5)
    mask[3] = true
    mask[4] = true
    for logits: [Float] in [[1, 2, 3, -.infinity, -.infinity], [1, 2, 3, .nan, .nan], [.infinity, 0, 0, .nan, .nan]] {
      for parameters in variedSamplings {
        #expect(sample(logits, parameters, RowAdjustment(mask: mask)).token == 3)
      }
    }
  }

  @Test("leave log probabilities those of the model")
  func logProbabilities() {
    let logits: [Float] = [0, 1, 2, 3]
    var mask = TokenMask(vocabulary: 4)
    mask[0] = true
    let plain = sample(logits, .greedy, logProbabilities: 4)
    let masked = sample(
      logits, .greedy, RowAdjustment(mask: mask, biases: [.init(token: 2, value: 50)]), logProbabilities: 4)
    #expect(masked.token == 0 && plain.token == 3)
    #expect(masked.alternatives == plain.alternatives)
    #expect(masked.logProbability == plain.alternatives[3].logProbability)
  }

  @Test("have a bit for each token, whatever the vocabulary's size")
  func masks() {
    for vocabulary in [1, 31, 32, 33, 100] {
      var mask = TokenMask(words: [UInt32](repeating: .max, count: (vocabulary + 31) / 32), vocabulary: vocabulary)
      #expect(mask.count == vocabulary && mask.tokens == (0..<Int32(vocabulary)).map { $0 })
      mask[vocabulary - 1] = false
      mask[vocabulary - 1] = false
      #expect(mask.count == vocabulary - 1 && mask.tokens.last ?? -1 == Int32(vocabulary) - 2)
      mask[vocabulary - 1] = true
      #expect(mask.count == vocabulary && mask[vocabulary - 1])
    }
  }
}

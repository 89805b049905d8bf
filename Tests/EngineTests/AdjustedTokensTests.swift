import BitNetCPUEngine
import BitNetInference
import BitNetModelFiles
import BitNetRandomModels
import TestSupport
import Testing

@Suite("Masks and biases in the CPU engine")
struct AdjustedTokensTests {
  @Test("choose the reference's tokens, screened and not, in groups of any size", arguments: 1...6)
  func tokens(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    var configuration = ModelConfiguration.random(using: &generator)
    configuration.vocabularySize = Int.random(in: 300...1500, using: &generator)
    let weights = try ModelWeights(random: configuration, seed: UInt64(seed))
    // Up to four rows are multiplied as a whole; more start with the upper halves of their activations.
    let samplings = Array((variedSamplings + variedSamplings).suffix(seed % 2 == 0 ? 4 : 22))
    func run(_ engine: any Engine) throws -> [[SampledToken]] {
      try adjustedTokens(engine, samplings, steps: 5, seed: UInt64(seed), logProbabilities: 2)
    }
    let expected = try run(ReferenceEngine(weights: weights, precision: .float))
    #expect(Set(expected.joined().map(\.token)).count > 10)
    for screensHead in [true, false] {
      let engine = try CPUEngine(weights: weights, threads: 2, screensHead: screensHead)
      #expect(try run(engine) == expected, "seed \(seed), \(screensHead ? "screened" : "whole") head")
    }
  }

  @Test("are one for each row when every row returns a token")
  func rows() throws {
    let weights = try Fixture.all[0].load().weights
    let engine = try CPUEngine(weights: weights, threads: 1, screensHead: true)
    let vocabulary = weights.configuration.vocabularySize
    let masks = [3, 9, 4].map { token in
      var mask = TokenMask(vocabulary: vocabulary)
      mask[token] = true
      return mask
    }
    let found = try engine.step(
      Batch([
        .init(
          sequence: engine.makeSequence(), tokens: [1, 2, 3], rows: .all,
          want: .token(.init(temperature: 1), adjustment: .init(masks: masks)))
      ]))[0].tokens.map(\.token)
    #expect(found == [3, 9, 4])
  }

  @Test("that fit no row are refused and change nothing")
  func refused() throws {
    let weights = try Fixture.all[0].load().weights
    let engine = try CPUEngine(weights: weights, threads: 1)
    let vocabulary = weights.configuration.vocabularySize
    var one = TokenMask(vocabulary: vocabulary)
    one[1] = true
    let id = engine.makeSequence()
    func error(_ adjustment: TokenAdjustment) -> String? {
      do throws(EngineError) {
        _ = try engine.step(
          Batch([.init(sequence: id, tokens: [1, 2], want: .token(.greedy, adjustment: adjustment))]))
        return nil
      } catch { return error.description }
    }
    #expect(error(.init(masks: [one, one])) == "the number of masks is 2; expected 1, one for each row")
    #expect(
      error(.init(masks: [TokenMask(vocabulary: vocabulary)]))
        == "the number of tokens that a mask allows is 0; expected 1 or more")
    #expect(error(.init(masks: [TokenMask(vocabulary: 5)])) == "a mask's size is 5 tokens; expected \(vocabulary)")
    #expect(
      error(.init(biases: [.init(token: 3, value: 1), .init(token: 3, value: 1)]))
        == "the bias of token 3 is after that of token 3; expected tokens in ascending order")
    #expect(error(.init(biases: [.init(token: 3, value: .nan)])) == "the bias of token 3 is nan; expected -100 to 100")
    #expect(
      error(.init(biases: [.init(token: -1, value: 1)]))
        == "token id -1 is out of range; expected 0 to \(vocabulary - 1)")
    #expect(try engine.tokens(of: id).isEmpty)
    #expect(error(.init(masks: [one], biases: [.init(token: 3, value: 100)])) == nil)
  }
}

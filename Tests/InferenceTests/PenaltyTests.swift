import BitNetInference
import BitNetRandomModels
import Foundation
import TestSupport
import Testing

@Suite("Presence and frequency penalties")
struct PenaltyTests {
  @Test("are one bias for each token that was generated, beside the request's own")
  func biases() throws {
    var generator = SeededGenerator(seed: 3)
    for _ in 0..<100 {
      let presence = Float.random(in: -2...2, using: &generator)
      let sampling = SamplingParameters(
        presencePenalty: presence, frequencyPenalty: Float.random(in: -2...2, using: &generator))
      var own: [Int32: Float] = [:]
      for _ in 0..<Int.random(in: 0...6, using: &generator) {
        own[Int32.random(in: 0...30, using: &generator)] = Float.random(in: -100...100, using: &generator)
      }
      let list = own.sorted { $0.key < $1.key }.map { TokenBias(token: $0.key, value: $0.value) }
      var penalties = try #require(TokenPenalties(sampling, biases: list))
      #expect(penalties.biases == list)
      var counts: [Int32: Int] = [:]
      for _ in 0..<Int.random(in: 1...60, using: &generator) {
        let token = Int32.random(in: 0...30, using: &generator)
        counts[token, default: 0] += 1
        penalties.append(token)
        var expected = own
        for (token, count) in counts {
          expected[token] = (own[token] ?? 0) - (presence + sampling.frequencyPenalty * Float(count))
        }
        #expect(
          penalties.biases == expected.sorted { $0.key < $1.key }.map { TokenBias(token: $0.key, value: $0.value) })
      }
    }
    #expect(TokenPenalties(.greedy, biases: [.init(token: 1, value: 1)]) == nil)
  }

  @Test("are refused out of range, and in steps of an engine, which cannot know them")
  func refused() throws {
    for value: Float in [-2.01, 2.01, .nan, .infinity] {
      let parameters = [SamplingParameters(presencePenalty: value), SamplingParameters(frequencyPenalty: value)]
      for parameters in parameters { #expect(throws: EngineError.self) { try parameters.validate() } }
    }
    var generator = SeededGenerator(seed: 1)
    let weights = try ModelWeights(random: .random(using: &generator), seed: 1)
    let engine = ReferenceEngine(weights: weights, precision: .float)
    func step(_ parameters: SamplingParameters) throws {
      _ = try engine.step(
        Batch([.init(sequence: engine.makeSequence(), tokens: [1], want: .token(parameters))]))
    }
    let parameters = SamplingParameters(temperature: 1, presencePenalty: 1, frequencyPenalty: 1, seed: 4)
    #expect(throws: EngineError.self) { try step(parameters) }
    try step(parameters.ofStep)
    #expect(parameters.ofStep == SamplingParameters(temperature: 1, seed: 4))
  }

  @Test("may be missing where parameters are read")
  func coding() throws {
    let parameters = SamplingParameters(temperature: 0.5, presencePenalty: 1, frequencyPenalty: -2, seed: .max)
    let data = try JSONEncoder().encode(parameters)
    #expect(try JSONDecoder().decode(SamplingParameters.self, from: data) == parameters)
    let old = #"{"temperature": 0.5, "topK": 0, "topP": 1, "minP": 0, "repetitionPenalty": 1, "seed": 3}"#
    #expect(
      try JSONDecoder().decode(SamplingParameters.self, from: Data(old.utf8))
        == SamplingParameters(temperature: 0.5, seed: 3))
  }
}

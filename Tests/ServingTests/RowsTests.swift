import BitNetCPUEngine
import BitNetInference
import BitNetModelFiles
import TestSupport
import Testing

@Suite("The rows of a step")
struct RowsTests {
  @Test(
    "give the tokens, surprises and hidden states of single-token steps, on every engine",
    arguments: Fixture.all)
  func everyRow(fixture: Fixture) throws {
    let weights = try fixture.load().weights
    let prompt = try fixture.prompt(64)
    let vocabulary = weights.configuration.vocabularySize
    let sampling = SamplingParameters(temperature: 0.8, topK: 40, repetitionPenalty: 1.3, seed: 5)
    let reference = ReferenceEngine(weights: weights, precision: .float)
    let targets = Array(prompt.dropFirst()) + [0]
    let wants: [Batch.Want] = [
      .token(.greedy), .token(sampling), .token(sampling, logProbabilities: 3), .surprise(targets), .hidden, .logits,
    ]
    for want in wants {
      let engines: [any Engine] = [
        reference, try CPUEngine(weights: weights, threads: 2),
        try CPUEngine(weights: weights, threads: 1, screensHead: true),
      ]
      let found = try engines.map { engine in
        try engine.step(Batch([.init(sequence: engine.makeSequence(), tokens: prompt, rows: .all, want: want)]))[0]
      }
      #expect(found[1] == found[0] && found[2] == found[0], "\(want)")
      // Steps of one token give the same results.
      let engine = engines[1]
      let id = engine.makeSequence()
      var steps = StepResult()
      for (index, token) in prompt.enumerated() {
        var single = want
        if case .surprise = want { single = .surprise([targets[index]]) }
        let result = try engine.step(Batch([.init(sequence: id, tokens: [token], rows: .all, want: single)]))[0]
        steps.tokens += result.tokens
        steps.values += result.values
        steps.surprises += result.surprises
      }
      #expect(steps == found[0], "\(want)")
      switch want {
      case .token: #expect(found[0].tokens.count == prompt.count && found[0].values.isEmpty)
      case .surprise: #expect(found[0].surprises.count == prompt.count && found[0].surprises.allSatisfy { $0 > 0 })
      case .hidden: #expect(found[0].values.count == prompt.count * weights.configuration.hiddenSize)
      case .logits: #expect(found[0].values.count == prompt.count * vocabulary)
      }
    }
  }

  @Test("take the previous step's token as a sampled input, and refuse it if there is none or after a truncation")
  func sampledInput() throws {
    let engine = try CPUEngine(weights: Fixture.all[0].load().weights, threads: 1)
    let id = engine.makeSequence()
    #expect(throws: EngineError.nothingSampled(id)) {
      _ = try engine.step(Batch([.init(sequence: id, input: .sampled)]))
    }
    let token = try engine.step(Batch([.init(sequence: id, tokens: [1, 2], want: .token(.greedy))]))[0].tokens[0].token
    _ = try engine.step(Batch([.init(sequence: id, input: .sampled)]))
    #expect(try engine.tokens(of: id) == [1, 2, token])
    #expect(throws: EngineError.nothingSampled(id)) {
      _ = try engine.step(Batch([.init(sequence: id, input: .sampled)]))
    }
    let ticket = try engine.submit(Batch([.init(sequence: id, tokens: [1], want: .token(.greedy))]))
    _ = try engine.wait(for: ticket)
    #expect(throws: EngineError.unknownStep) { _ = try engine.wait(for: ticket) }
    try engine.truncate(id, to: 2)
    #expect(throws: EngineError.nothingSampled(id)) {
      _ = try engine.step(Batch([.init(sequence: id, input: .sampled)]))
    }
    #expect(throws: EngineError.self) {
      _ = try engine.step(Batch([.init(sequence: id, tokens: [1, 2], rows: .all, want: .surprise([1]))]))
    }
  }
}

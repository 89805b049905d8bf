import BitNetCPUEngine
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles
import TestSupport
import Testing

/// Changed logits, the repetition penalty and log probabilities.
extension EngineTests {
  @Test("with masks and biases, whether or not single tokens go through the cooperative kernel", arguments: [2, 9, 19])
  func adjustments(count: Int) throws {
    let weights = try Fixture.all[1].load().weights
    let samplings = (0..<count).map { variedSamplings[$0 % variedSamplings.count] }
    let expected = try adjustedTokens(
      CPUEngine(weights: weights, threads: 1), samplings, steps: 5, seed: 3, logProbabilities: 1)
    for (cooperative, screened) in Self.variants {
      let gpu = try CUDAEngine(
        weights: weights, device: Self.smallDevice(), options: .init(screensHead: screened, isCooperative: cooperative))
      let found = try adjustedTokens(gpu, samplings, steps: 5, seed: 3, logProbabilities: 1)
      #expect(found == expected, "\(count) sequences, \(cooperative), \(screened)")
    }
    #expect(Set(expected.joined().map(\.token)).count > 3)
  }

  @Test(
    "with top-k and top-p in the demo model, of which the screened head computes few rows",
    arguments: [(1, true), (3, false), (6, true), (11, true)])
  func cuts(count: Int, cooperative: Bool) throws {
    let weights = try ModelLoader.load(path: Repository.path("Sources/DemoModel/demo.safetensors")).weights
    let samplings: [SamplingParameters] = [
      .init(temperature: 0.7, topP: 0.9, seed: 1), .init(temperature: 1, topK: 5, seed: 2),
      .init(temperature: 0.8, topK: 8, topP: 0.8, seed: 3), .init(temperature: 0.5, topP: 0.95, minP: 0.02, seed: 4),
      .init(temperature: 2, topP: 0.5, seed: 5), .greedy, .init(temperature: 1, topP: 0.999_999_94, seed: 6),
    ]
    let prompts = (0..<count).map { index in (0...index).map { Int32(17 * $0 + 300 * index) } }
    let cpu = try CPUEngine(weights: weights, threads: 1, screensHead: false)
    let expected = try prompts.indices.map { try generate(cpu, prompts[$0], count: 8, samplings[$0 % 7]) }
    let gpu = try CUDAEngine(
      weights: weights, device: Self.smallDevice(), options: .init(screensHead: true, isCooperative: cooperative))
    var found = prompts.map { _ in [Int32]() }
    let entries = prompts.indices.map {
      Batch.Entry(sequence: gpu.makeSequence(), tokens: prompts[$0], want: .token(samplings[$0 % 7]))
    }
    try gpu.generate(Batch(entries), limit: 8) { tokens in
      for (index, token) in tokens.enumerated() { found[index].append(token.token) }
      return true
    }
    #expect(found == expected)
    let share = try Double(gpu.screenedRows()) / Double(8 * count * weights.configuration.vocabularySize)
    #expect(share < 0.6)
  }

  @Test("where the division by the temperature overflows, and with logits that are not numbers", arguments: variants)
  func hugeLogits(cooperative: Bool, screened: Bool) throws {
    let expected = try HugeLogits.tokens { ReferenceEngine(weights: $0, precision: .float) }
    let found = try HugeLogits.tokens {
      try CUDAEngine(
        weights: $0, device: Self.smallDevice(), options: .init(screensHead: screened, isCooperative: cooperative))
    }
    #expect(differences(found, expected) == [])
  }

  @Test("after truncation, with repetition penalty and with log probabilities")
  func hostSampling() throws {
    let fixture = Fixture.all[1]
    let weights = try fixture.load().weights
    let prompt = try fixture.prompt(64)
    func run(_ engine: any Engine) throws -> [StepResult] {
      let id = engine.makeSequence()
      _ = try engine.step(Batch([.init(sequence: id, tokens: prompt, rows: .none)]))
      try engine.truncate(id, to: 30)
      var outputs: [StepResult] = []
      for probabilities in [nil, 3] {
        let sampling = SamplingParameters(temperature: 0.7, repetitionPenalty: 1.3, seed: 3)
        outputs += try engine.step(
          Batch([
            .init(sequence: id, tokens: Array(prompt[40..<47]), want: .token(sampling, logProbabilities: probabilities))
          ]))
      }
      return outputs
    }
    let expected = try run(CPUEngine(weights: weights, threads: 1))
    let found = try run(CUDAEngine(weights: weights, device: Self.smallDevice(), options: .init(screensHead: true)))
    #expect(found.map(\.tokens) == expected.map(\.tokens))
    #expect(expected.map(\.tokens.count) == [1, 1])
  }

  @Test("with a repetition penalty, of tokens that steps under way choose", arguments: [1, 3, 9])
  func repetition(count: Int) throws {
    let fixture = Fixture.all[1]
    let weights = try fixture.load().weights
    let prompts = try (0..<count).map { Array(try fixture.prompt(64)[$0..<$0 + 4]) }
    let samplings: [SamplingParameters] = [
      .init(repetitionPenalty: 0.2), .init(temperature: 0.7, repetitionPenalty: 1.2, seed: 1), .greedy,
      .init(temperature: 1, topK: 20, repetitionPenalty: 0.7, seed: 2),
    ]
    let cpu = try CPUEngine(weights: weights, threads: 1)
    let expected = try prompts.indices.map { try generate(cpu, prompts[$0], count: 9, samplings[$0 % 4]) }
    #expect(try expected[0] != generate(cpu, prompts[0], count: 9, .greedy), "the penalty changes nothing")
    for (cooperative, screened) in Self.variants {
      let gpu = try CUDAEngine(
        weights: weights, device: Self.smallDevice(), options: .init(screensHead: screened, isCooperative: cooperative))
      var found = prompts.map { _ in [Int32]() }
      let entries = prompts.indices.map {
        Batch.Entry(sequence: gpu.makeSequence(), tokens: prompts[$0], want: .token(samplings[$0 % 4]))
      }
      try gpu.generate(Batch(entries), limit: 9) { tokens in
        for (index, token) in tokens.enumerated() { found[index].append(token.token) }
        return true
      }
      #expect(found == expected, "\(count) sequences, \(cooperative), \(screened)")
    }
  }

  @Test("with log probabilities of tokens that are chosen step after step", arguments: [1, 3, 18])
  func logProbabilities(count: Int) throws {
    let fixture = Fixture.all[1]
    let weights = try fixture.load().weights
    let prompts = try (0..<count).map { Array(try fixture.prompt(64)[$0..<$0 + 4]) }
    let samplings: [SamplingParameters] = [
      .greedy, .init(temperature: 0.7, seed: 1), .init(temperature: 1, topK: 5), .init(repetitionPenalty: 1.3),
    ]
    // Some want none, and one at a time more than the device finds.
    func run(_ engine: any Engine, _ indices: Range<Int>, more: Int?) throws -> [[SampledToken]] {
      let entries = indices.map { index in
        Batch.Entry(
          sequence: engine.makeSequence(), tokens: prompts[index],
          want: .token(samplings[index % 4], logProbabilities: more ?? [nil, 0, 3, 20][(index / 2 + count) % 4]))
      }
      var found = indices.map { _ in [SampledToken]() }
      try engine.generate(Batch(entries), limit: 5) { tokens in
        for (index, token) in tokens.enumerated() { found[index].append(token) }
        return true
      }
      return found
    }
    for more in [nil, 25] {
      let cpu = try CPUEngine(weights: weights, threads: 1)
      let expected = try prompts.indices.flatMap { try run(cpu, $0..<$0 + 1, more: more) }
      for (cooperative, screened) in Self.variants {
        let gpu = try CUDAEngine(
          weights: weights, device: Self.smallDevice(),
          options: .init(screensHead: screened, isCooperative: cooperative))
        let found = try run(gpu, 0..<count, more: more)
        #expect(found == expected, "\(count) sequences, \(cooperative), \(screened), \(more ?? 0)")
      }
    }
  }
}

import BitNetCPUEngine
import BitNetInference
import BitNetRandomModels
import BitNetModelFiles
import TestSupport
import Testing

@Suite("The CPU engine gives the Float reference's bits")
struct CPUEngineTests {
  @Test("on the fixtures, for any instruction set, number of threads and chunks", arguments: Fixture.all)
  func fixtures(fixture: Fixture) throws {
    let weights = try fixture.load().weights
    let reference = ReferenceEngine(weights: weights, precision: .float)
    var generator = SeededGenerator(seed: 7)
    for length in [1, 7, 64, 200] {
      let prompt = try fixture.prompt(length)
      let expected = try logits(reference, prompt, chunks: [length])
      for set in InstructionSet.available {
        for threads in [1, 2, 5] {
          let engine = try CPUEngine(weights: weights, threads: threads, instructionSet: set)
          // Single tokens take a barrier for every phase of every token, so run the long prompt this way only once.
          let single = length < 200 || (threads == 2 && set == InstructionSet.available[0])
          let cuts =
            [[length], chunks(length, using: &generator)] + (single ? [Array(repeating: 1, count: length)] : [])
          for cut in cuts {
            let found = try logits(engine, prompt, chunks: cut)
            let same = identical(found, expected)
            #expect(same, "\(set), \(threads) threads, \(length) tokens in \(cut)")
          }
        }
      }
      // The reference itself must not depend on chunks either.
      let found = try logits(reference, prompt, chunks: chunks(length, using: &generator))
      let same = identical(found, expected)
      #expect(same)
    }
  }

  @Test("on random shapes", arguments: 1...60)
  func randomShapes(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let configuration = ModelConfiguration.random(using: &generator)
    let weights = try ModelWeights(random: configuration, seed: UInt64(seed))
    let length = Int.random(in: 1...150, using: &generator)
    let prompt = (0..<length).map { _ in Int32.random(in: 0..<Int32(configuration.vocabularySize), using: &generator) }
    let expected = try logits(ReferenceEngine(weights: weights, precision: .float), prompt, chunks: [length])
    for set in InstructionSet.available {
      let engine = try CPUEngine(
        weights: weights, threads: Int.random(in: 1...4, using: &generator), instructionSet: set)
      let cut = chunks(length, using: &generator)
      let found = try logits(engine, prompt, chunks: cut)
      let same = identical(found, expected)
      #expect(same, "seed \(seed), \(set), \(configuration), \(length) tokens in \(cut)")
    }
  }

  @Test("for a sequence regardless of the batch around it", arguments: 1...8)
  func raggedBatches(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(1000 + seed))
    let fixture = Fixture.all[seed % Fixture.all.count]
    let weights = try fixture.load().weights
    let vocabulary = Int32(weights.configuration.vocabularySize)
    let reference = ReferenceEngine(weights: weights, precision: .float)
    let engine = try CPUEngine(weights: weights, threads: 2)
    let prompts = (0..<5).map { _ in
      (0..<Int.random(in: 1...130, using: &generator)).map { _ in Int32.random(in: 0..<vocabulary, using: &generator) }
    }
    let expected = try prompts.map { try logits(reference, $0, chunks: [$0.count]) }
    var found = prompts.map { _ in [Float]() }
    let ids = prompts.map { _ in engine.makeSequence() }
    var done = prompts.map { _ in 0 }
    while true {
      // Each step takes some of the sequences, in random order, with some of their remaining tokens.
      let waiting = prompts.indices.filter { done[$0] < prompts[$0].count }
      if waiting.isEmpty { break }
      let members = waiting.shuffled(using: &generator).prefix(Int.random(in: 1...waiting.count, using: &generator))
      let entries = members.map { index in
        let count = Int.random(in: 1...(prompts[index].count - done[index]), using: &generator)
        return Batch.Entry(
          sequence: ids[index], tokens: Array(prompts[index][done[index]..<done[index] + count]), rows: .all)
      }
      let outputs = try engine.step(Batch(Array(entries)))
      for ((index, entry), output) in zip(zip(members, entries), outputs) {
        let rows = output.values
        found[index] += rows
        done[index] += entry.input.count
      }
    }
    for index in prompts.indices {
      let same = identical(found[index], expected[index])
      #expect(same, "seed \(seed), sequence \(index)")
    }
  }

  @Test("after a sequence was truncated and continued")
  func truncation() throws {
    let fixture = Fixture.all[1]
    let weights = try fixture.load().weights
    let prompt = try fixture.prompt(200)
    let other = try fixture.prompt(64)
    for engine in [try CPUEngine(weights: weights, threads: 2), ReferenceEngine(weights: weights, precision: .float)]
      as [any Engine]
    {
      let fresh = engine.makeSequence()
      let expected = try engine.step(Batch([.init(sequence: fresh, tokens: prompt[..<70] + other)]))
      let reused = engine.makeSequence()
      _ = try engine.step(Batch([.init(sequence: reused, tokens: prompt, rows: .none)]))
      try engine.truncate(reused, to: 70)
      let found = try engine.step(Batch([.init(sequence: reused, tokens: other)]))
      let (a, b) = (expected[0].values, found[0].values)
      let same = identical(a, b)
      #expect(same)
      #expect(try engine.tokens(of: reused) == prompt[..<70] + other)
    }
  }

  @Test("and the reference's sampled tokens")
  func sampling() throws {
    let fixture = Fixture.all[0]
    let weights = try fixture.load().weights
    let parameters = SamplingParameters(
      temperature: 0.9, topK: 50, topP: 0.95, minP: 0.01, repetitionPenalty: 1.1, seed: 42)
    func generate(_ engine: any Engine) throws -> [SampledToken] {
      let id = engine.makeSequence()
      var tokens = try fixture.prompt(7)
      var result: [SampledToken] = []
      for _ in 0..<80 {
        let outputs = try engine.step(
          Batch([.init(sequence: id, tokens: tokens, want: .token(parameters, logProbabilities: 3))]))
        let sampled = outputs[0].tokens[0]
        result.append(sampled)
        tokens = [sampled.token]
      }
      return result
    }
    let expected = try generate(ReferenceEngine(weights: weights, precision: .float))
    #expect(Set(expected.map(\.token)).count > 20)
    for set in InstructionSet.available {
      #expect(try generate(CPUEngine(weights: weights, threads: 2, instructionSet: set)) == expected)
    }
  }
}

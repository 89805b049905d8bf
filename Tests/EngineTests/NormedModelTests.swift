import BitNetCPUEngine
import BitNetInference
import BitNetModelFiles
import BitNetRandomModels
import TestSupport
import Testing

@Suite("Models with norms before projections, windows and attention in both directions")
struct NormedModelTests {
  @Test("Double is within 1e-9 relative L2 of float64 on every row, from a folder", arguments: Fixture.embedding)
  func folder(fixture: Fixture) throws {
    let weights = try fixture.load().weights
    for length in [1, 7, 64] { try compare(weights, fixture.float64Hidden(length)) }
  }

  @Test("and from a GGUF file, which says less", arguments: Fixture.embeddingGGUF)
  func gguf(fixture: Fixture) throws {
    let weights = try ModelLoader.load(path: fixture.ggufPath).weights
    for length in [1, 7, 64] { try compare(weights, fixture.float64Hidden(length, isGGUF: true)) }
  }

  private func compare(_ weights: ModelWeights, _ expected: (ids: [Int32], hidden: [Double])) throws {
    let engine = ReferenceEngine(weights: weights, precision: .double)
    let found = try engine.hiddenStates(expected.ids)
    let hidden = weights.configuration.hiddenSize
    #expect(found.count == expected.hidden.count && found.count == expected.ids.count * hidden)
    for row in expected.ids.indices {
      let error = relativeError(found, expected.hidden, row * hidden..<(row + 1) * hidden)
      #expect(error < 1e-9, "\(expected.ids.count) tokens, row \(row)")
    }
  }

  @Test("use_rms_norm and YaRN: logits within 1e-9", arguments: [1, 7, 64])
  func yarn(length: Int) throws {
    let fixture = Fixture.normedLlama
    let weights = try fixture.load().weights
    #expect(weights.configuration.projectionNormEpsilon == 1e-4)
    let found = try ReferenceEngine(weights: weights, precision: .double).logits(fixture.prompt(length))
    let expected = try fixture.float64Logits(length)
    let vocabulary = weights.configuration.vocabularySize
    for row in 0..<length {
      #expect(relativeError(found, expected, row * vocabulary..<(row + 1) * vocabulary) < 1e-9, "row \(row)")
    }
  }

  private func relativeError(_ found: [Double], _ expected: [Double], _ range: Range<Int>) -> Double {
    let difference = zip(found[range], expected[range]).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    return (difference / expected[range].reduce(0) { $0 + $1 * $1 }).squareRoot()
  }

  @Test(
    "The CPU engine gives the Float reference's bits for any instruction set, number of threads and chunks",
    arguments: Fixture.embedding + [.normedLlama])
  func cpu(fixture: Fixture) throws {
    let weights = try fixture.load().weights
    var generator = SeededGenerator(seed: 5)
    try compare(weights, length: 200, name: fixture.name, using: &generator)
  }

  @Test("and on random shapes with random features", arguments: 1...40)
  func randomShapes(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let configuration = ModelConfiguration.randomWithFeatures(using: &generator)
    let weights = try ModelWeights(random: configuration, seed: UInt64(seed))
    let length = Int.random(in: 1...200, using: &generator)
    try compare(weights, length: length, name: "\(configuration)", using: &generator)
  }

  private func compare(
    _ weights: ModelWeights, length: Int, name: String, using generator: inout SeededGenerator
  ) throws {
    let vocabulary = Int32(weights.configuration.vocabularySize)
    let prompt = (0..<length).map { _ in Int32.random(in: 0..<vocabulary, using: &generator) }
    let expected = try logits(ReferenceEngine(weights: weights, precision: .float), prompt, chunks: [length])
    for set in InstructionSet.available {
      let threads = Int.random(in: 1...4, using: &generator)
      let engine = try CPUEngine(weights: weights, threads: threads, instructionSet: set)
      let cut = weights.configuration.isBidirectional ? [length] : chunks(length, using: &generator)
      let found = try logits(engine, prompt, chunks: cut)
      let same = identical(found, expected)
      #expect(same, "\(set), \(threads) threads, \(length) tokens in \(cut): \(name)")
    }
  }

  @Test("A text's bits do not depend on the texts beside it, however many of whatever length", arguments: 1...6)
  func batches(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let weights = try Fixture.embedding[seed % 3].load().weights
    let texts = (0..<7).map { _ in
      (0..<Int.random(in: 1...100, using: &generator)).map { _ in Int32.random(in: 0..<256, using: &generator) }
    }
    let engine = try CPUEngine(weights: weights, threads: 2)
    func run(_ texts: [[Int32]]) throws -> [[Float]] {
      let entries = texts.map {
        Batch.Entry(sequence: engine.makeSequence(), tokens: $0, rows: .all, want: .hidden)
      }
      defer { for entry in entries { engine.removeSequence(entry.sequence) } }
      return try engine.step(Batch(entries)).map(\.values)
    }
    let together = try run(texts)
    for (text, found) in zip(texts, together) {
      let alone = try run([text])[0]
      let same = identical(found, alone)
      #expect(same, "seed \(seed), \(text.count) tokens")
    }
  }

  @Test("Text of a bidirectional model must come in one step")
  func oneStep() throws {
    let engine = try CPUEngine(weights: Fixture.embedding[2].load().weights, threads: 1)
    let id = engine.makeSequence(startingWith: [1, 2, 3]).id
    _ = try engine.step(Batch([.init(sequence: id, tokens: [1, 2, 3], want: .hidden)]))
    let error = #expect(throws: EngineError.self) {
      try engine.step(Batch([.init(sequence: id, tokens: [4], want: .hidden)]))
    }
    #expect(
      error?.description
        == "the length of \(id) is 3; expected 0, because the model's attention is bidirectional: pass "
        + "a text's tokens in one step")
    #expect(engine.makeSequence(startingWith: [1, 2, 3, 4]).cached == 0)
  }
}

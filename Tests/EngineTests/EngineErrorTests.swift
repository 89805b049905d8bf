import BitNetModelFiles
import BitNetCPUEngine
import BitNetInference
import BitNetRandomModels
import TestSupport
import Testing

@Suite("Engines refuse impossible steps in one sentence and go on")
struct EngineErrorTests {
  static func engines() throws -> [any Engine] {
    let weights = try Fixture.all[1].load().weights
    return [
      try CPUEngine(weights: weights, contextLength: 100, threads: 2),
      ReferenceEngine(weights: weights, precision: .float, contextLength: 100),
    ]
  }

  private func expect(_ expected: EngineError, _ text: String, _ body: () throws -> Void) {
    do {
      try body()
      Issue.record("no error; expected: \(text)")
    } catch {
      #expect(error as? EngineError == expected)
      #expect("\(error)" == text)
    }
  }

  @Test func badBatches() throws {
    for engine in try Self.engines() {
      let id = engine.makeSequence()
      let other = engine.makeSequence()
      func step(_ entries: Batch.Entry...) throws { _ = try engine.step(Batch(entries)) }
      expect(.tokenOutOfRange(512, vocabulary: 512), "token id 512 is out of range; expected 0 to 511") {
        // The first entry is valid, but must not take effect either.
        try step(
          .init(sequence: other, tokens: [1, 2], rows: .none), .init(sequence: id, tokens: [3, 512], rows: .none))
      }
      expect(.tokenOutOfRange(-1, vocabulary: 512), "token id -1 is out of range; expected 0 to 511") {
        try step(.init(sequence: id, tokens: [-1], rows: .none))
      }
      expect(.contextFull(length: 0, adding: 101, limit: 100), "the prompt has 101 tokens; the context holds 100") {
        try step(.init(sequence: id, tokens: Array(repeating: 1, count: 101), rows: .none))
      }
      expect(.noTokens(id), "the batch has no tokens for \(id); expected one or more") {
        try step(.init(sequence: id, tokens: [], rows: .none))
      }
      expect(.repeatedSequence(id), "\(id) appears more than once in a batch; expected one entry for each sequence") {
        try step(.init(sequence: id, tokens: [1], rows: .none), .init(sequence: id, tokens: [1], rows: .none))
      }
      expect(.unknownSequence(SequenceID(99)), "sequence 99 does not exist") {
        try step(.init(sequence: SequenceID(99), tokens: [1], rows: .none))
      }
      expect(
        .parameter(name: "temperature", found: "-1.0", expected: "0, or 0.000001 to 100"),
        "temperature is -1.0; expected 0, or 0.000001 to 100"
      ) {
        try step(.init(sequence: id, tokens: [1], want: .token(SamplingParameters(temperature: -1))))
      }
      #expect(try engine.tokens(of: id).isEmpty)
      #expect(try engine.tokens(of: other).isEmpty)
      try step(.init(sequence: id, tokens: Array(repeating: 1, count: 99), rows: .none))
      expect(.contextFull(length: 99, adding: 2, limit: 100), "2 more tokens after 99 do not fit in the context of 100")
      {
        try step(.init(sequence: id, tokens: [1, 1], rows: .none))
      }
      expect(.truncation(length: 99, to: 100), "the length to truncate to is 100; expected 0 to 99") {
        try engine.truncate(id, to: 100)
      }
      try step(.init(sequence: id, tokens: [1]))
      engine.removeSequence(id)
      expect(.unknownSequence(id), "\(id) does not exist") { try step(.init(sequence: id, tokens: [1], rows: .none)) }
    }
  }

  @Test func badOptions() throws {
    let weights = try Fixture.all[1].load().weights
    for threads in [0, -1, 1025] {
      #expect(throws: EngineError.self) { try CPUEngine(weights: weights, threads: threads) }
    }
    #expect(throws: EngineError.self) { try CPUEngine(weights: weights, contextLength: 0) }
    #expect(throws: InstructionSetError.self) { try InstructionSet.named("mmx") }
  }

  @Test("Values that are not finite neither crash an engine nor make it differ from the reference")
  func wildWeights() throws {
    let configuration = ModelConfiguration(
      architecture: "test", vocabularySize: 40, hiddenSize: 48, feedForwardSize: 80, layerCount: 2, headCount: 4,
      keyValueHeadCount: 2, headSize: 12, contextLength: 100, normEpsilon: 1e-5, ropeTheta: 10000, activation: .silu,
      optionalNorms: .subNorms, tiedEmbedding: true)
    var weights = try ModelWeights(random: configuration, seed: 1)
    var layers = weights.layers
    layers[0][.attention] = layers[0][.attention]!.map { _ in 1e38 }
    layers[1][.feedForwardSub] = layers[1][.feedForwardSub]!.map { _ in -1e38 }
    weights = try ModelWeights(
      configuration: configuration, embedding: weights.embedding, layers: layers, finalNorm: weights.finalNorm,
      head: nil)
    let prompt = (0..<70).map { Int32($0 % 40) }
    func run(_ engine: any Engine) throws -> [Float] {
      let id = engine.makeSequence()
      let rows = try engine.step(Batch([.init(sequence: id, tokens: prompt, rows: .all)]))[0].values
      return rows
    }
    let expected = try run(ReferenceEngine(weights: weights, precision: .float))
    for set in InstructionSet.available {
      let found = try run(CPUEngine(weights: weights, threads: 2, instructionSet: set))
      // The bits of a NaN depend on the processor.
      let same = zip(found, expected).allSatisfy { $0 == $1 || ($0.isNaN && $1.isNaN) }
      #expect(same && found.count == expected.count, "\(set)")
    }
  }
}

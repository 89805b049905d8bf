import BitNetCPUEngine
import BitNetInference
import BitNetRandomModels
import TestSupport
import Testing

/// Tests of positions beyond four chunks, where threads share the chunks of a few tokens' attention.
@Suite("Long contexts")
struct LongContextTests {
  /// Decodes single tokens in one batch for some steps, after `lengths` tokens in each sequence. Returns the bits of
  /// all logits.
  private func decode(_ engine: any Engine, after lengths: [Int], steps: Int) throws -> [UInt32] {
    let vocabulary = engine.configuration.vocabularySize
    let ids = lengths.map { _ in engine.makeSequence() }
    for (sequence, length) in lengths.enumerated() {
      let tokens = (0..<length).map { Int32(($0 * 31 + sequence) % vocabulary) }
      _ = try engine.step(Batch([.init(sequence: ids[sequence], tokens: tokens, rows: .none)]))
    }
    var result: [UInt32] = []
    for step in 0..<steps {
      let batch = Batch(ids.map { .init(sequence: $0, tokens: [Int32(step % vocabulary)]) })
      for output in try engine.step(batch) {
        let row = output.values
        result += row.map(\.bitPattern)
      }
    }
    return result
  }

  @Test("give the reference's bits, alone and beside sequences of other lengths", arguments: 1...6)
  func reference(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    var configuration = ModelConfiguration.random(using: &generator)
    configuration.contextLength = 1024
    let weights = try ModelWeights(random: configuration, seed: UInt64(seed))
    let lengths = [[300], [254], [318, 9, 449], [70, 255], [511, 512], [383, 1]][seed - 1]
    let expected = try decode(ReferenceEngine(weights: weights, precision: .float), after: lengths, steps: 3)
    for set in InstructionSet.available {
      for threads in [1, 2, 8] {
        let same =
          try decode(CPUEngine(weights: weights, threads: threads, instructionSet: set), after: lengths, steps: 3)
          == expected
        #expect(same, "seed \(seed), \(set), \(threads) threads, \(configuration)")
      }
    }
  }

  @Test("give the same bits on any number of threads, in a model large enough for all of them")
  func threads() throws {
    // The tiles take 11 MB; a single token with less than 8 MB would run on one thread.
    let configuration = ModelConfiguration(
      architecture: "BitNetForCausalLM", vocabularySize: 300, hiddenSize: 1024, feedForwardSize: 4096, layerCount: 3,
      headCount: 16,
      keyValueHeadCount: 4, headSize: 64, contextLength: 2048, normEpsilon: 1e-5, ropeTheta: 10000,
      activation: .squaredReLU,
      optionalNorms: .subNorms, tiedEmbedding: true)
    let weights = try ModelWeights(random: configuration, seed: 5)
    #expect(weights.tileByteCount > 8 << 20)
    for lengths in [[700], [1100, 260, 30]] {
      let expected = try decode(CPUEngine(weights: weights, threads: 1), after: lengths, steps: 5)
      for threads in [2, 3, 5, 8] {
        let same = try decode(CPUEngine(weights: weights, threads: threads), after: lengths, steps: 5) == expected
        #expect(same, "\(threads) threads after \(lengths)")
      }
    }
  }
}

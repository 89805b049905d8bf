import BitNetCPUEngine
import BitNetInference
import BitNetRandomModels
import TestSupport
import BitNetTernary
import Testing

@Suite("Awkward shapes")
struct AwkwardShapesTests {
  /// The published models' widths that are not multiples of the kernels' tile sizes, in one layer, as layers are alike.
  private static let configuration = ModelConfiguration(
    architecture: "BitNetForCausalLM", vocabularySize: 270, hiddenSize: 3200, feedForwardSize: 8640, layerCount: 1,
    headCount: 32,
    keyValueHeadCount: 32, headSize: 100, contextLength: 512, normEpsilon: 1e-5, ropeTheta: 10000, activation: .silu,
    optionalNorms: .subNorms,
    tiedEmbedding: false)

  @Test("hidden 3200, feed-forward 8640, heads of 100: the reference's bits with 1 to 8 threads, in batches of 1 to 64")
  func wholeModel() throws {
    let weights = try ModelWeights(random: Self.configuration, seed: 3)
    let prompt = (0..<64).map { Int32($0 * 37 % 270) }
    let reference = ReferenceEngine(weights: weights, precision: .float)
    func rows(_ engine: any Engine, _ chunk: Int) throws -> [UInt32] {
      let id = engine.makeSequence()
      var result: [UInt32] = []
      for start in stride(from: 0, to: prompt.count, by: chunk) {
        let tokens = Array(prompt[start..<min(start + chunk, prompt.count)])
        let logits = try engine.step(Batch([.init(sequence: id, tokens: tokens, rows: .all)]))[0].values
        result += logits.map(\.bitPattern)
      }
      return result
    }
    let expected = try rows(reference, prompt.count)
    for set in InstructionSet.available {
      for (threads, chunks) in [[64], [1, 2], [3, 4], [5, 6], [7, 8], [9, 15], [16, 17], [31, 33, 63]].enumerated() {
        let engine = try CPUEngine(
          weights: weights, threads: threads + 1, instructionSet: set, screensHead: threads % 2 == 0)
        // The portable set takes ten times as long.
        for chunk in set == .portable ? chunks.suffix(1) : chunks[...] {
          let same = try rows(engine, chunk) == expected
          #expect(same, "\(set), \(threads + 1) threads, batches of \(chunk)")
        }
      }
    }
  }
}

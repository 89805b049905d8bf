import BitNetCPUEngine
import BitNetDiagnostics
import BitNetInference
import BitNetRandomModels
import BitNetTernary
import Testing

@Suite("The benchmark of a model, and the memory of engines")
struct ModelBenchmarkTests {
  private static let configuration = ModelConfiguration(
    architecture: "random", vocabularySize: 50, hiddenSize: 64, feedForwardSize: 96, layerCount: 2, headCount: 4,
    keyValueHeadCount: 2, headSize: 16, contextLength: 256, normEpsilon: 1e-5, ropeTheta: 10000,
    activation: .squaredReLU, optionalNorms: .subNorms, tiedEmbedding: false)
  private let weights: ModelWeights

  init() throws { weights = try ModelWeights(random: Self.configuration, seed: 1) }

  @Test("Rates are positive and ordered; floor and ratio follow from the bytes per token and the given bandwidth")
  func rates() throws {
    let benchmark = ModelBenchmark(
      try CPUEngine(weights: weights, threads: 1), weights: weights, rounds: 3, tokens: 9)
    #expect(!benchmark.isOnGPU && benchmark.decodeStep == nil)
    #expect(benchmark.machine.memoryMeasure == .read && !benchmark.machine.screened)
    let model = benchmark.model
    #expect(model.ternaryBytes == weights.tileByteCount && model.headBytes == 50 * 64 * 2 && !model.headIsScreened)
    #expect(model.cacheBytesPerPosition == 2 * 2 * (2 * 16) * 2)

    let prompt = try benchmark.prompt(5)
    let decoding = try benchmark.decode(sequences: 2, depth: 3, alone: 10)
    for rate in [prompt.tokensPerSecond, decoding.tokensPerSecond] {
      #expect(rate.minimum > 0 && rate.minimum <= rate.median && rate.median <= rate.maximum)
    }
    #expect(decoding.sequences == 2 && decoding.depth == 3 && decoding.tokens == 9)
    #expect(decoding.ratioToOne == decoding.tokensPerSecond.median / 10)
    // In the middle of a round, the sequences hold 3 + 4.5 tokens.
    let bytes = Double(model.ternaryBytes + model.headBytes) + 2 * 7.5 * Double(model.cacheBytesPerPosition)
    let floor = 2 * decoding.memoryBytesPerSecond / bytes
    #expect(abs(decoding.floorTokensPerSecond / floor - 1) < 1e-9)
    #expect(try benchmark.decode(sequences: 1, depth: 0).ratioToOne == 1)
    #expect(try benchmark.trace(depth: 0, steps: 1) == nil)
  }

  @Test("Quantiles interpolate between values")
  func quantiles() {
    let values = [4.0, 1, 3, 2]
    #expect([0, 0.25, 0.5, 1].map { values.quantile($0) } == [1, 1.75, 2.5, 4])
    #expect([7.0].quantile(0.9) == 7)
  }

  @Test("Engines count their weights once, and whole pages of the KV cache")
  func memory() throws {
    let engines: [any Engine] = [
      try CPUEngine(weights: weights, threads: 1, screensHead: true),
      ReferenceEngine(weights: weights, precision: .float), ReferenceEngine(weights: weights, precision: .double),
    ]
    for engine in engines {
      let start = engine.memory
      #expect(start.weights == weights.tileByteCount + 2 * 50 * 64 * 2 && start.cache == 0, "\(engine.summary)")
      #expect((start.screen > 0) == (engine is CPUEngine) && (start.buffers > 0) == (engine is CPUEngine))
      let tokens = (0..<64).map { Int32($0 % 50) }
      let id = engine.makeSequence()
      _ = try engine.step(Batch([.init(sequence: id, tokens: tokens, rows: .none)]))
      let page = engine.memory.cache
      // A page holds the keys and values of 64 positions, in bfloat16 or wider.
      #expect(page >= 64 * 2 * 2 * (2 * 16) * 2, "\(engine.summary)")
      _ = try engine.step(Batch([.init(sequence: id, tokens: [1])]))
      #expect(engine.memory.cache == 2 * page, "\(engine.summary)")
    }
  }
}

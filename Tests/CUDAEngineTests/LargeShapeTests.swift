import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetRandomModels
import CUDATestSupport
import Testing

private let standIn = Result { try StandIn(copy: "large-shape-tests") }

@Suite("Layers of larger models on GPUs with more and less shared memory", .serialized)
struct LargeShapeTests {
  /// One layer of a model, with a small vocabulary.
  struct Shape: CustomTestStringConvertible {
    let testDescription: String
    let hidden: Int
    let feedForward: Int
    let heads: Int
    let keyValueHeads: Int
    let headSize: Int
    /// The sequences that the cooperative kernel takes, by the GPU's shared memory.
    let cooperative: [Int: Set<Int>]
  }

  /// Bytes that a block may have: GeForce RTX 4090, A100.
  private static let sharedMemory = [99 << 10, 163 << 10]

  static let shapes = [
    Shape(
      testDescription: "Llama3 8B", hidden: 4096, feedForward: 14336, heads: 32, keyValueHeads: 8, headSize: 128,
      cooperative: [99 << 10: [1], 163 << 10: [1, 3]]),
    Shape(
      testDescription: "Falcon3 10B", hidden: 3072, feedForward: 23040, heads: 12, keyValueHeads: 4, headSize: 256,
      cooperative: [99 << 10: [], 163 << 10: []]),
  ]

  @Test("decode ahead of the host and give the CPU's tokens", arguments: shapes, sharedMemory)
  func decoding(shape: Shape, bytes: Int) throws {
    let configuration = ModelConfiguration(
      architecture: "random", vocabularySize: 64, hiddenSize: shape.hidden, feedForwardSize: shape.feedForward,
      layerCount: 1, headCount: shape.heads, keyValueHeadCount: shape.keyValueHeads, headSize: shape.headSize,
      contextLength: 128, normEpsilon: 1e-5, ropeTheta: 500_000, activation: .silu, tiedEmbedding: false)
    let weights = try ModelWeights(random: configuration, seed: 1)
    let device = try standIn.get().driver {
      $0.multiprocessorCount = 2
      $0.capability = bytes == 163 << 10 ? 80 : 89
      $0.sharedMemoryByteCount = Int32(bytes)
    }.device(0)
    let gpu = try CUDAEngine(weights: weights, device: device), cpu = try CPUEngine(weights: weights, threads: 2)
    #expect(gpu.decodeStepFacts().isCooperative == !shape.cooperative[bytes]!.isEmpty)
    for count in [1, 3] {
      let prompts = (0..<count).map { index in (0..<3).map { Int32((7 * index + $0) % 64) } }
      func run(_ engine: any Engine) throws -> [[Int32]] {
        let ids = prompts.map { _ in engine.makeSequence() }
        defer { for id in ids { engine.removeSequence(id) } }
        var tokens = prompts.map { _ in [Int32]() }
        try engine.generate(
          Batch(zip(ids, prompts).map { .init(sequence: $0, tokens: $1, want: .token(.greedy)) }), limit: 4
        ) {
          for (index, token) in $0.enumerated() { tokens[index].append(token.token) }
          return true
        }
        return tokens
      }
      try standIn.get().resetCounters()
      #expect(try run(gpu) == run(cpu), "\(count) sequences")
      let counters = try standIn.get().counters()
      #expect(counters.graphLaunches >= 2, "\(count) sequences")
      #expect((counters.gridBarriers > 0) == shape.cooperative[bytes]!.contains(count), "\(count) sequences")
    }
  }
}

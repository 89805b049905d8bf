import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import CUDATestSupport
import BitNetInference
import BitNetRandomModels
import BitNetModelFiles
import TestSupport
import Testing

private let standIn = Result { try StandIn(copy: "feature-tests") }

/// Restarts the stand-in's device with one multiprocessor, so that grids are small and tests quick.
private func device(seed: UInt64 = 0, _ change: (inout CUDAOnCPUConfiguration) -> Void = { _ in }) throws -> CUDADevice
{
  let device = try standIn.get().driver {
    $0.multiprocessorCount = 1
    change(&$0)
  }.device(0)
  try standIn.get().setSeed(seed)
  return device
}

/// The hidden states after each token of some texts in one step, `[texts][tokens][hidden]`.
private func hiddenStates(_ engine: any Engine, _ texts: [[Int32]]) throws -> [[Float]] {
  let entries = texts.map {
    Batch.Entry(sequence: engine.makeSequence(), tokens: $0, rows: .all, want: .hidden)
  }
  defer { for entry in entries { engine.removeSequence(entry.sequence) } }
  return try engine.step(Batch(entries)).map(\.values)
}

private func randomTokens(_ count: Int, of weights: ModelWeights, using generator: inout SeededGenerator) -> [Int32] {
  let vocabulary = Int32(weights.configuration.vocabularySize)
  return (0..<count).map { _ in Int32.random(in: 0..<vocabulary, using: &generator) }
}

@Suite("The CUDA engine gives the reference's bits for models with other norms, windows and activations", .serialized)
struct FeatureTests {
  @Test("on the fixtures: hidden states and logits", arguments: Fixture.embedding + [.normedLlama])
  func fixtures(fixture: Fixture) throws {
    let weights = try fixture.load().weights
    let isWhole = weights.configuration.isBidirectional
    let reference = ReferenceEngine(weights: weights, precision: .float)
    let gpu = try CUDAEngine(weights: weights, device: device(seed: 1))
    var generator = SeededGenerator(seed: 7)
    for (length, cut) in [(1, [1]), (7, [4, 1, 2]), (64, [64]), (200, [70, 1, 100, 29])] {
      let prompt = randomTokens(length, of: weights, using: &generator)
      let expected = try logits(reference, prompt, chunks: [length])
      let same = identical(try logits(gpu, prompt, chunks: isWhole ? [length] : cut), expected)
      #expect(same, "logits, \(length) tokens")
      let sameHidden = identical(
        try hiddenStates(gpu, [prompt])[0], try reference.hiddenStates(prompt).map { Float($0) })
      #expect(sameHidden, "hidden states, \(length) tokens")
    }
  }

  @Test("on random shapes with random features", arguments: 1...20)
  func randomShapes(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    var configuration = ModelConfiguration.randomWithFeatures(using: &generator)
    // Some heads are longer than other kernels take, and than a slice of the window's.
    if seed % 5 == 0 { configuration.headSize = 2 * Int.random(in: 65...150, using: &generator) }
    let weights = try ModelWeights(random: configuration, seed: UInt64(seed))
    let length = Int.random(in: 1...(seed % 3 == 0 ? 200 : 90), using: &generator)
    let prompt = randomTokens(length, of: weights, using: &generator)
    let reference = ReferenceEngine(weights: weights, precision: .float)
    let gpu = try CUDAEngine(
      weights: weights, device: device(seed: UInt64(seed % 4)), options: .init(screensHead: seed % 2 == 0))
    let cut = configuration.isBidirectional ? [length] : chunks(length, using: &generator)
    let expected = try logits(reference, prompt, chunks: [length])
    let same = identical(try logits(gpu, prompt, chunks: cut), expected)
    #expect(same, "seed \(seed), \(length) tokens in \(cut): \(configuration)")
    let hidden = try reference.hiddenStates(prompt).map { Float($0) }
    let sameHidden = identical(try hiddenStates(gpu, [prompt])[0], hidden)
    #expect(sameHidden, "seed \(seed), hidden states of \(length) tokens: \(configuration)")
  }

  @Test("and generates the CPU engine's tokens one by one", arguments: 21...28)
  func generation(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    var configuration = ModelConfiguration.randomWithFeatures(using: &generator)
    for index in configuration.attention.indices { configuration.attention[index].isBidirectional = false }
    let weights = try ModelWeights(random: configuration, seed: UInt64(seed))
    let prompts = (0..<3).map { _ in
      randomTokens(Int.random(in: 1...80, using: &generator), of: weights, using: &generator)
    }
    let sampling = [SamplingParameters.greedy, .init(temperature: 1, topP: 0.9, seed: 5), .init(temperature: 0.7)]
    func run(_ engine: any Engine) throws -> [[Int32]] {
      let entries = zip(prompts, sampling).map {
        Batch.Entry(sequence: engine.makeSequence(), tokens: $0, want: .token($1))
      }
      var tokens = prompts.map { _ in [Int32]() }
      try engine.generate(Batch(entries), limit: 5) {
        for (index, token) in $0.enumerated() { tokens[index].append(token.token) }
        return true
      }
      return tokens
    }
    let expected = try run(CPUEngine(weights: weights, threads: 1))
    let gpu = try CUDAEngine(
      weights: weights, device: device(seed: UInt64(seed % 3)), options: .init(screensHead: seed % 2 == 0))
    try standIn.get().resetCounters()
    #expect(try run(gpu) == expected, "seed \(seed): \(configuration)")
    // Where the host makes tiles for every step, there is no graph.
    let hasGraph = !configuration.has(.attentionWindow)
    #expect(try (standIn.get().counters().graphLaunches > 0) == hasGraph, "seed \(seed): \(configuration)")
  }

  @Test("for a text regardless of the texts beside it, with logits and hidden states mixed", arguments: 1...6)
  func batches(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let weights = try Fixture.embedding[seed % 3].load().weights
    let texts = (0..<6).map { index in
      randomTokens(index == 2 ? 1 : Int.random(in: 1...150, using: &generator), of: weights, using: &generator)
    }
    let cpu = try CPUEngine(weights: weights, threads: 2)
    // Memory so small that some slices end within the batch.
    let gpu = try CUDAEngine(weights: weights, device: device(seed: UInt64(seed)) { $0.memoryByteCount = 64 << 20 })
    func run(_ engine: any Engine, _ texts: [[Int32]], _ places: [Int]) throws -> [[Float]] {
      let entries = zip(texts, places).map { text, place in
        Batch.Entry(
          sequence: engine.makeSequence(), tokens: text, rows: place % 2 == 0 ? .all : .last,
          want: place % 3 == 0 ? .logits : .hidden)
      }
      defer { for entry in entries { engine.removeSequence(entry.sequence) } }
      return try engine.step(Batch(entries)).map(\.values)
    }
    let found = try run(gpu, texts, Array(texts.indices))
    for index in texts.indices {
      let same = identical(found[index], try run(cpu, [texts[index]], [index])[0])
      #expect(same, "seed \(seed), text \(index) of \(texts.map(\.count))")
    }
  }

  @Test("for a text longer than the rows that usually go together, whose tokens attend to later ones")
  func longText() throws {
    let configuration = ModelConfiguration(
      architecture: "random", vocabularySize: 30, hiddenSize: 16, feedForwardSize: 24, layerCount: 2, headCount: 2,
      keyValueHeadCount: 1, headSize: 8, contextLength: 2048, normEpsilon: 1e-5, ropeTheta: 10000,
      activation: .geluTanh,
      optionalNorms: [.queryHead, .keyHead, .queryInput, .keyInput, .valueInput, .feedForwardPost],
      attention: [.init(window: 90, isBidirectional: true, ropeTheta: 500), .init(isBidirectional: true)],
      tiedEmbedding: true)
    let weights = try ModelWeights(random: configuration, seed: 1)
    let texts = [40, 600, 30].map { count in (0..<count).map { Int32($0 * $0 % 29) } }
    let expected = try hiddenStates(CPUEngine(weights: weights, threads: 2), texts)
    let gpu = try CUDAEngine(weights: weights, device: device { $0.memoryByteCount = 8 << 20 })
    let buffers = gpu.memory.buffers
    let same = zip(try hiddenStates(gpu, texts), expected).allSatisfy(identical)
    #expect(same)
    #expect(gpu.memory.buffers > buffers)
  }

  @Test("Text of a bidirectional model must come in one step, and is not shared")
  func oneStep() throws {
    let gpu = try CUDAEngine(weights: Fixture.embedding[2].load().weights, device: device())
    let text = (0..<70).map { Int32($0) }
    let id = gpu.makeSequence(startingWith: text).id
    _ = try gpu.step(Batch([.init(sequence: id, tokens: text, want: .hidden)]))
    let error = #expect(throws: EngineError.self) {
      try gpu.step(Batch([.init(sequence: id, tokens: [4], want: .hidden)]))
    }
    #expect(error?.description.contains("is 70; expected 0, because the model's attention is bidirectional") == true)
    #expect(gpu.makeSequence(startingWith: text + [4]).cached == 0)
  }

  @Test("Device memory holds one copy of the weights and norms, and pages are reused", arguments: Fixture.embedding)
  func memory(fixture: Fixture) throws {
    let weights = try fixture.load().weights
    let c = weights.configuration
    let gpu = try CUDAEngine(weights: weights, device: device(), options: .init(sharesPages: false))
    let norms = c.layerCount * c.norms.count
    let own = weights.byteCount + 4 * c.layerCount * c.norms.reduce(0) { $0 + $1.width }
    #expect(gpu.memory.weights >= own && gpu.memory.weights < own + own / 10 + 256 * norms + (1 << 16))
    var caches: Set<Int> = []
    for seed in 0..<3 {
      var generator = SeededGenerator(seed: UInt64(seed))
      _ = try hiddenStates(gpu, [130, 70].map { randomTokens($0, of: weights, using: &generator) })
      caches.insert(gpu.memory.cache)
    }
    #expect(caches.count == 1)
  }

  @Test("Prompts of heads longer than 128 take one launch of attention, not one for each token")
  func longHeads() throws {
    let configuration = ModelConfiguration(
      architecture: "random", vocabularySize: 30, hiddenSize: 16, feedForwardSize: 24, layerCount: 2, headCount: 3,
      keyValueHeadCount: 1, headSize: 256, contextLength: 256, normEpsilon: 1e-5, ropeTheta: 10000, activation: .silu,
      tiedEmbedding: true)
    let weights = try ModelWeights(random: configuration, seed: 1)
    let prompt = (0..<100).map { Int32($0 * $0 % 30) }
    let gpu = try CUDAEngine(weights: weights, device: device())
    try standIn.get().resetCounters()
    let found = try logits(gpu, prompt, chunks: [70])
    // One launch is the embedding; a layer has four products with a quantiser each, rotary embedding and attention; 70
    // outputs have a head and a sampler for each sixteen.
    #expect(try standIn.get().counters().launches == UInt64(1 + configuration.layerCount * 10 + 5 * 2))
    let cpu = try CPUEngine(weights: weights, threads: 1)
    let same = identical(found, try logits(cpu, prompt, chunks: [70]))
    #expect(same)
    // All hidden states together take one launch.
    try standIn.get().resetCounters()
    let texts = [Array(prompt.prefix(70)), Array(prompt.suffix(20))]
    let states = try hiddenStates(gpu, texts)
    #expect(try standIn.get().counters().launches == UInt64(1 + configuration.layerCount * 10 + 1))
    let sameStates = zip(states, try hiddenStates(cpu, texts)).allSatisfy(identical)
    #expect(sameStates)
  }
}

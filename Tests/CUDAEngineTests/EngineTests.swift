import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import CUDATestSupport
import BitNetInference
import BitNetRandomModels
import BitNetModelFiles
import TestSupport
import Testing

private let standIn = Result { try StandIn(copy: "engine-tests") }
private let brokenStandIn = Result { try StandIn(copy: "engine-error-tests") }

/// Continues a prompt by `count` tokens.
func generate(_ engine: any Engine, _ prompt: [Int32], count: Int, _ sampling: SamplingParameters) throws
  -> [Int32]
{
  let id = engine.makeSequence()
  defer { engine.removeSequence(id) }
  var result: [Int32] = []
  try engine.generate(Batch([.init(sequence: id, tokens: prompt, want: .token(sampling))]), limit: count) {
    result.append($0[0].token)
    return true
  }
  #expect(try engine.tokens(of: id) == prompt + result.dropLast())
  return result
}

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

@Suite("The CUDA engine gives the CPU engine's bits", .serialized)
struct EngineTests {
  /// A device without further settings, for the tests in other files.
  static func smallDevice() throws -> CUDADevice { try device() }

  static let variants = [
    (cooperative: true, screened: false), (cooperative: false, screened: true), (cooperative: true, screened: true),
  ]

  @Test(
    "on the fixtures: prompts, chunks, greedy and sampled tokens",
    arguments: Array(Fixture.all.enumerated()).map { ($0.offset % 3, $0.element) })
  func fixtures(variant: Int, fixture: Fixture) throws {
    let weights = try fixture.load().weights
    let (cooperative, screened) = Self.variants[variant]
    let cpu = try CPUEngine(weights: weights, threads: 1)
    let gpu = try CUDAEngine(
      weights: weights, device: device(seed: UInt64(variant)),
      options: .init(screensHead: screened, isCooperative: cooperative))
    for (length, chunks) in [(7, [4, 1, 2]), (64, [64])] {
      let prompt = try fixture.prompt(length)
      let same = identical(try logits(gpu, prompt, chunks: chunks), try logits(cpu, prompt, chunks: [length]))
      #expect(same, "\(length) tokens in \(chunks)")
    }
    let prompt = try fixture.prompt(7)
    for sampling in [SamplingParameters.greedy, .init(temperature: 0.9, topK: 50, topP: 0.95, minP: 0.01, seed: 42)] {
      let expected = try generate(cpu, prompt, count: 6, sampling)
      #expect(try generate(gpu, prompt, count: 6, sampling) == expected)
    }
  }

  @Test("on random shapes", arguments: 1...15)
  func randomShapes(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let configuration = ModelConfiguration.random(using: &generator)
    let weights = try ModelWeights(random: configuration, seed: UInt64(seed))
    let vocabulary = Int32(configuration.vocabularySize)
    let cpu = try CPUEngine(weights: weights, threads: 1)
    let (cooperative, screened) = Self.variants[seed % 3]
    let gpu = try CUDAEngine(
      weights: weights, device: device(seed: UInt64(seed % 4)),
      options: .init(screensHead: screened, isCooperative: cooperative))
    let length = Int.random(in: 1...90, using: &generator)
    let prompt = (0..<length).map { _ in Int32.random(in: 0..<vocabulary, using: &generator) }
    let cut = Int.random(in: 1...length, using: &generator)
    let same = identical(
      try logits(gpu, prompt, chunks: cut < length ? [cut, length - cut] : [length]),
      try logits(cpu, prompt, chunks: [length]))
    #expect(same, "seed \(seed), \(configuration), \(length) tokens cut at \(cut)")
    let sampling = SamplingParameters(temperature: 1, topP: 0.9, seed: UInt64(seed))
    #expect(try generate(gpu, prompt, count: 5, sampling) == generate(cpu, prompt, count: 5, sampling), "seed \(seed)")
  }

  @Test("for a sequence regardless of the batch around it, with prompts and single tokens mixed", arguments: 1...4)
  func raggedBatches(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(2000 + seed))
    let fixture = Fixture.all[seed % Fixture.all.count]
    let weights = try fixture.load().weights
    let vocabulary = Int32(weights.configuration.vocabularySize)
    let cpu = try CPUEngine(weights: weights, threads: 1)
    let gpu = try CUDAEngine(
      weights: weights, device: device(seed: UInt64(seed - 1)), options: .init(screensHead: seed % 2 == 0))
    let prompts = (0..<6).map { _ in
      (0..<Int.random(in: 1...80, using: &generator)).map { _ in Int32.random(in: 0..<vocabulary, using: &generator) }
    }
    let ids = prompts.map { _ in gpu.makeSequence() }
    var done = prompts.map { _ in 0 }
    var last = prompts.map { _ in [Float]() }
    while let first = prompts.indices.first(where: { done[$0] < prompts[$0].count }) {
      let waiting = prompts.indices.filter { done[$0] < prompts[$0].count }
      let members = Set(waiting.shuffled(using: &generator).prefix(4)).union([first]).sorted()
      let entries = members.map { index in
        let left = prompts[index].count - done[index]
        let count = Bool.random(using: &generator) ? 1 : Int.random(in: 1...left, using: &generator)
        return Batch.Entry(sequence: ids[index], tokens: Array(prompts[index][done[index]..<done[index] + count]))
      }
      for ((index, entry), output) in zip(zip(members, entries), try gpu.step(Batch(entries))) {
        let row = output.values
        last[index] = row
        done[index] += entry.input.count
      }
    }
    for index in prompts.indices {
      let expected = try logits(cpu, prompts[index], chunks: [prompts[index].count]).suffix(Int(vocabulary))
      let same = identical(last[index], Array(expected))
      #expect(same, "seed \(seed), sequence \(index)")
    }
  }

  @Test("when up to 64 sequences are decoded ahead of the host", arguments: [2, 3, 7, 8, 9, 21, 64])
  func batchedDecoding(count: Int) throws {
    let fixture = Fixture.all[count % Fixture.all.count]
    let weights = try fixture.load().weights
    let cpu = try CPUEngine(weights: weights, threads: 1)
    let gpu = try CUDAEngine(
      weights: weights, device: device(seed: UInt64(count)), options: .init(screensHead: count % 2 == 1))
    // Use lengths around the end of a page, so that pages are added while steps are running.
    let prompts = try (0..<count).map { Array(try fixture.prompt(64).prefix(max(64 - $0 * 7, 1 + $0 % 5))) }
    let sampling = (0..<count).map {
      SamplingParameters(temperature: $0 % 2 == 0 ? 0 : 0.8, topK: 20, seed: UInt64($0))
    }
    let ids = prompts.map { _ in gpu.makeSequence() }
    var found = prompts.map { _ in [Int32]() }
    var steps = 0
    try standIn.get().resetCounters()
    try gpu.generate(
      Batch(zip(ids, prompts).enumerated().map { .init(sequence: $1.0, tokens: $1.1, want: .token(sampling[$0])) }),
      limit: 12
    ) { sampled in
      for (index, token) in sampled.enumerated() { found[index].append(token.token) }
      steps += 1
      return steps < 9
    }
    // Each step after the prompts and the first time, which loads the kernels.
    #expect(try standIn.get().counters().graphLaunches >= 7)
    for index in 0..<count {
      #expect(try generate(cpu, prompts[index], count: 9, sampling[index]) == found[index], "sequence \(index)")
      #expect(try gpu.tokens(of: ids[index]) == prompts[index] + found[index].dropLast())
    }
    // Steps that ran ahead of the host have no effect on how the sequences continue.
    let entries = ids.indices.map { Batch.Entry(sequence: ids[$0], tokens: [found[$0].last!]) }
    for (index, output) in try gpu.step(Batch(entries)).enumerated() {
      let row = output.values
      let whole = prompts[index] + found[index]
      let same = identical(row, Array(try logits(cpu, whole, chunks: [whole.count]).suffix(row.count)))
      #expect(same, "sequence \(index) of \(count)")
    }
  }

  @Test("when registers limit the blocks of the cooperative kernel")
  func fewBlocks() throws {
    let fixture = Fixture.all[1]
    let weights = try fixture.load().weights
    let cpu = try CPUEngine(weights: weights, threads: 1)
    let prompt = try fixture.prompt(64)
    // Use two sequences, because a single one never has more than one block on a multiprocessor.
    let sampling = [5, 6].map { SamplingParameters(temperature: 0.8, topK: 20, seed: $0) }
    let expected = try sampling.map { try generate(cpu, prompt, count: 6, $0) }
    var barriers: [UInt64] = []
    for blocks in [1, 2] {
      let gpu = try CUDAEngine(
        weights: weights,
        device: device(seed: UInt64(blocks)) {
          $0.multiprocessorCount = 2
          $0.blocksPerMultiprocessor = Int32(blocks)
        })
      let ids = sampling.map { _ in gpu.makeSequence() }
      _ = try gpu.step(Batch(ids.map { .init(sequence: $0, tokens: prompt.dropLast(), rows: .none) }))
      try standIn.get().resetCounters()
      var found: [[Int32]] = [[], []]
      let entries = zip(ids, sampling).map { Batch.Entry(sequence: $0, tokens: [prompt.last!], want: .token($1)) }
      try gpu.generate(Batch(entries), limit: 6) {
        for (index, token) in $0.enumerated() { found[index].append(token.token) }
        return true
      }
      #expect(found == expected, "\(blocks) blocks")
      barriers.append(try standIn.get().counters().blockBarriers)
    }
    // Each block counts its own barriers, so more blocks count more.
    #expect(barriers[1] > barriers[0])
  }

  @Test("when a batch has too many single tokens for one launch of attention, some after a prompt")
  func manySingleTokens() throws {
    let fixture = Fixture.all[0]
    let weights = try fixture.load().weights
    let cpu = try CPUEngine(weights: weights, contextLength: 1 << 17, threads: 1)
    // With such a long context, the chunks of eight tokens fill their buffer.
    let gpu = try CUDAEngine(weights: weights, device: device(), options: .init(contextLength: 1 << 17))
    func run(_ engine: any Engine) throws -> [[Float]] {
      let ids = (0..<13).map { _ in engine.makeSequence() }
      let prompts = try ids.indices.map { index in
        index == 2 ? try Array(fixture.prompt(64).prefix(20)) : [Int32(index)]
      }
      var rows: [[Float]] = []
      for _ in 0..<2 {
        let batch = Batch(zip(ids, prompts).map { .init(sequence: $0, tokens: $1) })
        for output in try engine.step(batch) {
          let row = output.values
          rows.append(row)
        }
      }
      return rows
    }
    let (found, expected) = (try run(gpu), try run(cpu))
    #expect(found.count == 26 && expected.count == 26)
    for (index, (a, b)) in zip(found, expected).enumerated() {
      let same = identical(a, b)
      #expect(same, "row \(index)")
    }
  }

  @Test(
    "when rows are so long that shared memory holds the LM head's data for four outputs but not the screen's",
    arguments: [4160, 4608, 6144])
  func longRows(hidden: Int) throws {
    let configuration = ModelConfiguration(
      architecture: "random", vocabularySize: 40, hiddenSize: hidden, feedForwardSize: 24, layerCount: 1, headCount: 2,
      keyValueHeadCount: 1, headSize: 16, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 10000,
      activation: .squaredReLU,
      optionalNorms: .subNorms, tiedEmbedding: true)
    // The bytes of four rows as floats, and of their two int8 planes.
    let (floats, planes) = (16 * ((hidden + 255) / 256 * 256), 8 * hidden)
    #expect(floats < 97 << 10 && floats + planes > 97 << 10)
    let weights = try ModelWeights(random: configuration, seed: UInt64(hidden))
    let cpu = try CPUEngine(weights: weights, threads: 1)
    let gpu = try CUDAEngine(weights: weights, device: device(seed: 1), options: .init(screensHead: true))
    let prompts: [[Int32]] = [[1, 2], [39], [7, 7, 7], [20]]
    let ids = prompts.map { _ in gpu.makeSequence() }
    var found = prompts.map { _ in [Int32]() }
    let entries = zip(ids, prompts).map { Batch.Entry(sequence: $0, tokens: $1, want: .token(.greedy)) }
    try gpu.generate(Batch(entries), limit: 3) {
      for (index, token) in $0.enumerated() { found[index].append(token.token) }
      return true
    }
    for (index, prompt) in prompts.enumerated() {
      #expect(try generate(cpu, prompt, count: 3, .greedy) == found[index], "hidden \(hidden), sequence \(index)")
    }
  }

  @Test(
    "on a GPU whose blocks have room for a layer's weights: random shapes, positions and blocks, late copies and stores",
    arguments: 1...12)
  func residentLayers(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(4000 + seed))
    let configuration = ModelConfiguration.random(using: &generator)
    let weights = try ModelWeights(random: configuration, seed: UInt64(seed))
    let device = try device(seed: UInt64(seed % 4)) {
      $0.capability = 90
      $0.sharedMemoryByteCount = 227 << 10
      $0.multiprocessorCount = Int32(1 + seed % 5)
    }
    let gpu = try CUDAEngine(weights: weights, device: device, options: .init(screensHead: seed % 2 == 0))
    let prompt = (0..<Int.random(in: 1...70, using: &generator)).map { _ in
      Int32.random(in: 0..<Int32(configuration.vocabularySize), using: &generator)
    }
    let cpu = try CPUEngine(weights: weights, threads: 1)
    #expect(
      try generate(gpu, prompt, count: 8, .greedy) == generate(cpu, prompt, count: 8, .greedy),
      "seed \(seed), \(configuration), \(prompt.count) tokens")
  }

  @Test("A token takes the designed number of launches, barriers and bytes", arguments: [false, true], [80, 90])
  func cost(screened: Bool, capability: Int) throws {
    let fixture = Fixture.all[0]
    let weights = try fixture.load().weights
    let c = weights.configuration
    let device = try device { $0.capability = Int32(capability) }
    let gpu = try CUDAEngine(weights: weights, device: device, options: .init(screensHead: screened))
    let id = gpu.makeSequence()
    _ = try gpu.step(Batch([.init(sequence: id, tokens: fixture.prompt(7), rows: .none)]))
    try standIn.get().resetCounters()
    let count = 5
    try gpu.generate(Batch([.init(sequence: id, tokens: [1], want: .token(.greedy))]), limit: count) { _ in true }
    let counters = try standIn.get().counters()
    #expect(counters.graphLaunches == count)
    // One launch each for the layers, the LM head (or two for the screen and the surviving rows), and the sampler.
    #expect(counters.launches == UInt64(count * (screened ? 4 : 3)))
    // There is a barrier before each of a layer's five phases.
    #expect(counters.gridBarriers == UInt64(count * 5 * c.layerCount))
    // Each weight is copied to shared memory once.
    #expect(counters.asyncCopyBytes == UInt64(count * weights.tileByteCount))
    let table = c.vocabularySize * c.hiddenSize
    if screened {
      // Reads the int8 copy, with rows padded to 16 bytes, and the few rows that survive.
      let least = count * c.vocabularySize * ((c.hiddenSize + 15) / 16 * 16)
      #expect(counters.streamedBytes >= UInt64(least) && counters.streamedBytes < UInt64(least + count * table / 2))
    } else {
      #expect(counters.streamedBytes == UInt64(count * 2 * table))
    }
    #expect(counters.droppedAsyncCopies == 0)
  }

  @Test(
    "The decode step is a graph, unless the driver cannot capture cooperative launches; then its error is kept",
    arguments: [false, true])
  func decodeStepFacts(refused: Bool) throws {
    let fixture = Fixture.all[0]
    let weights = try fixture.load().weights
    let device = try standIn.get().driver {
      $0.multiprocessorCount = 1
      $0.refusedCooperativeLaunches = refused ? 1 : 0
    }.device(0)
    let simple = try CUDAEngine(weights: weights, device: device, options: .init(isCooperative: false))
      .decodeStepFacts()
    #expect(!simple.isCooperative && !simple.hasGraph && simple.graphError == nil)
    let engine = try CUDAEngine(weights: weights, device: device)
    try standIn.get().resetCounters()
    let facts = engine.decodeStepFacts()
    #expect(facts.isCooperative && facts.hasGraph == !refused && (facts.graphError != nil) == refused)
    if refused { #expect(facts.graphError?.contains("CUDA_ERROR_NOT_SUPPORTED") == true, "\(facts.graphError ?? "-")") }
    #expect(try standIn.get().counters().launches == 0)
    let prompt = try fixture.prompt(7)
    let expected = try generate(CPUEngine(weights: weights, threads: 1), prompt, count: 3, .greedy)
    #expect(try generate(engine, prompt, count: 3, .greedy) == expected)
    #expect(try (standIn.get().counters().graphLaunches > 0) == !refused)
  }

  @Test(
    "Traced steps decode the same tokens, and have a row for each hand-over and block", arguments: [1, 3],
    [false, true])
  func tracedSteps(count: Int, screened: Bool) throws {
    let fixture = Fixture.all[1]
    let weights = try fixture.load().weights
    let device = try device(seed: UInt64(count)) { $0.multiprocessorCount = 2 }
    let gpu = try CUDAEngine(weights: weights, device: device, options: .init(screensHead: screened))
    let prompts = try (0..<count).map { Array(try fixture.prompt(64).prefix(62 + $0)) }
    let ids = prompts.map { _ in gpu.makeSequence() }
    _ = try gpu.step(Batch(zip(ids, prompts).map { .init(sequence: $0, tokens: $1.dropLast(), rows: .none) }))
    let batch = Batch(zip(ids, prompts).map { .init(sequence: $0, tokens: [$1.last!], want: .token(.greedy)) })
    let trace = try #require(try gpu.traceDecoding(batch, steps: 4))
    let cpu = try CPUEngine(weights: weights, threads: 1)
    for (id, prompt) in zip(ids, prompts) {
      #expect(try gpu.tokens(of: id) == prompt + generate(cpu, prompt, count: 4, .greedy).dropLast())
    }
    let rows = trace.csv.split(separator: "\n").dropFirst()
    let blocks = Set(rows.map { $0.split(separator: ",")[2] }).count
    #expect(blocks > 1 && rows.count == 5 * weights.configuration.layerCount * blocks)
    let simple = try CUDAEngine(weights: weights, device: device, options: .init(isCooperative: false))
    let entry = Batch.Entry(sequence: simple.makeSequence(), tokens: [1], want: .token(.greedy))
    #expect(try simple.traceDecoding(Batch([entry]), steps: 1) == nil)
  }

  @Test(
    "A prompt takes the launches of one pass for each slice, as long as memory allows; results do not depend on slices"
  )
  func promptCost() throws {
    let configuration = ModelConfiguration(
      architecture: "random", vocabularySize: 30, hiddenSize: 16, feedForwardSize: 24, layerCount: 2, headCount: 2,
      keyValueHeadCount: 1,
      headSize: 8, contextLength: 2048, normEpsilon: 1e-5, ropeTheta: 10000, activation: .squaredReLU,
      optionalNorms: .subNorms,
      tiedEmbedding: true)
    let weights = try ModelWeights(random: configuration, seed: 1)
    let prompt = (0..<600).map { Int32($0 * $0 % 30) }
    let expected = try logits(CPUEngine(weights: weights, threads: 1), prompt, chunks: [600]).suffix(30)
    // A row takes 4 · (2 · 16 + 16 + 16 + 24) + 24 bytes, and the buffers of a slice take at most 1/32 of the memory.
    for (memory, rows) in [(1 << 30, 2048), (16 << 20, 1024), (8 << 20, 512)] {
      let gpu = try CUDAEngine(weights: weights, device: device { $0.memoryByteCount = UInt64(memory) })
      #expect(memory / 32 / 376 >= rows && (rows == 2048 || memory / 32 / 376 < 2 * rows))
      let id = gpu.makeSequence()
      try standIn.get().resetCounters()
      _ = try gpu.step(Batch([.init(sequence: id, tokens: Array(prompt.dropLast()), rows: .none)]))
      // One launch is the embedding; a layer has four products with a quantiser each, rotary embedding and attention.
      let slices = (prompt.count - 1 + rows - 1) / rows
      #expect(
        try standIn.get().counters().launches == UInt64(slices * (1 + configuration.layerCount * 10)),
        "slices of \(rows)")
      let row = try gpu.step(Batch([.init(sequence: id, tokens: [prompt.last!])]))[0].values
      let same = identical(row, Array(expected))
      #expect(same, "slices of \(rows)")
    }
  }

  @Test("Device memory holds one copy of the weights, and pages are reused")
  func memory() throws {
    let fixture = Fixture.all[0]
    let weights = try fixture.load().weights
    let c = weights.configuration
    let gpu = try CUDAEngine(weights: weights, device: device())
    let own = weights.tileByteCount + 2 * c.vocabularySize * c.hiddenSize * (c.tiedEmbedding ? 1 : 2)
    #expect(gpu.memory.weights >= own && gpu.memory.weights < own + own / 10 + (1 << 16))
    for _ in 0..<3 {
      let id = gpu.makeSequence()
      _ = try gpu.step(Batch([.init(sequence: id, tokens: fixture.prompt(200), rows: .none)]))
      gpu.removeSequence(id)
    }
    let cache = gpu.memory.cache
    let id = gpu.makeSequence()
    _ = try gpu.step(Batch([.init(sequence: id, tokens: fixture.prompt(200), rows: .none)]))
    #expect(gpu.memory.cache == cache)
  }

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

  @Test("in layers of larger models, on GPUs with less shared memory", arguments: shapes, sharedMemory)
  func largeShapes(shape: Shape, bytes: Int) throws {
    let configuration = ModelConfiguration(
      architecture: "random", vocabularySize: 64, hiddenSize: shape.hidden, feedForwardSize: shape.feedForward,
      layerCount: 1, headCount: shape.heads, keyValueHeadCount: shape.keyValueHeads, headSize: shape.headSize,
      contextLength: 128, normEpsilon: 1e-5, ropeTheta: 500_000, activation: .silu, tiedEmbedding: false)
    let weights = try ModelWeights(random: configuration, seed: 1)
    let device = try device {
      $0.multiprocessorCount = 2
      $0.capability = bytes == 163 << 10 ? 80 : 89
      $0.sharedMemoryByteCount = Int32(bytes)
    }
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

@Suite("Errors of the CUDA engine", .serialized)
struct EngineErrorTests {
  /// Returns this suite's own device, with the given memory.
  private func device(memory: UInt64 = 1 << 30) throws -> CUDADevice {
    try brokenStandIn.get().driver { $0.memoryByteCount = memory }.device(0)
  }

  @Test("Too little memory is an error of one line")
  func outOfMemory() throws {
    let weights = try Fixture.all[0].load().weights
    do {
      _ = try CUDAEngine(weights: weights, device: device(memory: 1 << 20))
      Issue.record("expected an error")
    } catch let error as CUDAError {
      guard case .outOfMemory = error else { throw error }
      #expect(!"\(error)".contains("\n"))
    }
  }

  @Test("A sequence is unchanged when the KV cache is out of memory, and continues when memory is free again")
  func cacheFull() throws {
    let fixture = Fixture.all[0]
    let weights = try fixture.load().weights
    // The first page has four positions left, so a run of ten steps needs a second page on the way.
    let prompt = Array(try fixture.prompt(64).prefix(60))
    func engine(memory: Int) throws -> CUDAEngine {
      try CUDAEngine(weights: weights, device: device(memory: UInt64(memory)))
    }
    let (used, expected) = try {
      let gpu = try engine(memory: 1 << 30)
      let used = gpu.memory
      return (used.weights + used.screen + used.buffers, try generate(gpu, prompt, count: 10, .greedy))
    }()
    // Leave memory for a few pages and for small allocations.
    let gpu = try engine(memory: used + (1 << 20))
    let first = gpu.makeSequence()
    var found: [Int32] = []
    func go(_ tokens: [Int32], count: Int) throws {
      try gpu.generate(Batch([.init(sequence: first, tokens: tokens, want: .token(.greedy))]), limit: count) {
        found += $0.map(\.token)
        return true
      }
    }
    try go(prompt, count: 1)
    // Other sequences take the rest.
    var others: [SequenceID] = []
    while others.count < 100 {
      others.append(gpu.makeSequence())
      do { _ = try gpu.step(Batch([.init(sequence: others.last!, tokens: [1], rows: .none)])) } catch { break }
    }
    #expect(2..<100 ~= others.count)
    #expect(throws: EngineError.self) { try go(found, count: 9) }
    // The returned tokens remain, and steps that ran ahead do not count.
    #expect(found.count < 6 && found == Array(expected.prefix(found.count)))
    #expect(try gpu.tokens(of: first) == prompt + found.dropLast())
    gpu.removeSequence(others[0])
    try gpu.truncate(first, to: prompt.count + found.count - 1)
    try go([found.last!], count: 10 - found.count)
    #expect(found == expected)
  }

  @Test("Bad batches are refused as in the other engines")
  func badBatches() throws {
    let weights = try Fixture.all[0].load().weights
    let gpu = try CUDAEngine(weights: weights, device: device())
    let id = gpu.makeSequence()
    let vocabulary = Int32(weights.configuration.vocabularySize)
    #expect(throws: EngineError.tokenOutOfRange(vocabulary, vocabulary: Int(vocabulary))) {
      _ = try gpu.step(Batch([.init(sequence: id, tokens: [vocabulary], rows: .none)]))
    }
    #expect(throws: EngineError.unknownSequence(SequenceID(99))) {
      _ = try gpu.step(Batch([.init(sequence: SequenceID(99), tokens: [1], rows: .none)]))
    }
    #expect(throws: EngineError.contextFull(length: 0, adding: gpu.contextLength + 1, limit: gpu.contextLength)) {
      try gpu.generate(Batch([.init(sequence: id, tokens: [1], want: .token(.greedy))]), limit: gpu.contextLength + 1) {
        _ in true
      }
    }
    #expect(throws: EngineError.self) {
      _ = try CUDAEngine(weights: weights, device: device(), options: .init(contextLength: 0))
    }
  }
}

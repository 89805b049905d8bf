import BitNetCPUEngine
import BitNetCUDADriver
package import BitNetCUDAEngine
package import BitNetInference
import BitNetRandomModels
import BitNetTernary

/// Times a model on an engine: prompts, decoding at a depth of the context, and decoding in batches.
///
/// ```swift
/// let benchmark = ModelBenchmark(engine, weights: weights, rounds: 5, tokens: 64)
/// let alone = try benchmark.decode(sequences: 1, depth: 0)
/// print(alone.tokensPerSecond.median, alone.shareOfFloor)
/// ```
///
/// Prompts are random tokens, and every further token is the most likely one. One additional round comes first and does
/// not count: it loads what is loaded on first use.
package final class ModelBenchmark {
  private let engine: any Engine
  private let processor: Processor
  private let rounds: Int
  private let tokens: Int
  private let clock = ContinuousClock()
  /// The bytes that a token reads.
  package let model: Model
  /// The engine, the speed of its memory, and how a GPU decodes. Measured on first use, after which a CPU also finishes
  /// copying the weights: that would slow down the first measurements.
  package private(set) lazy var machine = measureMachine()
  /// Made for the first decoding, so that prompts run without its half a gigabyte; nil when there is no room for it.
  private lazy var bandwidth = MemoryBandwidth(threads: threads)

  /// Tokens between two readings of a CPU's memory speed.
  private static let burst = 8

  /// The engine's hardware, and what only its engine can tell.
  private enum Processor {
    case cpu(CPUEngine)
    case cuda(CUDAEngine)
    /// The reference.
    case other
  }

  /// - Parameters:
  ///   - engine: an engine for `weights`.
  ///   - rounds: how often each measurement is repeated, 1 or more.
  ///   - tokens: how many tokens of each sequence are decoded in a round, 1 or more.
  package init(_ engine: any Engine, weights: ModelWeights, rounds: Int, tokens: Int) {
    self.engine = engine
    processor =
      switch engine {
      case let engine as CPUEngine: .cpu(engine)
      case let engine as CUDAEngine: .cuda(engine)
      default: .other
      }
    self.rounds = rounds
    self.tokens = tokens
    let c = weights.configuration
    let screen = engine.memory.screen
    model = Model(
      ternaryBytes: weights.tileByteCount, headBytes: screen > 0 ? screen : weights.head.bytes.count,
      headIsScreened: screen > 0,
      // Keys and values are bfloat16.
      cacheBytesPerPosition: c.layerCount * 2 * c.keyValueWidth * 2)
  }

  package var isOnGPU: Bool { if case .cuda = processor { true } else { false } }

  /// How a GPU computes single tokens; nil on a CPU.
  package var decodeStep: CUDAEngine.DecodeStepFacts? {
    if case .cuda(let engine) = processor { engine.decodeStepFacts() } else { nil }
  }

  private var threads: Int? { if case .cpu(let engine) = processor { engine.threads } else { nil } }

  private func measureMachine() -> Machine {
    guard case .cuda(let gpu) = processor else {
      let speed = MemoryBandwidth.measure(threads: threads)
      if case .cpu(let engine) = processor { engine.finishCopying() }
      return Machine(
        name: engine.summary, emulated: false, memoryBytesPerSecond: speed, memoryMeasure: .read, memoryError: nil,
        cooperative: nil, graph: nil, graphReason: nil, screened: engine.memory.screen > 0)
    }
    let memory = Result { try DeviceBandwidth.measure(gpu.device) }
    let step = gpu.decodeStepFacts()
    var error: String?
    if case .failure(let failure) = memory { error = "\(failure)" }
    return Machine(
      name: "cuda:\(gpu.device.ordinal) (\(gpu.summary))", emulated: gpu.device.isEmulated,
      memoryBytesPerSecond: try? memory.get(), memoryMeasure: .copy, memoryError: error,
      cooperative: step.isCooperative, graph: step.hasGraph, graphReason: step.graphError,
      screened: gpu.memory.screen > 0)
  }

  /// Times prompts, from their submission to the token that follows.
  ///
  /// - Parameter count: tokens of each prompt, 1 to the context length.
  package func prompt(_ count: Int) throws -> Prompt {
    var generator = SplitMix64(seed: UInt64(count))
    let seconds = try measure {
      let id = engine.makeSequence()
      defer { engine.removeSequence(id) }
      let batch = Batch([.init(sequence: id, tokens: randomTokens(count, &generator), want: .token(.greedy))])
      return try clock.measure { _ = try engine.step(batch) } / .seconds(1)
    }
    return Prompt(tokens: count, tokensPerSecond: .init(seconds.map { Double(count) / $0 }))
  }

  /// Times the decoding of some sequences together.
  ///
  /// - Parameters:
  ///   - sequences: 1 or more.
  ///   - depth: tokens that each sequence holds before.
  ///   - alone: tokens per second of one sequence, for comparison; nil when that is this one, or unknown.
  package func decode(sequences: Int, depth: Int, alone: Double? = nil) throws -> Decoding {
    let rounds = try bursts(sequences: sequences, depth: depth)
    let rate = Rate(rounds.map { Double(sequences * tokens) / $0.reduce(0) { $0 + $1.seconds } })
    // The cache grows in a round; this is its middle.
    let cache = Double(model.cacheBytesPerPosition) * (Double(depth) + Double(tokens) / 2)
    let bytes = Double(model.ternaryBytes + model.headBytes) + Double(sequences) * cache
    let bursts = rounds.joined()
    // Medians over bursts: a moment in which the system suspended a thread says nothing about the memory.
    let memory = bursts.map(\.memory).quantile(0.5)
    return Decoding(
      sequences: sequences, depth: depth, tokens: tokens, tokensPerSecond: rate, memoryBytesPerSecond: memory,
      floorTokensPerSecond: Double(sequences) * memory / bytes,
      shareOfFloor: bursts.map { $0.memory > 0 ? Double($0.tokens) * bytes / $0.seconds / $0.memory : 0 }.quantile(0.5),
      ratioToOne: alone.map { rate.median / $0 } ?? (sequences == 1 ? 1 : nil))
  }

  /// Tokens of each sequence that were decoded without a pause.
  private struct Burst {
    let tokens: Int
    let seconds: Double
    /// The memory's bytes per second meanwhile; 0 where that is not known.
    let memory: Double
  }

  /// The bursts of each round.
  private func bursts(sequences: Int, depth: Int) throws -> [[Burst]] {
    var generator = SplitMix64(seed: UInt64(depth))
    let ids = (0..<sequences).map { _ in engine.makeSequence() }
    defer { for id in ids { engine.removeSequence(id) } }
    if depth > 0 {
      _ = try engine.step(Batch(ids.map { .init(sequence: $0, tokens: randomTokens(depth, &generator), rows: .none) }))
    }
    return try measure {
      for id in ids { try engine.truncate(id, to: depth) }
      let batch = Batch(ids.map { .init(sequence: $0, tokens: randomTokens(1, &generator), want: .token(.greedy)) })
      guard isOnGPU else { return try readingMemory(batch) }
      // A GPU runs ahead of the host, so there is no moment between two tokens.
      let time = try clock.measure { try engine.generate(batch, limit: tokens) { _ in true } }
      return [Burst(tokens: tokens, seconds: time / .seconds(1), memory: machine.memoryBytesPerSecond ?? 0)]
    }
  }

  /// A round in which the memory's speed is read between tokens, because on shared machines it changes within seconds.
  /// The engine must not work on the next token while one is looked at.
  private func readingMemory(_ batch: Batch) throws -> [Burst] {
    var bursts: [Burst] = []
    var (decoded, counted) = (0, 0)
    var pass = bandwidth?.pass()
    var start = clock.now
    try engine.generate(batch, limit: tokens) { _ in
      decoded += 1
      guard decoded == tokens || decoded % Self.burst == 0 else { return true }
      let seconds = start.duration(to: clock.now) / .seconds(1)
      // The mean of the passes just before and just after.
      var speed = 0.0
      if let bandwidth, let before = pass {
        let after = bandwidth.pass()
        speed = Double(2 * MemoryBandwidth.passByteCount) / (before + after)
        pass = after
      }
      bursts.append(Burst(tokens: decoded - counted, seconds: seconds, memory: speed))
      counted = decoded
      start = clock.now
      return true
    }
    return bursts
  }

  /// Where the time of a step of one sequence goes, after steps that warm up.
  ///
  /// - Parameter steps: steps that are run, 1 or more; the last one is traced.
  /// - Returns: nil where single tokens do not go through the cooperative kernel of a GPU.
  package func trace(depth: Int, steps: Int) throws -> DecodeTrace? {
    guard case .cuda(let engine) = processor else { return nil }
    var generator = SplitMix64(seed: UInt64(depth))
    let id = engine.makeSequence()
    defer { engine.removeSequence(id) }
    if depth > 0 {
      _ = try engine.step(Batch([.init(sequence: id, tokens: randomTokens(depth, &generator), rows: .none)]))
    }
    let batch = Batch([.init(sequence: id, tokens: randomTokens(1, &generator), want: .token(.greedy))])
    return try engine.traceDecoding(batch, steps: steps)
  }

  private func randomTokens(_ count: Int, _ generator: inout SplitMix64) -> [Int32] {
    (0..<count).map { _ in Int32.random(in: 0..<Int32(engine.configuration.vocabularySize), using: &generator) }
  }

  private func measure<Result>(_ round: () throws -> Result) throws -> [Result] {
    _ = try round()
    return try (0..<rounds).map { _ in try round() }
  }
}

import BitNetTernary
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDiagnostics
import BitNetInference
import BitNetModelFiles
import BitNetTokenization

/// What `bench model` found: printed as a table or as JSON Lines.
struct BenchModelReport {
  struct Machine: Encodable {
    /// What the engine runs on.
    let name: String
    /// Why it is not a GPU, if that was left open.
    let note: String?
    let emulated: Bool
    /// Nil if it could not be measured.
    let memoryBytesPerSecond: Double?
    /// `copy`: bytes read and written by a copy on the GPU; `read`: bytes read by the CPU.
    let memoryMeasure: String
    /// The error that kept the memory's speed from being measured.
    let memoryError: String?
    /// On a GPU: whether single tokens go through one cooperative kernel.
    let cooperative: Bool?
    /// On a GPU: whether that kernel is launched as part of a graph, and why not.
    let graph: Bool?
    let graphReason: String?
    /// Whether the int8 copy of the output head screens the vocabulary.
    let screened: Bool
  }

  /// The first of the JSON Lines.
  struct Facts: Encodable {
    let machine: Machine
    let model: Model
    let rounds: Int

    private enum Key: String, CodingKey { case model, rounds }

    func encode(to encoder: any Encoder) throws {
      try machine.encode(to: encoder)
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(model, forKey: .model)
      try container.encode(rounds, forKey: .rounds)
    }
  }

  /// A measurement that failed.
  struct Failure: Encodable {
    var tokens: Int?
    var depth: Int?
    var sequences: Int?
    var error = ""

    func with(_ error: String) -> Failure {
      var failure = self
      failure.error = error
      return failure
    }

    /// The failure as a line of the table.
    func line(_ kind: String) -> String {
      let name =
        switch kind {
        case "prompt": "prompt of \(tokens ?? 0)"
        case "depth": "decode after \(depth ?? 0)"
        default: "decode \(plural(sequences ?? 0, "sequence"))"
        }
      return BenchModelReport.row([name, "FAILED"]) + "  \(error)\n"
    }
  }

  struct LeftOut: Encodable {
    let sentence: String
  }

  struct End: Encodable {
    /// Prompts and decodings that were measured.
    let measured: Int
    let failed: Int
    /// As in the first line, after all has been measured.
    let graph: Bool?
    let graphReason: String?
  }

  struct Model: Encodable {
    let name: String
    let parameters: Int
    let contextLength: Int
    /// Bytes that each token reads.
    let ternaryBytes: Int
    let headBytes: Int
    /// Whether these are the int8 copy of the head that screens the vocabulary.
    let headIsScreened: Bool
    /// Bytes that each token reads for each position before it.
    let cacheBytesPerPosition: Int
  }

  /// Tokens a second over the rounds.
  struct Rate: Encodable {
    let median: Double
    let minimum: Double
    let maximum: Double

    /// - Parameter rates: one or more.
    init(_ rates: [Double]) {
      median = rates.quantile(0.5)
      minimum = rates.quantile(0)
      maximum = rates.quantile(1)
    }
  }

  struct Prompt: Encodable {
    let tokens: Int
    let tokensPerSecond: Rate
  }

  struct Decoding: Encodable {
    let sequences: Int
    /// Tokens in the cache of each before.
    let depth: Int
    /// Decoded in a round by each.
    let tokens: Int
    /// Of all sequences together.
    let tokensPerSecond: Rate
    /// The memory's speed, read between the tokens of each round (on a GPU: at the start); the median.
    let memoryBytesPerSecond: Double
    /// The same if nothing took time but reading each byte once in a step.
    let floorTokensPerSecond: Double
    /// The median of what each burst reached of its own floor.
    let shareOfFloor: Double
    /// Times the rate of one sequence.
    let ratioToOne: Double?
  }

  /// Tokens of each sequence that were decoded without a pause.
  struct Burst {
    let tokens: Int
    let seconds: Double
    /// The memory's bytes a second meanwhile; 0 where that is not known.
    let memory: Double
  }

  /// Bytes in the end: of the weights, the int8 copy of the head, buffers and the cache. On the CPU only weights and
  /// copy are counted.
  struct Memory: Encodable {
    var weights = 0
    var screen: Int?
    var buffers: Int?
    var cache: Int?
  }

  let machine: Machine
  let model: Model
  /// Times that each was measured.
  let rounds: Int
  var prompts: [Prompt] = []
  var decoding: [Decoding] = []
  var batches: [Decoding] = []
  var memory: Memory
  /// What did not fit in the context.
  var leftOut: [String] = []
  /// Measurements that failed, that of the memory's speed included.
  var failures: Int

  init(machine: Machine, model: Model, rounds: Int) {
    self.machine = machine
    self.model = model
    self.rounds = rounds
    memory = Memory()
    failures = machine.memoryError == nil ? 0 : 1
  }
}

extension BenchModelReport.Machine {
  /// Measures the memory, and has a GPU record its decode step.
  init(_ engine: any Engine, note: String?) {
    guard let engine = engine as? CUDAEngine else {
      let engine = engine as? CPUEngine
      self.init(
        name: engine?.summary ?? "", note: note, emulated: false,
        memoryBytesPerSecond: MemoryBandwidth.measure(threads: engine?.threads), memoryMeasure: "read",
        memoryError: nil, cooperative: nil,
        graph: nil, graphReason: nil, screened: (engine?.screenByteCount ?? 0) > 0)
      return
    }
    let memory = Result { () throws(CUDAError) in try DeviceBandwidth.measure(engine.device) }
    let step = engine.decodeStepFacts()
    self.init(
      name: "cuda:\(engine.device.ordinal) (\(engine.summary))", note: note, emulated: engine.device.isEmulated,
      memoryBytesPerSecond: try? memory.get(), memoryMeasure: "copy", memoryError: memory.failure,
      cooperative: step.isCooperative,
      graph: step.hasGraph, graphReason: step.graphError, screened: engine.memoryByteCount.screen > 0)
  }
}

extension BenchModelReport.Model {
  init(_ weights: ModelWeights, name: String, engine: any Engine) {
    let c = weights.configuration
    let screen = (engine as? CUDAEngine)?.memoryByteCount.screen ?? (engine as? CPUEngine)?.screenByteCount ?? 0
    self.init(
      name: name, parameters: c.parameterCount, contextLength: engine.contextLength,
      ternaryBytes: weights.tileByteCount,
      headBytes: screen > 0 ? screen : weights.head.bytes.count, headIsScreened: screen > 0,
      // Keys and values are bfloat16.
      cacheBytesPerPosition: c.layerCount * 2 * c.keyValueWidth * 2)
  }
}

extension BenchModelReport {
  /// - Parameters:
  ///   - rounds: the bursts of each.
  ///   - alone: tokens a second of one sequence; nil when that is this one, or unknown.
  func decoding(sequences: Int, depth: Int, tokens: Int, rounds: [[Burst]], alone: Double?) -> Decoding {
    let rate = Rate(rounds.map { Double(sequences * tokens) / $0.reduce(0) { $0 + $1.seconds } })
    // The cache grows in a round; this is its middle.
    let cache = Double(model.cacheBytesPerPosition) * (Double(depth) + Double(tokens) / 2)
    let bytes = Double(model.ternaryBytes + model.headBytes) + Double(sequences) * cache
    let bursts = rounds.joined()
    // Medians over bursts: a moment in which the system suspended a thread says nothing of the memory.
    let memory = bursts.map(\.memory).quantile(0.5)
    return Decoding(
      sequences: sequences, depth: depth, tokens: tokens, tokensPerSecond: rate, memoryBytesPerSecond: memory,
      floorTokensPerSecond: Double(sequences) * memory / bytes,
      shareOfFloor: bursts.map { $0.memory > 0 ? Double($0.tokens) * bytes / $0.seconds / $0.memory : 0 }.quantile(0.5),
      ratioToOne: alone.map { rate.median / $0 } ?? (sequences == 1 ? 1 : nil))
  }

  func end(_ engine: any Engine) -> End {
    let step = (engine as? CUDAEngine)?.decodeStepFacts()
    return End(
      measured: prompts.count + decoding.count + batches.count, failed: failures, graph: step?.hasGraph,
      graphReason: step?.graphError)
  }

  mutating func measureMemory(_ engine: any Engine, weights: ModelWeights) {
    guard let engine = engine as? CUDAEngine else {
      let tables = weights.embedding.bytes.count + (weights.configuration.tiedEmbedding ? 0 : weights.head.bytes.count)
      memory = Memory(weights: weights.tileByteCount + tables, screen: (engine as? CPUEngine)?.screenByteCount)
      return
    }
    let bytes = engine.memoryByteCount
    memory = Memory(weights: bytes.weights, screen: bytes.screen, buffers: bytes.buffers, cache: bytes.cache)
  }

  static func row(_ cells: [String]) -> String {
    let widths = [22, 12, 22, 12, 12, 16]
    var line = ""
    for (index, (cell, width)) in zip(cells, widths).enumerated() {
      let gap = String(repeating: " ", count: max(0, width - cell.count))
      line += index == 0 ? cell + gap : gap + cell
    }
    return line + "\n"
  }

  /// What comes before the results.
  var heading: String {
    var text = "\(machine.name)" + (machine.note.map { " (no GPU: \($0))" } ?? "") + "\n"
    if machine.emulated {
      text += "NOTE: this device is emulated on the CPU. All figures below are the emulator's and mean nothing.\n"
    }
    let speed = machine.memoryBytesPerSecond.map { "\(($0 / 1e9).decimals(1)) GB/s" }
    let measure = machine.memoryMeasure == "copy" ? "read and written by a copy" : "read"
    let head = "\(size(model.headBytes)) of \(model.headIsScreened ? "the head's int8 copy" : "output head")"
    var rows = [
      ("model", "\(model.name), \((Double(model.parameters) / 1e6).decimals(1)) million parameters"),
      ("memory", speed.map { "\($0) \(measure)" } ?? "FAILED: \(machine.memoryError ?? "")"),
      (
        "bytes of a token",
        "\(size(model.ternaryBytes)) of weights, \(head), \(size(model.cacheBytesPerPosition)) for each token before"
      ),
    ]
    if machine.cooperative == false {
      rows.append(("decoding", "a kernel for each operation, without the cooperative kernel"))
    }
    if let reason = machine.graphReason {
      rows.append(("decoding", "launched kernel by kernel, because no graph could be recorded: \(reason)"))
    }
    return text + table(rows) + "\n"
      + Self.row([
        "", "tokens/s", "slowest to fastest", machine.memoryMeasure == "copy" ? "GB/s copied" : "GB/s read", "of floor",
        "of 1 sequence",
      ])
  }

  /// What comes after them.
  var notes: String {
    var text = "\nTokens a second are medians of \(plural(rounds, "round")).\n"
    if (decoding + batches).contains(where: { $0.shareOfFloor > 1 }), !machine.emulated {
      text += "Above 100 %: a cache was faster than memory, or memory faster than when it was measured.\n"
    }
    if failures > 0 { text += "\(plural(failures, "measurement")) failed.\n" }
    for sentence in leftOut { text += "Left out: \(sentence).\n" }
    var parts = ["\(size(memory.weights)) of weights"]
    if let screen = memory.screen, screen > 0 { parts.append("\(size(screen)) of the head's int8 copy") }
    if let buffers = memory.buffers, let cache = memory.cache {
      parts += ["\(size(buffers)) of buffers", "\(size(cache)) of cache"]
    }
    return text + "Memory: \(parts.joined(separator: ", ")).\n"
  }
}

extension BenchModelReport.Rate {
  fileprivate var cells: [String] { [median.shortened, "\(minimum.shortened) to \(maximum.shortened)"] }
}

extension BenchModelReport.Prompt {
  var line: String { BenchModelReport.row(["prompt of \(tokens)"] + tokensPerSecond.cells) }
}

extension BenchModelReport.Decoding {
  var depthLine: String { BenchModelReport.row(["decode after \(depth)"] + cells) }
  var batchLine: String {
    BenchModelReport.row(
      ["decode \(plural(sequences, "sequence"))"] + cells + [ratioToOne.map { $0.decimals(2) } ?? "-"])
  }

  private var cells: [String] {
    tokensPerSecond.cells + [(memoryBytesPerSecond / 1e9).decimals(1), "\((shareOfFloor * 100).decimals(1)) %"]
  }
}

import BitNetCUDAEngine
import BitNetDiagnostics
import BitNetInference

/// The results of `bench model`, printed as a table or as JSON Lines.
struct BenchModelReport {
  /// The fields of `ModelBenchmark.Machine`, and `note`.
  struct Machine: Encodable {
    let measured: ModelBenchmark.Machine
    /// The reason why it is not a GPU, if the choice was automatic.
    let note: String?

    init(_ measured: ModelBenchmark.Machine, note: String?) { (self.measured, self.note) = (measured, note) }

    private enum Key: String, CodingKey { case note }

    func encode(to encoder: any Encoder) throws {
      try measured.encode(to: encoder)
      var container = encoder.container(keyedBy: Key.self)
      try container.encodeIfPresent(note, forKey: .note)
    }
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
      return BenchModelReport.columns.row([name, "FAILED"]) + "  \(error)\n"
    }
  }

  struct LeftOut: Encodable {
    let sentence: String
  }

  struct End: Encodable {
    /// The number of prompts and decodings that were measured.
    let measured: Int
    let failed: Int
    /// As in the first line, but after all measurements.
    let graph: Bool?
    let graphReason: String?
  }

  struct Model: Encodable {
    let name: String
    let parameters: Int
    let contextLength: Int
    /// The bytes that each token reads.
    let ternaryBytes: Int
    let headBytes: Int
    /// Whether `headBytes` counts the int8 copy of the head that screens the vocabulary.
    let headIsScreened: Bool
    /// The bytes that each token reads for each position before it.
    let cacheBytesPerPosition: Int
  }

  /// Bytes in the end: of the weights, the int8 copy of the head, buffers and the cache. On the CPU only weights and
  /// copy are counted.
  struct Memory: Encodable {
    let weights: Int
    let screen: Int
    var buffers: Int?
    var cache: Int?

    /// - Parameter isOnGPU: where buffers and cache are memory that only the engine takes.
    init(_ use: MemoryUse, isOnGPU: Bool) {
      weights = use.weights
      screen = use.screen
      if isOnGPU { (buffers, cache) = (use.buffers, use.cache) }
    }
  }

  let machine: Machine
  let model: Model
  /// How often each measurement was repeated.
  let rounds: Int
  var prompts: [ModelBenchmark.Prompt] = []
  var decoding: [ModelBenchmark.Decoding] = []
  var batches: [ModelBenchmark.Decoding] = []
  /// Nil until the end.
  var memory: Memory?
  /// The measurements that did not fit in the context, in words.
  var leftOut: [String] = []
  /// The number of measurements that failed, that of the memory's speed included.
  var failures: Int

  init(machine: Machine, model: Model, rounds: Int) {
    self.machine = machine
    self.model = model
    self.rounds = rounds
    failures = machine.measured.memoryError == nil ? 0 : 1
  }

  var facts: Facts { Facts(machine: machine, model: model, rounds: rounds) }
}

extension BenchModelReport.Model {
  init(_ weights: ModelWeights, name: String, contextLength: Int, bytes: ModelBenchmark.Model) {
    self.init(
      name: name, parameters: weights.configuration.parameterCount, contextLength: contextLength,
      ternaryBytes: bytes.ternaryBytes, headBytes: bytes.headBytes, headIsScreened: bytes.headIsScreened,
      cacheBytesPerPosition: bytes.cacheBytesPerPosition)
  }
}

extension BenchModelReport {
  /// - Parameter step: how a GPU decodes; nil on a CPU.
  func end(_ step: CUDAEngine.DecodeStepFacts?) -> End {
    End(
      measured: prompts.count + decoding.count + batches.count, failed: failures, graph: step?.hasGraph,
      graphReason: step?.graphError)
  }

  fileprivate static let columns = TableColumns([.left(22), .right(10), .right(20), .right(10), .right(10), .right(14)])

  /// The text before the results.
  var heading: String {
    let note = machine.note, machine = machine.measured
    var text = "\(machine.name)" + (note.map { " (no GPU: \($0))" } ?? "") + "\n"
    if machine.emulated {
      text += "NOTE: this device is emulated on the CPU. All figures below are the emulator's and mean nothing.\n"
    }
    let speed = machine.memoryBytesPerSecond.map { "\(($0 / 1e9).decimals(1)) GB/s" }
    let measure = machine.memoryMeasure == .copy ? "read and written by a copy" : "read"
    let head = "\(size(model.headBytes)) of \(model.headIsScreened ? "the head's int8 copy" : "LM head")"
    var rows = [
      ("model", "\(model.name), \((Double(model.parameters) / 1e6).decimals(1)) million parameters"),
      ("memory", speed.map { "\($0) \(measure)" } ?? "FAILED: \(machine.memoryError ?? "")"),
      (
        "bytes of a token",
        "\(size(model.ternaryBytes)) of weights, \(head), \(size(model.cacheBytesPerPosition)) for each earlier token"
      ),
    ]
    if machine.cooperative == false {
      rows.append(("decoding", "one kernel per operation, without the cooperative kernel"))
    }
    if let reason = machine.graphReason {
      rows.append(("decoding", "launched kernel by kernel, because no graph could be recorded: \(reason)"))
    }
    return text + table(rows) + "\n"
      + Self.columns.row([
        "", "tokens/s", "slowest to fastest", machine.memoryMeasure == .copy ? "GB/s copied" : "GB/s read", "of floor",
        "of 1 sequence",
      ])
  }

  /// The text after the results.
  var notes: String {
    var text = "\nTokens per second are medians of \(plural(rounds, "round")).\n"
    if (decoding + batches).contains(where: { $0.shareOfFloor > 1 }), !machine.measured.emulated {
      text += "Above 100 %: a cache was faster than memory, or memory was faster than when it was measured.\n"
    }
    if failures > 0 { text += "\(plural(failures, "measurement")) failed.\n" }
    for sentence in leftOut { text += "Left out: \(sentence).\n" }
    guard let memory else { return text }
    var parts = ["\(size(memory.weights)) of weights"]
    if memory.screen > 0 { parts.append("\(size(memory.screen)) of the head's int8 copy") }
    if let buffers = memory.buffers, let cache = memory.cache {
      parts += ["\(size(buffers)) of buffers", "\(size(cache)) of cache"]
    }
    return text + "Memory: \(parts.joined(separator: ", ")).\n"
  }
}

extension ModelBenchmark.Rate {
  fileprivate var cells: [String] { [median.shortened, "\(minimum.shortened) to \(maximum.shortened)"] }
}

extension ModelBenchmark.Prompt {
  var line: String { BenchModelReport.columns.row(["prompt of \(tokens)"] + tokensPerSecond.cells) }
}

extension ModelBenchmark.Decoding {
  var depthLine: String { BenchModelReport.columns.row(["decode after \(depth)"] + cells) }
  var batchLine: String {
    BenchModelReport.columns.row(
      ["decode \(plural(sequences, "sequence"))"] + cells + [ratioToOne.map { $0.decimals(2) } ?? "-"])
  }

  private var cells: [String] {
    tokensPerSecond.cells + [(memoryBytesPerSecond / 1e9).decimals(1), "\((shareOfFloor * 100).decimals(1)) %"]
  }
}

import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDiagnostics
import BitNetInference
import BitNetModelFiles
import BitNetRandomModels
import BitNetTokenization

struct BenchModel: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "model",
    abstract: "Time a model: prompts, and decoding alone, deep in the context and in batches.",
    discussion: """
      Prompts and continuations are random tokens, chosen greedily from then on. The floor is the time that reading the bytes of a token \
      (weights, output head, cache) takes at the memory's speed, which is measured too. A list can be "none". A measurement that fails \
      does not stop the others; the exit status is then 1.

      Examples:
        bitnet bench model
        bitnet bench model --model model.safetensors --prompt 512 --depth 0,2048
        bitnet bench model --random-2b --device cuda --json
        bitnet bench model --random-2b --device cuda --screen off --no-cooperative
      """)

  static let random2BName = "random weights in the shape of BitNet b1.58 2B-4T"

  @Flag(name: .customLong("random-2b"), help: "Random weights in the shape of BitNet b1.58 2B-4T, made in memory.")
  var random2B = false

  @Option(parsing: .unconditional, help: ArgumentHelp("Tokens of prompts. (default: 128,512,2048)", valueName: "list"))
  var prompt: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Tokens in the cache before decoding. (default: 0,1024,3072)", valueName: "list"))
  var depth: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Sequences that are decoded together. (default: 1,2,4,8,16,32)", valueName: "list"))
  var batch: String?

  @Option(parsing: .unconditional, help: ArgumentHelp("Times that each is measured. (default: 5)", valueName: "count"))
  var rounds: Int?

  @Option(
    parsing: .unconditional, help: ArgumentHelp("Tokens that are decoded each time. (default: 64)", valueName: "count"))
  var tokens: Int?

  @Flag(help: "Measure little: short prompts, few tokens, two rounds.")
  var quick = false

  @Flag(help: "Print JSON Lines, each as soon as it is measured.")
  var json = false

  @Option(
    help: ArgumentHelp(
      "On a GPU, whether an int8 copy of the output head screens the vocabulary: on, off, or auto, where it pays and fits.",
      valueName: "choice"))
  var screen = ScreenChoice.auto

  @Flag(help: "On a GPU, decode with a kernel for each operation instead of one cooperative kernel.")
  var noCooperative = false

  @Option(
    help: ArgumentHelp(
      "On a GPU, write the clocks of each phase and block of a decode step at each --depth to a CSV file, and print a summary.",
      valueName: "file"))
  var trace: String?

  @Option(
    help: ArgumentHelp(
      "On a GPU, load kernels from NAME.ptx files in a folder instead of those built in.", valueName: "folder"))
  var kernels: String?

  @OptionGroup(title: "Model") var model: ModelOptions

  func validate() throws {
    if random2B, model.source.model != nil { throw ValidationError("--random-2b does not go with --model.") }
    if trace != nil, noCooperative { throw ValidationError("--trace does not go with --no-cooperative.") }
  }

  func run() throws {
    let prompts = try Self.list(prompt ?? (quick ? "8,16" : "128,512,2048"), of: "--prompt", 1...(1 << 20))
    let depths = try Self.list(depth ?? (quick ? "0,16" : "0,1024,3072"), of: "--depth", 0...(1 << 20))
    let batches = try Self.list(batch ?? (quick ? "1,2" : "1,2,4,8,16,32"), of: "--batch", 1...1024)
    let rounds = try Self.number(rounds ?? (quick ? 2 : 5), of: "--rounds", 1...1000)
    let tokens = try Self.number(tokens ?? (quick ? 4 : 64), of: "--tokens", 1...(1 << 16))

    if let kernels { try KernelImages.replace(from: kernels) }
    let traceFile = try trace.map { try OutputFile(path: $0, overwrite: true) }
    let weights = random2B ? try ModelWeights(random: .bitNet2B4T, seed: 1) : try model.source.loadWeights()
    let name = random2B ? Self.random2BName : model.source.model ?? "the demo model"
    let (engine, note) = try makeEngine(weights)
    let benchmark = ModelBenchmark(engine, rounds: rounds, tokens: tokens)
    let machine = BenchModelReport.Machine(engine, note: note)
    var report = BenchModelReport(machine: machine, model: .init(weights, name: name, engine: engine), rounds: rounds)
    (engine as? CPUEngine)?.finishCopying()
    try write("machine", BenchModelReport.Facts(machine: machine, model: report.model, rounds: rounds), report.heading)

    func leavesOut(_ what: String, needed: Int) throws -> Bool {
      guard needed > engine.contextLength else { return false }
      let sentence = "\(what): it needs \(needed) positions, and the context has \(engine.contextLength)"
      report.leftOut.append(sentence)
      if json { try ByteOutput.standard.write("left_out", BenchModelReport.LeftOut(sentence: sentence)) }
      return true
    }
    /// Measures and prints: the result, or the error in its place.
    func measure<Found: Encodable>(
      _ kind: String, _ line: (Found) -> String, _ failure: BenchModelReport.Failure, _ body: () throws -> Found
    ) throws -> [Found] {
      switch Result(catching: body) {
      case .success(let found):
        try write(kind, found, line(found))
        return [found]
      case .failure(let error):
        report.failures += 1
        let failure = failure.with("\(error)")
        try write(kind, failure, failure.line(kind))
        return []
      }
    }
    for count in prompts where try !leavesOut("a prompt of \(plural(count, "token"))", needed: count) {
      report.prompts += try measure("prompt", \.line, .init(tokens: count)) {
        BenchModelReport.Prompt(
          tokens: count, tokensPerSecond: .init(try benchmark.prompt(count).map { Double(count) / $0 }))
      }
    }
    let decodes = !depths.isEmpty || !batches.isEmpty
    let memory: ModelBenchmark.Memory =
      machine.memoryMeasure == "copy"
      ? .measured(bytesPerSecond: machine.memoryBytesPerSecond ?? 0)
      : .read(decodes ? MemoryBandwidth(threads: (engine as? CPUEngine)?.threads) : nil)
    for depth in depths where try !leavesOut("decoding after \(plural(depth, "token"))", needed: depth + tokens) {
      report.decoding += try measure("depth", \.depthLine, .init(depth: depth, sequences: 1)) {
        let measured = try benchmark.decode(sequences: 1, depth: depth, memory: memory)
        return report.decoding(sequences: 1, depth: depth, tokens: tokens, rounds: measured, alone: nil)
      }
    }
    if let traceFile {
      for depth in depths
      where try !leavesOut("a trace after \(plural(depth, "token"))", needed: depth + BenchModelTrace.steps) {
        _ = try measure("trace", \.text, .init(depth: depth, sequences: 1)) {
          let trace = try benchmark.trace(depth: depth)
          try Array("# depth \(depth)\n\(trace.csv)".utf8).withUnsafeBytes { try traceFile.append($0) }
          return BenchModelTrace(trace, depth: depth)
        }
      }
      try traceFile.commit()
    }
    for count in batches where try !leavesOut("decoding \(plural(count, "sequence"))", needed: tokens) {
      report.batches += try measure("batch", \.batchLine, .init(depth: 0, sequences: count)) {
        let measured = try benchmark.decode(sequences: count, depth: 0, memory: memory)
        let alone = report.batches.first { $0.sequences == 1 }?.tokensPerSecond.median
        return report.decoding(sequences: count, depth: 0, tokens: tokens, rounds: measured, alone: alone)
      }
    }
    report.measureMemory(engine, weights: weights)
    if json {
      try ByteOutput.standard.write("memory", report.memory)
      try ByteOutput.standard.write("end", report.end(engine))
    } else {
      try ByteOutput.standard.write(report.notes)
    }
    if report.failures > 0 { throw CommandError("\(plural(report.failures, "measurement")) failed") }
  }

  /// Whether an int8 copy of the output head screens the vocabulary.
  enum ScreenChoice: String, ExpressibleByArgument, CaseIterable {
    case auto, on, off
  }

  private func makeEngine(_ weights: ModelWeights) throws -> (engine: any Engine, note: String?) {
    let given = [("--no-cooperative", noCooperative), ("--trace", trace != nil), ("--kernels", kernels != nil)].first {
      $0.1
    }
    let option = screen != .auto ? "--screen is \(screen.rawValue)" : given.map { "\($0.0) is given" }
    func refuse(_ reason: String) throws {
      if let option { throw CommandError("\(option); expected it with a GPU only\(reason)") }
    }
    if case .cpu = model.device { try refuse("; choose --device cuda") }
    // What is measured is known to be right from bitnet verify.
    var cuda = LanguageModel.CUDAOptions(checksDevice: false)
    cuda.usesCooperativeKernel = !noCooperative
    var options = try model.loadOptions(cuda: cuda)
    if screen != .auto { options.screensHead = screen == .on }
    let (engine, note) = try options.makeEngine(for: weights)
    if !(engine is CUDAEngine) { try refuse(note.map { "; no GPU can be used: \($0)" } ?? "; choose --device cuda") }
    return (engine, note)
  }

  private func write(_ kind: String, _ content: some Encodable, _ text: String) throws {
    if json { try ByteOutput.standard.write(kind, content) } else { try ByteOutput.standard.write(text) }
  }

  private static func list(_ text: String, of option: String, _ range: ClosedRange<Int>) throws -> [Int] {
    text == "none" ? [] : try numbers(text, of: option, range)
  }

  private static func number(_ value: Int, of option: String, _ range: ClosedRange<Int>) throws -> Int {
    guard range ~= value else {
      throw CommandError("\(option) is \(value); expected \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }
}

/// Times an engine.
private struct ModelBenchmark {
  private let engine: any Engine
  private let rounds: Int
  private let tokens: Int
  private let clock = ContinuousClock()

  /// - Parameter tokens: decoded in a round.
  init(_ engine: any Engine, rounds: Int, tokens: Int) {
    self.engine = engine
    self.rounds = rounds
    self.tokens = tokens
  }

  private func randomTokens(_ count: Int, _ generator: inout SplitMix64) -> [Int32] {
    (0..<count).map { _ in Int32.random(in: 0..<Int32(engine.configuration.vocabularySize), using: &generator) }
  }

  /// Seconds until the token after a prompt is there, for each round.
  func prompt(_ count: Int) throws -> [Double] {
    var generator = SplitMix64(seed: UInt64(count))
    return try measure {
      let id = engine.makeSequence()
      defer { engine.removeSequence(id) }
      let batch = Batch([.init(sequence: id, tokens: randomTokens(count, &generator), want: .token(.greedy))])
      return try clock.measure { _ = try engine.step(batch) } / .seconds(1)
    }
  }

  /// How the memory's speed beside a round is known.
  enum Memory {
    case measured(bytesPerSecond: Double)
    /// Read between tokens, because on shared machines it changes within seconds; nil without room for that.
    case read(MemoryBandwidth?)
  }

  /// Tokens between two readings of the memory.
  private static let burst = 8

  /// Decodes `tokens` tokens of each of some sequences that hold `depth` already, for each round.
  func decode(sequences: Int, depth: Int, memory: Memory) throws -> [[BenchModelReport.Burst]] {
    var generator = SplitMix64(seed: UInt64(depth))
    let ids = (0..<sequences).map { _ in engine.makeSequence() }
    defer { for id in ids { engine.removeSequence(id) } }
    if depth > 0 {
      _ = try engine.step(Batch(ids.map { .init(sequence: $0, tokens: randomTokens(depth, &generator), rows: .none) }))
    }
    return try measure {
      for id in ids { try engine.truncate(id, to: depth) }
      let batch = Batch(ids.map { .init(sequence: $0, tokens: randomTokens(1, &generator), want: .token(.greedy)) })
      switch memory {
      case .measured(let bytesPerSecond):
        let time = try clock.measure { try engine.generate(batch, limit: tokens) { _ in true } }
        return [.init(tokens: tokens, seconds: time / .seconds(1), memory: bytesPerSecond)]
      case .read(let reader): return try decode(batch, reader)
      }
    }
  }

  /// A round of an engine that works on no other token while one is looked at.
  private func decode(_ batch: Batch, _ memory: MemoryBandwidth?) throws -> [BenchModelReport.Burst] {
    var bursts: [BenchModelReport.Burst] = []
    var (decoded, counted) = (0, 0)
    var pass = memory?.pass()
    var start = clock.now
    try engine.generate(batch, limit: tokens) { _ in
      decoded += 1
      guard decoded == tokens || decoded % Self.burst == 0 else { return true }
      let seconds = start.duration(to: clock.now) / .seconds(1)
      // What was read just before and just after.
      var speed = 0.0
      if let memory, let before = pass {
        let after = memory.pass()
        speed = Double(2 * MemoryBandwidth.passByteCount) / (before + after)
        pass = after
      }
      bursts.append(.init(tokens: decoded - counted, seconds: seconds, memory: speed))
      counted = decoded
      start = clock.now
      return true
    }
    return bursts
  }

  /// Where the time of a step of one sequence goes, after some steps that warm up.
  func trace(depth: Int) throws -> DecodeTrace {
    guard let engine = engine as? CUDAEngine else {
      throw CommandError("--trace is given; expected it with a GPU only")
    }
    var generator = SplitMix64(seed: UInt64(depth))
    let id = engine.makeSequence()
    defer { engine.removeSequence(id) }
    if depth > 0 {
      _ = try engine.step(Batch([.init(sequence: id, tokens: randomTokens(depth, &generator), rows: .none)]))
    }
    let batch = Batch([.init(sequence: id, tokens: randomTokens(1, &generator), want: .token(.greedy))])
    guard let trace = try engine.traceDecoding(batch, steps: BenchModelTrace.steps) else {
      throw CommandError("--trace is given; expected an engine that decodes with the cooperative kernel")
    }
    return trace
  }

  /// One round more, whose time does not count: it loads what is loaded on first use.
  private func measure<Result>(_ round: () throws -> Result) throws -> [Result] {
    _ = try round()
    return try (0..<rounds).map { _ in try round() }
  }
}

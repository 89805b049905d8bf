import ArgumentParser
import BitNet
import BitNetCUDAEngine
import BitNetDiagnostics
import BitNetInference
import BitNetModelFiles
import BitNetRandomModels

struct BenchModel: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "model",
    abstract: "Time a model: prompts, and decoding alone, at depth and in batches.",
    discussion: """
      Prompts are random tokens, and decoding continues them greedily. The floor is the time that it takes to read the \
      bytes of a token (weights, LM head, cache) at the memory bandwidth, which is measured too. A list can be \
      "none". A measurement that fails does not stop the others; the exit status is then 1.

      Examples:
        bitnet bench model
        bitnet bench model --model model.safetensors --prompt 512 --depth 0,2048
        bitnet bench model --random-2b --device cuda --json
        bitnet bench model --random-2b --device cuda --screen off --no-cooperative
      """)

  static let random2BName = "random weights in the shape of BitNet b1.58 2B-4T"

  @Flag(
    name: .customLong("random-2b"), help: "Use random weights in the shape of BitNet b1.58 2B-4T, generated in memory.")
  var random2B = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The lengths of prompts, in tokens. (default: 128,512,2048)", valueName: "list"))
  var prompt: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The numbers of tokens in the cache before decoding. (default: 0,1024,3072)", valueName: "list"))
  var depth: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The numbers of sequences to decode together. (default: 1,2,4,8,16,32)", valueName: "list"))
  var batch: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("How often to repeat each measurement. (default: 5)", valueName: "count"))
  var rounds: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The number of tokens to decode each time. (default: 64)", valueName: "count"))
  var tokens: Int?

  @Flag(help: "Measure briefly: short prompts, few tokens, two rounds.")
  var quick = false

  @Flag(help: "Print JSON Lines, each as soon as it has been measured.")
  var json = false

  @Option(
    help: ArgumentHelp(
      """
      On a GPU, whether an int8 copy of the LM head screens the vocabulary: on, off, or auto (if it is faster and \
      fits).
      """,
      valueName: "choice"))
  var screen = ScreenChoice.auto

  @Flag(help: "On a GPU, decode with one kernel per operation instead of one cooperative kernel.")
  var noCooperative = false

  @Option(
    help: ArgumentHelp(
      """
      On a GPU, write the clock readings of each phase and block of a decode step, at each --depth, to this CSV file, \
      and print a summary.
      """,
      valueName: "file"))
  var trace: String?

  @Option(
    help: ArgumentHelp(
      "On a GPU, load kernels from the files NAME.ptx in this folder instead of the built-in ones.", valueName: "folder"
    ))
  var kernels: String?

  @OptionGroup(title: "Model") var model: ModelOptions

  func validate() throws {
    if random2B, model.source.model != nil { throw ValidationError("--random-2b cannot be combined with --model.") }
    if trace != nil, noCooperative { throw ValidationError("--trace cannot be combined with --no-cooperative.") }
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
    let benchmark = ModelBenchmark(engine, weights: weights, rounds: rounds, tokens: tokens)
    if !benchmark.isOnGPU {
      try refuseGPUOptions(note.map { "; no GPU can be used: \($0)" } ?? "; choose --device cuda")
    }
    var report = BenchModelReport(
      machine: .init(benchmark.machine, note: note),
      model: .init(weights, name: name, contextLength: engine.contextLength, bytes: benchmark.model), rounds: rounds)
    try write("machine", report.facts, report.heading)

    func leavesOut(_ what: String, needed: Int) throws -> Bool {
      guard needed > engine.contextLength else { return false }
      let sentence = "\(what): it needs \(needed) positions, and the context has \(engine.contextLength)"
      report.leftOut.append(sentence)
      if json { try ByteOutput.standard.write("left_out", BenchModelReport.LeftOut(sentence: sentence)) }
      return true
    }
    /// Measures, and prints the result or the error in its place.
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
        try benchmark.prompt(count)
      }
    }
    for depth in depths where try !leavesOut("decoding after \(plural(depth, "token"))", needed: depth + tokens) {
      report.decoding += try measure("depth", \.depthLine, .init(depth: depth, sequences: 1)) {
        try benchmark.decode(sequences: 1, depth: depth)
      }
    }
    if let traceFile {
      for depth in depths
      where try !leavesOut("a trace after \(plural(depth, "token"))", needed: depth + BenchModelTrace.steps) {
        _ = try measure("trace", \.text, .init(depth: depth, sequences: 1)) {
          guard let trace = try benchmark.trace(depth: depth, steps: BenchModelTrace.steps) else {
            throw CommandError("--trace is given; expected an engine that decodes with the cooperative kernel")
          }
          try Array("# depth \(depth)\n\(trace.csv)".utf8).withUnsafeBytes { try traceFile.append($0) }
          return BenchModelTrace(trace, depth: depth)
        }
      }
      try traceFile.commit()
    }
    for count in batches where try !leavesOut("decoding \(plural(count, "sequence"))", needed: tokens) {
      report.batches += try measure("batch", \.batchLine, .init(depth: 0, sequences: count)) {
        let alone = report.batches.first { $0.sequences == 1 }?.tokensPerSecond.median
        return try benchmark.decode(sequences: count, depth: 0, alone: alone)
      }
    }
    report.memory = BenchModelReport.Memory(engine.memory, isOnGPU: benchmark.isOnGPU)
    if json {
      try ByteOutput.standard.write("memory", report.memory)
      try ByteOutput.standard.write("end", report.end(benchmark.decodeStep))
    } else {
      try ByteOutput.standard.write(report.notes)
    }
    if report.failures > 0 { throw CommandError("\(plural(report.failures, "measurement")) failed") }
  }

  /// Whether an int8 copy of the LM head screens the vocabulary.
  enum ScreenChoice: String, ExpressibleByArgument, CaseIterable {
    case auto, on, off
  }

  private func makeEngine(_ weights: ModelWeights) throws -> (engine: any Engine, fallbackReason: String?) {
    if case .cpu = try model.engine.device.only() { try refuseGPUOptions("; choose --device cuda") }
    // Results are checked by bitnet verify.
    var cuda = LanguageModel.CUDAOptions(checksDevice: false)
    cuda.usesCooperativeKernel = !noCooperative
    var options = try model.engine.loadOptions(cuda: cuda)
    if screen != .auto { options.screensHead = screen == .on }
    return try options.makeEngine(for: weights)
  }

  /// Refuses options that need a GPU.
  ///
  /// - Parameter reason: ends the sentence.
  private func refuseGPUOptions(_ reason: String) throws {
    let given = [("--no-cooperative", noCooperative), ("--trace", trace != nil), ("--kernels", kernels != nil)].first {
      $0.1
    }
    let option = screen != .auto ? "--screen is \(screen.rawValue)" : given.map { "\($0.0) is given" }
    if let option { throw CommandError("\(option); expected it only with a GPU\(reason)") }
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

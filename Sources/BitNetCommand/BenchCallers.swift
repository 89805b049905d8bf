import ArgumentParser
import BitNet
import BitNetDiagnostics
import BitNetInference
import BitNetRandomModels
import BitNetServing

struct BenchCallers: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "callers",
    abstract: "Time tasks that share a model, next to the engine alone with a batch of as many sequences.",
    discussion: """
      Each round decodes the same random sequences twice: as one batch given directly to the engine, and as requests \
      of as many tasks, which the scheduler batches. The ratio is the scheduler's rate divided by the engine's in the \
      same round.

      Examples:
        bitnet bench callers
        bitnet bench callers --random-2b --callers 1,8 --json
      """)

  @Flag(
    name: .customLong("random-2b"), help: "Use random weights in the shape of BitNet b1.58 2B-4T, generated in memory.")
  var random2B = false

  @Option(parsing: .unconditional, help: ArgumentHelp("The numbers of tasks that generate at once.", valueName: "list"))
  var callers = "1,8"

  @Option(parsing: .unconditional, help: ArgumentHelp("How often to repeat each measurement.", valueName: "count"))
  var rounds = 5

  @Option(
    parsing: .unconditional, help: ArgumentHelp("The number of tokens that each task generates.", valueName: "count"))
  var tokens = 64

  @Flag(help: "Print JSON Lines, each as soon as it has been measured.")
  var json = false

  @OptionGroup(title: "Model") var model: ModelOptions

  func validate() throws {
    if random2B, model.source.model != nil { throw ValidationError("--random-2b cannot be combined with --model.") }
  }

  private struct Machine: Encodable {
    let engine: String
    let note: String?
    let model: String
    let rounds: Int
  }

  func run() async throws {
    let callers = try numbers(callers, of: "--callers", 1...256)
    guard 1...1000 ~= rounds else { throw CommandError("--rounds is \(rounds); expected 1 to 1000") }
    let weights = random2B ? try ModelWeights(random: .bitNet2B4T, seed: 1) : try model.source.loadWeights()
    let (engine, note) = try model.engine.loadOptions().makeEngine(for: weights)
    guard 1..<engine.contextLength ~= tokens else {
      throw CommandError(
        "--tokens is \(tokens); expected 1 to \(engine.contextLength - 1), because the context has "
          + "\(engine.contextLength) positions"
      )
    }
    let machine = Machine(
      engine: engine.summary, note: note,
      model: random2B ? BenchModel.random2BName : model.source.model ?? "the demo model", rounds: rounds)
    if json {
      try ByteOutput.standard.write("machine", machine)
    } else {
      try ByteOutput.standard.write("\(machine.model) on \(machine.engine)\n")
    }
    let benchmark = CallersBenchmark(
      Scheduler(engine), vocabulary: weights.configuration.vocabularySize, rounds: rounds, tokens: tokens)
    for count in callers {
      let result = try await benchmark.measure(count)
      if json { try ByteOutput.standard.write("callers", result) } else { try ByteOutput.standard.write(result.line) }
    }
  }
}

extension CallersBenchmark.Result {
  /// The result as a line of text.
  fileprivate var line: String {
    "\(plural(callers, "task")): engine \(engineTokensPerSecond.decimals(1)) tokens/s, scheduler "
      + "\(schedulerTokensPerSecond.decimals(1)), ratio \(ratio.decimals(3)) "
      + "(\(ratios.min()!.decimals(3)) to \(ratios.max()!.decimals(3)))\n"
  }
}

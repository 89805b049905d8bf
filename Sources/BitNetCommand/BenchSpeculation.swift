import ArgumentParser
import BitNet
import BitNetDiagnostics
import BitNetInference
import BitNetModelFiles
import BitNetRandomModels
import BitNetServing
import BitNetTokenization

struct BenchSpeculation: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "speculation",
    abstract: "Time generations with and without speculation, and audits next to generations.",
    discussion: """
      Each round generates the same tokens greedily without speculation, with guesses of four tokens always, and as \
      measurements decide. Guesses come true at the rates of --acceptance: the continuation is known from a run \
      before. With the demo model or --model, repetitive texts with real guesses follow. Then receipts are audited, \
      next to generating their tokens without speculation.

      Examples:
        bitnet bench speculation
        bitnet bench speculation --random-2b --device cpu --threads 2 --json
      """)

  @Flag(
    name: .customLong("random-2b"), help: "Use random weights in the shape of BitNet b1.58 2B-4T, generated in memory.")
  var random2B = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Percentages of guessed tokens that come true, or none.", valueName: "list"))
  var acceptance = "0,30,50,70,90,100"

  @Option(parsing: .unconditional, help: ArgumentHelp("How often to repeat each measurement.", valueName: "count"))
  var rounds = 5

  @Option(
    parsing: .unconditional, help: ArgumentHelp("The number of tokens of each generation.", valueName: "count"))
  var tokens = 128

  @Flag(help: "Print JSON Lines, each as soon as it has been measured.")
  var json = false

  @OptionGroup(title: "Model") var model: ModelOptions

  func validate() throws {
    if random2B, model.source.model != nil { throw ValidationError("--random-2b cannot be combined with --model.") }
  }

  private struct Machine: Encodable {
    let engine: String
    let model: String
    let rounds: Int
  }

  private struct AuditTime: Encodable {
    let promptTokens: Int
    let outputTokens: Int
    let temperature: Float
    /// Medians over the rounds.
    let generateSeconds: Double
    let auditSeconds: Double
    /// Seconds of a generation divided by those of an audit in the same round: the median, and all.
    let ratio: Double
    let ratios: [Double]
  }

  /// Texts whose continuation repeats parts of them, or of itself.
  private static let tasks = [
    (
      "edit a text",
      """
      There was once a king who had three sons, and the youngest of them was called the simpleton. One day the king \
      said to his sons, go out into the wide world. There was once a king who had three sons, and the youngest of them \
      was
      """
    ),
    (
      "answer from a document",
      """
      The old woman lived in a little house near the great forest. In the morning she went to the well. Where did the \
      old woman live? The old woman lived
      """
    ),
    (
      "a table",
      """
      {"name": "king", "age": 40}, {"name": "queen", "age": 30}, {"name": "prince", "age": 20}, {"name":
      """
    ),
    ("a story", "Once upon a time"),
  ]

  func run() async throws {
    let shares = acceptance == "none" ? [] : try numbers(acceptance, of: "--acceptance", 0...100)
    guard 1...1000 ~= rounds else { throw CommandError("--rounds is \(rounds); expected 1 to 1000") }
    let (model, name) = try await load()
    guard 2...model.contextLength / 2 ~= tokens else {
      throw CommandError("--tokens is \(tokens); expected 2 to \(model.contextLength / 2), half of the context")
    }
    let machine = Machine(engine: model.engineDescription, model: name, rounds: rounds)
    try write("machine", machine, "\(name) on \(machine.engine)\n")
    let benchmark = SpeculationBenchmark(model.scheduler, rounds: rounds, tokens: tokens)
    let prompt = (0..<32).map { Int32(($0 * 7919 + 300) % model.configuration.vocabularySize) }
    for share in shares {
      let result = try await benchmark.measure(prompt, acceptance: Double(share) / 100)
      try write("speculation", result, result.line("\(share) % right"))
    }
    if !random2B {
      for (task, text) in Self.tasks {
        let result = try await benchmark.measure(model.tokenizer.encode(text, addingBeginToken: true), task: task)
        try write("task", result, result.line(task))
      }
    }
    for temperature: Float in [0, 0.8] {
      let time = try await audit(prompt, temperature, model)
      try write(
        "audit", time,
        "audit at temperature \(temperature): \(duration(time.auditSeconds)) instead of "
          + "\(duration(time.generateSeconds)), ratio \(time.ratio.decimals(2))\n")
    }
  }

  /// The model, without speculation. Random weights go with the demo model's tokenizer.
  private func load() async throws -> (LanguageModel, String) {
    guard random2B else {
      return (try await model.load(speculation: .off).model, self.model.source.model ?? "the demo model")
    }
    let weights = try ModelWeights(random: .bitNet2B4T, seed: 1)
    let demo = try ModelLoader.load(embedded: ModelSource.demo)
    guard let source = demo.tokenizer else { throw BitNetError.noTokenizer(model: "the demo model") }
    let loaded = LoadedModel(
      weights: weights, format: .converted, tokenizer: source, source: BenchModel.random2BName)
    let (engine, reason) = try model.engine.loadOptions().makeEngine(for: weights)
    return (
      LanguageModel(
        loaded, digest: ModelDigest(weights, tokenizer: nil), tokenizer: try Tokenizer(source), engine: engine,
        isGPU: false, fallbackReason: reason, policy: .init(speculation: .off)), BenchModel.random2BName
    )
  }

  private func audit(_ prompt: [Int32], _ temperature: Float, _ model: LanguageModel) async throws -> AuditTime {
    let clock = ContinuousClock()
    var (generating, auditing): ([Double], [Double]) = ([], [])
    for round in 0...rounds {
      let options = GenerationOptions(
        sampling: .init(temperature: temperature, topP: temperature > 0 ? 0.95 : 1, seed: UInt64(round)),
        maximumTokens: tokens, ignoresEndTokens: true)
      let start = clock.now
      // A prompt of its own each time: the cache holds none of it.
      let response = try await model.generate(tokens: prompt + [Int32(round)], options: options).response()
      let middle = clock.now
      if let receipt = response.receipt { try await model.audit(receipt) }
      if round == 0 { continue }
      generating.append(start.duration(to: middle) / .seconds(1))
      auditing.append(middle.duration(to: clock.now) / .seconds(1))
    }
    let ratios = zip(generating, auditing).map { $0 / $1 }
    return AuditTime(
      promptTokens: prompt.count + 1, outputTokens: tokens, temperature: temperature,
      generateSeconds: generating.quantile(0.5), auditSeconds: auditing.quantile(0.5), ratio: ratios.quantile(0.5),
      ratios: ratios)
  }

  private func write(_ kind: String, _ content: some Encodable, _ text: String) throws {
    if json { try ByteOutput.standard.write(kind, content) } else { try ByteOutput.standard.write(text) }
  }
}

extension SpeculationBenchmark.Result {
  /// The result as a line of text.
  fileprivate func line(_ name: String) -> String {
    func part(_ rate: SpeculationBenchmark.Rate) -> String {
      "\(rate.tokensPerSecond.decimals(1)), ratio \(rate.ratio.decimals(2)) (\(rate.accepted) of \(rate.drafted) right)"
    }
    return "\(name): off \(offTokensPerSecond.decimals(1)) tokens/s, always 4 \(part(always4)), "
      + "automatic \(part(automatic))\n"
  }
}

import ArgumentParser
import BitNet
import BitNetServer
import BitNetTokenization
import Foundation

struct Generate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Generate a continuation of a text.",
    discussion: """
      Prints the prompt and its continuation while it is generated, and then the speed on standard error. Ctrl-C stops \
      the generation. With --chat-format, the prompt is a user's chat message, and only the answer is printed.

      Examples:
        bitnet generate --prompt "Once upon a time" --seed 7
        echo "The old king said" | bitnet generate --sampling greedy --max-tokens 40
        bitnet generate --interactive --temperature 0.5 --stop .
        bitnet generate --prompt "In a dark forest" --json --logprobs 3
        bitnet generate --model m.safetensors --chat-format bitnet --prompt "Hello"
        bitnet generate --prompt "A cat: " --json-schema '{"type":"object","properties":{"name":{"type":"string"}}}'
        bitnet generate --prompt "Once upon a time" --receipt story.jsonl && bitnet audit story.jsonl
        bitnet generate --jsonl prompts.jsonl --output answers.jsonl --max-tokens 100

      With --jsonl, each line of a file is an object with a "prompt", or with the "messages" of a chat for a model that \
      has a chat template, and perhaps an "id", "max_tokens", "temperature", "top_k", "top_p", "min_p", \
      "repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "stop", "ignore_eos", "logprobs", "tools", \
      "documents" or "chat_template_kwargs" of its own; options apply to lines that do not say otherwise. Many lines \
      are answered at a time; the answers do not depend on it. Each is a line with the number of its "line", the \
      "id", the "text" and a "finish_reason", or an "error". \
      A run that was killed goes on where it was when it is started again: the lines that --output has are kept. \
      Without "seed", a line's seed is --seed (0 without it) plus the number of lines before it.

      A line of --jsonl may also be a request of OpenAI's batch files, with "custom_id", "url" and "body", for \
      /v1/chat/completions or /v1/completions. Its answer has OpenAI's form too, and is that of bitnet serve; of \
      the options for sampling and length, only --seed applies.
      """)

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The text to continue. (default: standard input without its final line break)", valueName: "text"))
  var prompt: String?

  @Flag(
    help: """
      Read one prompt from each line of standard input, and continue each on its own. A prompt that does not fit the \
      context is reported on standard error, and the exit status is 1 in the end.
      """)
  var interactive = false

  @Option(parsing: .unconditional, help: ArgumentHelp("The most tokens to generate.", valueName: "count"))
  var maxTokens = 256

  @Option(help: "Treat the prompt as a user's chat message, and write it in this format.")
  var chatFormat: ChatTemplate?

  @Option(
    name: .customLong("stop"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Stop at this text, which is not printed. May be repeated.", valueName: "text"))
  var stops: [String] = []

  @Flag(name: .customLong("ignore-eos"), help: "Continue after end-of-sequence tokens.")
  var ignoresEnd = false

  @Flag(
    name: .customLong("special"),
    help: "Parse special tokens in the prompt (such as <|eot_id|>) as tokens instead of text.")
  var specials = false

  @Flag(help: "Do not print the prompt before the generated text.")
  var noEcho = false

  @Flag(
    help: "Print a JSON object with text, tokens and statistics; with --interactive, one per line and prompt.")
  var json = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      With --json or --jsonl, print the log probability of each token and of this many most likely alternatives, 0 to \
      the size of the vocabulary, before penalties, biases, temperature and filters.
      """,
      valueName: "count"))
  var logprobs: Int?

  @Flag(help: "Do not print statistics on standard error.")
  var quiet = false

  @OptionGroup(title: "Many prompts") var batch: BatchOptions

  @Option(
    help: ArgumentHelp(
      "With --jsonl, the file of the answers, which is continued if it is there. (default: standard output)",
      valueName: "path"))
  var output: String?

  @Flag(
    name: .customLong("receipts"),
    help: "With --jsonl, put a receipt into each answer; `bitnet audit` reads the file of the answers.")
  var wantsReceipts = false

  @OptionGroup(title: "Model") var model: ModelOptions
  @OptionGroup(title: "Sampling") var sampling: SamplingOptions
  @OptionGroup var speculation: SpeculationOptions
  @OptionGroup(title: "Receipts") var receipts: ReceiptOptions
  @OptionGroup(title: "Form of the text") var form: FormatOptions

  func validate() throws {
    if batch.jsonl != nil, prompt != nil || interactive || json || receipts.file != nil {
      throw ValidationError(
        "--jsonl reads prompts from a file; expected no --prompt, --interactive, --json or --receipt FILE beside "
          + "it; --receipts puts receipts into the answers.")
    }
    if batch.jsonl == nil, output != nil || wantsReceipts {
      let option = output != nil ? "--output" : "--receipts"
      throw ValidationError("\(option) is given without --jsonl; expected both.")
    }
    if interactive, prompt != nil {
      throw ValidationError("--interactive cannot be combined with --prompt; it reads prompts from standard input.")
    }
    try receipts.check(other: wantsReceipts)
    if stops.contains("") { throw ValidationError("--stop is empty; expected a text to stop at.") }
    if maxTokens < 1 { throw CommandError("--max-tokens is \(maxTokens); expected 1 or more") }
    if let logprobs, logprobs < 0 { throw CommandError("--logprobs is \(logprobs); expected 0 or more") }
    if ignoresEnd, let option = form.jsonObject ? "--json-object" : form.jsonSchema != nil ? "--json-schema" : nil {
      throw ValidationError("--ignore-eos is given beside \(option), whose texts end; expected one of the two.")
    }
    if logprobs != nil, !json, batch.jsonl == nil {
      throw ValidationError("--logprobs is given without --json or --jsonl; expected one of them.")
    }
    if prompt == nil, !interactive, batch.jsonl == nil, ByteInput.standardIsTerminal {
      throw ValidationError("There is no prompt; expected --prompt, --interactive, or text on standard input.")
    }
  }

  func run() async throws {
    if let path = batch.jsonl { return try await answerLines(of: path) }
    let prompt = interactive ? nil : try self.prompt ?? Self.standardInput()
    let writer = try receipts.writer()
    let (model, loadTime) = try await model.load(speculation: speculation.speculation.speculation)
    let session = GenerationSession(
      model: model,
      options: GenerationOptions(
        sampling: try sampling.parameters(for: model), maximumTokens: maxTokens, stopTexts: stops,
        ignoresEndTokens: ignoresEnd, logProbabilities: receipts.logProbabilities(logprobs), logitBias: form.biases,
        format: try form.format()),
      chatFormat: chatFormat, specials: specials)
    guard let prompt else { return try await interact(session, writer, loadTime: loadTime) }
    let echoes = !noEcho && chatFormat == nil
    let run = try await session.run(prompt, echoes: echoes, isSilent: json)
    try writer?.write(run)
    try report(run, of: session, loadTime: loadTime)
  }

  private func answerLines(of path: String) async throws {
    let (models, engines) = try await model.loadForBatch(
      of: batch.width, speculation: speculation.speculation.speculation)
    var parameters = try sampling.parameters(for: models[0], areDefaults: true)
    // The same text again when the run is resumed.
    parameters.seed = sampling.seed ?? 0
    let options = GenerationOptions(
      sampling: parameters, maximumTokens: maxTokens, stopTexts: stops, ignoresEndTokens: ignoresEnd,
      logProbabilities: receipts.logProbabilities(logprobs), logitBias: form.biases, format: try form.format())
    try await check(options, on: models[0])
    let key = try receipts.signer()
    let answerers = try models.map { model in
      let served = ServedModel(name: ModelSource.servedName(of: self.model.source.model), model: model, created: 0)
      return BatchPrompts(
        model: model,
        requests: try BatchRequests(served, seed: parameters.seed, wantsReceipts: wantsReceipts, receiptKey: key),
        options: options, receipts: wantsReceipts ? .init(key: key, showsTokens: logprobs != nil) : nil,
        chatFormat: chatFormat, parsesSpecials: specials)
    }
    let run = BatchRun(
      answerers: answerers, input: path, output: output ?? "-", inOrder: !batch.unordered, concurrency: batch.width,
      activity: "answering", isQuiet: quiet)
    let isComplete = try await run.run()
    if !quiet { ByteOutput.note("engine: \(engines)") }
    guard isComplete else { throw ExitCode.failure }
  }

  /// Generates a token, so that an option that the model refuses is an error of the command, and not of each line.
  private func check(_ options: GenerationOptions, on model: LanguageModel) async throws {
    try chatFormat?.check(model.tokenizer)
    var options = options
    options.maximumTokens = 1
    _ = try await model.generate(tokens: [0], options: options).response()
  }

  private static func standardInput() throws -> String {
    var text = try ByteInput.text(of: "-")
    if text.last?.isNewline == true { text.removeLast() }
    return text
  }

  private func interact(_ session: GenerationSession, _ writer: ReceiptWriter?, loadTime: Double) async throws {
    var loop = PromptLoop(history: History())
    var hasFailed = false
    try await loop.run { line in
      do {
        let run = try await session.run(line, echoes: false, isSilent: json)
        try writer?.write(run)
        try report(run, of: session, loadTime: loadTime)
      } catch let error as BitNetError where error.isAboutLength {
        ByteOutput.note(error)
        hasFailed = true
      }
      return true
    }
    if hasFailed { throw ExitCode.failure }
  }

  private func report(_ run: GenerationRun, of session: GenerationSession, loadTime: Double) throws {
    if json {
      let report = GenerationReport(run, of: session, loadTime: loadTime)
      try ByteOutput.standard.write(jsonText(report, onOneLine: interactive))
    }
    if quiet { return }
    var rows = run.statistics?.rows ?? []
    if !interactive {
      rows += [
        ("model", "loaded in \(duration(loadTime)), \(size(peakMemory())) of memory at most"),
        ("engine", session.model.engineDescription), ("sampling", session.options.sampling.summary),
      ]
    }
    if !rows.isEmpty { ByteOutput.note("\n" + table(rows).dropLast()) }
  }
}

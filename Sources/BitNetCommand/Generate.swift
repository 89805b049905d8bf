import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles
import BitNetTokenization
import Foundation

struct Generate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Continue a text.",
    discussion: """
      Prints the prompt and its continuation as it is made, and then, on standard error, how fast that was. Ctrl-C stops. With \
      --chat-format the prompt is a user's message instead, and only the answer is printed.

      Examples:
        bitnet generate --prompt "Once upon a time" --seed 7
        echo "The old king said" | bitnet generate --sampling greedy --max-tokens 40
        bitnet generate --interactive --temperature 0.5 --stop .
        bitnet generate --prompt "In a dark forest" --json --logprobs 3
        bitnet generate --model m.safetensors --chat-format bitnet --prompt "Hello"
      """)

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The text to continue. (default: standard input, without a last line end)", valueName: "text"))
  var prompt: String?

  @Flag(help: "Read a prompt from each line, and continue each by itself.")
  var interactive = false

  @Option(parsing: .unconditional, help: ArgumentHelp("Tokens to generate at most.", valueName: "count"))
  var maxTokens = 256

  @Option(help: "Write the prompt as a user's message of a chat, in this form.")
  var chatFormat: ChatTemplate?

  @Option(
    name: .customLong("stop"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Stop at this text, which is not printed. May be repeated.", valueName: "text"))
  var stops: [String] = []

  @Flag(name: .customLong("ignore-eos"), help: "Go on where the model would end its text.")
  var ignoresEnd = false

  @Flag(
    name: .customLong("special"),
    help: "Take special tokens that are written in the prompt, such as <|eot_id|>, for such.")
  var specials = false

  @Flag(help: "Print the new text only, not the prompt before it.")
  var noEcho = false

  @Flag(
    help: "Print one JSON object with text, tokens and statistics; with --interactive, one on a line for each prompt.")
  var json = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "With --json, the log probabilities of tokens and of this many likeliest ones.", valueName: "count"))
  var logprobs: Int?

  @Flag(help: "Leave out the statistics on standard error.")
  var quiet = false

  @OptionGroup(title: "Model") var model: ModelOptions
  @OptionGroup(title: "Sampling") var sampling: SamplingOptions

  func validate() throws {
    if interactive, prompt != nil {
      throw ValidationError("--interactive reads prompts line by line; it takes no --prompt.")
    }
    if logprobs != nil, !json { throw ValidationError("--logprobs needs --json.") }
    if prompt == nil, !interactive, ByteInput.standardIsTerminal {
      throw ValidationError("There is no prompt; expected --prompt, --interactive, or text on standard input.")
    }
  }

  func run() async throws {
    let prompt = interactive ? nil : try self.prompt ?? Self.standardInput()
    let (model, loadTime) = try await model.load()
    let session = GenerationSession(
      model: model,
      options: GenerationOptions(
        sampling: try sampling.parameters(for: model), maximumTokens: maxTokens, stopTexts: stops,
        ignoresEndTokens: ignoresEnd,
        logProbabilities: logprobs),
      chatFormat: chatFormat, specials: specials)
    guard let prompt else { return try await interact(session, loadTime: loadTime) }
    let echoes = !noEcho && chatFormat == nil
    try await report(session.run(prompt, echoes: echoes, isSilent: json), of: session, loadTime: loadTime)
  }

  private static func standardInput() throws -> String {
    var text = try ByteInput.text(of: "-")
    if text.last?.isNewline == true { text.removeLast() }
    return text
  }

  private func interact(_ session: GenerationSession, loadTime: Double) async throws {
    var loop = PromptLoop(history: History())
    try await loop.run { line in
      try await report(session.run(line, echoes: false, isSilent: json), of: session, loadTime: loadTime)
      return true
    }
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

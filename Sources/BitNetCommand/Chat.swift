import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles
import BitNetTokenization
import Foundation

struct Chat: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Talk with a model.",
    discussion: """
      On a terminal, lines can be edited, the arrow keys bring back earlier ones, and Ctrl-C stops an answer. Otherwise each \
      line of standard input is a message. A backslash at the end of a line continues it on the next. /help lists commands.

      Examples:
        bitnet chat --model model.safetensors --system "You are a patient teacher."
        echo "Why is the sky blue?" | bitnet chat --model model.safetensors --max-tokens 200 --seed 1
      """)

  @Option(parsing: .unconditional, help: ArgumentHelp("What the model is told about its role.", valueName: "text"))
  var system: String?

  @Option(help: "How messages are written. (default: the model's own)")
  var chatFormat: ChatFormat?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Tokens of an answer at most. (default: what the context has room for)", valueName: "count"))
  var maxTokens: Int?

  @OptionGroup(title: "Model") var model: ModelOptions
  @OptionGroup(title: "Sampling") var sampling: SamplingOptions

  func run() async throws {
    let (model, _) = try await model.load()
    let options = GenerationOptions(sampling: try sampling.parameters(for: model), maximumTokens: maxTokens)
    var conversation = Conversation(
      model: model, system: system, format: chatFormat ?? model.chatFormat, options: options)
    var loop = PromptLoop(history: .standard())
    if ByteInput.standardIsTerminal { ByteOutput.note("\(conversation.introduction)\n/help lists commands.") }
    try await loop.run { try await conversation.take($0) }
  }
}

/// A conversation and the commands about it.
struct Conversation {
  private let model: LanguageModel
  private let format: ChatFormat
  private let options: GenerationOptions
  private let session: ChatSession
  private var system: String?
  private var last: GenerationStatistics?

  static let help = """
    /system TEXT   start anew, with another system message
    /system        start anew, with none
    /reset         start anew
    /stats         what the last answer took
    /exit          end the program, as Ctrl-D does

    A backslash at the end of a line continues it on the next; so does Alt-Enter. // begins a message with a slash.
    """

  init(model: LanguageModel, system: String?, format: ChatFormat, options: GenerationOptions) {
    self.model = model
    self.format = format
    self.options = options
    self.system = system
    session = model.chat(system: system, format: format, options: options)
  }

  var introduction: String {
    // Without a chat format the model goes on with the text instead of answering it.
    let format = format == .plain ? "no chat format" : "chat format \(format.rawValue)"
    return "\(model.device); \(format); \(options.sampling.summary)"
  }

  /// Answers a message, or obeys a command; false when the conversation is over.
  mutating func take(_ text: String) async throws -> Bool {
    guard text.hasPrefix("/") else { return try await answer(text) }
    if text.hasPrefix("//") { return try await answer(String(text.dropFirst())) }
    let command = text.prefix { !$0.isWhitespace }
    let argument = text.dropFirst(command.count).trimmingCharacters(in: .whitespacesAndNewlines)
    switch command {
    case "/help": ByteOutput.note(Self.help)
    case "/system":
      system = argument.isEmpty ? nil : argument
      await reset()
    case "/reset": await reset()
    case "/stats": ByteOutput.note(statistics)
    case "/exit", "/quit": return false
    default:
      throw CommandError("there is no command \(command); /help lists them, and // begins a message with a slash")
    }
    return true
  }

  private mutating func reset() async {
    await session.reset(system: system)
    last = nil
    ByteOutput.note("A new conversation\(system == nil ? "" : " with a system message").")
  }

  private mutating func answer(_ text: String) async throws -> Bool {
    let generation = session.streamResponse(to: text)
    let run: GenerationRun
    do {
      run = try await .stream(generation) { try ByteOutput.standard.write($0) }
    } catch {
      try? ByteOutput.standard.write("\n")
      throw error
    }
    try ByteOutput.standard.write("\n")
    last = run.statistics ?? last
    switch run.finish {
    case nil: ByteOutput.note("[stopped]")
    case .length: ByteOutput.note("[cut off after \(plural(run.tokens.count, "token"))]")
    default: break
    }
    return true
  }

  private var statistics: String {
    guard let last else { return "There has been no answer yet." }
    let used = last.promptTokens + last.generatedTokens
    let rows =
      last.rows + [
        ("context", "\(used) of \(model.contextLength) tokens"), ("memory", "\(size(peakMemory())) at most"),
        ("engine", model.engineDescription), ("sampling", options.sampling.summary),
      ]
    return String(table(rows).dropLast())
  }
}

public import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles
public import BitNetTokenization
import Foundation

struct Chat: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Talk with a model.",
    discussion: """
      On a terminal, lines can be edited, the arrow keys bring back earlier lines, and Ctrl-C stops an answer. \
      Otherwise each line of standard input is a message. A message that does not fit the context is reported on \
      standard error and answered with an empty line; the chat goes on, and the exit status is 1 at its end. A \
      backslash at the end of a line continues the message on the next line. /help lists the commands of a conversation.

      The model's own chat template writes the messages. A model without one needs --chat-format: the format that it \
      was trained with, or plain, with which the model continues the text. The demo model continues the text.

      Examples:
        bitnet chat --model model.safetensors --system "You are a patient teacher."
        echo "Why is the sky blue?" | bitnet chat --model model.safetensors --max-tokens 200 --seed 1
      """)

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The system message, which tells the model its role.", valueName: "text"))
  var system: String?

  @Option(
    help: ArgumentHelp("The format of messages for the model. (default: the model's own)", valueName: "format"))
  var chatFormat: ChatTemplate?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The largest number of tokens in an answer. (default: the room in the context)", valueName: "count"))
  var maxTokens: Int?

  @OptionGroup(title: "Model") var model: ModelOptions
  @OptionGroup(title: "Sampling") var sampling: SamplingOptions
  @OptionGroup var speculation: SpeculationOptions
  @OptionGroup(title: "Receipts") var receipts: ReceiptOptions

  func validate() throws { try receipts.check() }

  func run() async throws {
    if let maxTokens, maxTokens < 1 { throw CommandError("--max-tokens is \(maxTokens); expected 1 or more") }
    let writer = try receipts.writer()
    let (model, _) = try await model.load(speculation: speculation.speculation.speculation)
    let template = try template(for: model)
    if template.isOwn, let warning = template.warning(about: model.tokenizer) { ByteOutput.note("Warning: \(warning)") }
    let options = GenerationOptions(
      sampling: try sampling.parameters(for: model), maximumTokens: maxTokens,
      logProbabilities: receipts.logProbabilities())
    var conversation = try Conversation(
      model: model, system: system, template: template, options: options, receipts: writer)
    var loop = PromptLoop(history: .standard())
    if ByteInput.standardIsTerminal {
      ByteOutput.note("\(conversation.introduction)\n/help lists commands.")
      try await loop.run { try await conversation.take($0) }
      return
    }
    var hasFailed = false
    try await loop.run { message in
      do {
        return try await conversation.take(message)
      } catch let error as BitNetError where error.isAboutLength {
        ByteOutput.note(error)
        hasFailed = true
        return true
      }
    }
    if hasFailed { throw ExitCode.failure }
  }

  /// The format that was asked for, else the model's own.
  private func template(for model: LanguageModel) throws -> ChatTemplate {
    if let template = chatFormat ?? model.chatTemplate { return template }
    // The demo model is known to continue texts.
    if self.model.source.model == nil { return .plain }
    let finding =
      model.chatTemplateFault ?? "the model's chat template is missing; expected one in its files"
    throw CommandError(
      "\(finding): choose a format with --chat-format \(ChatTemplate.names.joined(separator: "|")), where plain has "
        + "the model continue the text")
  }
}

extension ChatTemplate: ExpressibleByArgument {
  /// The template of this name.
  public init?(argument: String) { self.init(named: argument) }

  /// The template's name.
  public var defaultValueDescription: String { name }

  /// The names of all templates.
  public static var allValueStrings: [String] { names }
}

/// A conversation and its commands.
struct Conversation {
  private let model: LanguageModel
  private let template: ChatTemplate
  private let options: GenerationOptions
  private let session: ChatSession
  private let receipts: ReceiptWriter?
  private var system: String?
  private var last: GenerationStatistics?
  /// Whether the user knows that the model has forgotten messages of this conversation.
  private var isForgettingKnown = false

  static let help = """
    /system TEXT   start a new conversation with another system message
    /system        start a new conversation without a system message
    /reset         start a new conversation
    /stats         show the token counts and speed of the last answer
    /exit          end the program, as Ctrl-D does

    A backslash at the end of a line continues the message on the next line; so does Alt-Enter. // begins a message
    with a slash.
    """

  init(
    model: LanguageModel, system: String?, template: ChatTemplate, options: GenerationOptions, receipts: ReceiptWriter?
  ) throws {
    self.receipts = receipts
    self.model = model
    self.template = template
    self.options = options
    self.system = system
    session = try model.chat(system: system, template: template, options: options)
  }

  var introduction: String {
    // Without a chat format the model continues the text instead of answering it.
    let format =
      template == .plain
      ? "no chat format" : template.isOwn ? "the model's own chat format" : "chat format \(template.name)"
    return "\(model.device); \(format); \(options.sampling.summary)"
  }

  /// Answers a message or runs a command; false when the conversation is over.
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
    isForgettingKnown = false
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
    try receipts?.write(run)
    if !isForgettingKnown, await session.forgottenMessageCount > 0 {
      isForgettingKnown = true
      ByteOutput.note(
        "[the conversation no longer fits the context of \(model.contextLength) tokens; from now on its oldest "
          + "messages are forgotten]")
    }
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

import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetJSON
import BitNetModelFiles
import BitNetTokenization

struct Template: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show the prompt that a chat template writes.",
    discussion: """
      Renders a model's chat template, or one in a file, for a chat: the arguments are messages of the user and the \
      assistant in turn. Templates are those of Hugging Face, in Jinja.

      With --jsonl, each line of standard input is an object: "source" is a template, "variables" an object with the \
      values it is given, and "now" the time it sees, such as "2026-07-26 09:05:03" (default: the local time). For \
      each line it prints {"text": …}, or {"error": …} for a template that fails. An error of the template's own \
      raise_exception is printed as it is. A line has at most 64 MiB.

      A model that has another template for chats with tools is rendered with it where --tools is given. Some \
      templates leave the token that begins a sequence to the tokenizer; a note on standard error then names it.

      Examples:
        bitnet template --model model.safetensors --system "Be kind." "Hello"
        bitnet template --file chat_template.jinja --tools tools.json --variables '{"enable_thinking": false}' "Hello"
        echo '{"source": "{{ a + 1 }}", "variables": {"a": 1}}' | bitnet template --jsonl
      """)

  @Argument(help: "The messages, first one of the user.")
  var messages: [String] = []

  @OptionGroup var source: ModelSource

  @Option(help: ArgumentHelp("A chat template to use instead of a model's.", valueName: "path"))
  var file: String?

  @Option(
    parsing: .unconditional, help: ArgumentHelp("With --file: the template's variable bos_token.", valueName: "text"))
  var bos: String?

  @Option(
    parsing: .unconditional, help: ArgumentHelp("With --file: the template's variable eos_token.", valueName: "text"))
  var eos: String?

  @Option(parsing: .unconditional, help: ArgumentHelp("The system message.", valueName: "text"))
  var system: String?

  @Option(help: ArgumentHelp("A file with a JSON array of tools that the model may call.", valueName: "path"))
  var tools: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Further variables of the template, as a JSON object.", valueName: "json"))
  var variables: String?

  @Flag(help: "Leave out the beginning of the assistant's next message.")
  var noGenerationPrompt = false

  @Flag(help: #"Read lines {"source": …, "variables": …} and print {"text": …} or {"error": …} for each."#)
  var jsonl = false

  /// Of a line, or of a file with tools: deeper than templates accept, so that these say what is too deep.
  private static let limits = JSONLimits(byteCount: 64 << 20, depth: 128)

  func validate() throws {
    if jsonl, !messages.isEmpty || file != nil || source.model != nil || system != nil {
      throw ValidationError("--jsonl reads standard input; it takes no messages, model or file.")
    }
    if jsonl, tools != nil || variables != nil || noGenerationPrompt || bos != nil || eos != nil {
      throw ValidationError("--jsonl takes all variables of a template from its line; it takes no other options.")
    }
    if file == nil, bos != nil || eos != nil {
      throw ValidationError("--bos and --eos are for --file; the tokens of a model are those of its tokenizer.")
    }
    if file != nil, source.model != nil { throw ValidationError("--file replaces --model; expected one of them.") }
    if !jsonl, messages.isEmpty { throw ValidationError("There is no message; expected one, or --jsonl.") }
  }

  func run() throws {
    if jsonl { return try renderLines() }
    var chat = ChatInput(
      (system.map { [ChatMessage(role: .system, content: $0)] } ?? [])
        + messages.enumerated().map { ChatMessage(role: $0 % 2 == 0 ? .user : .assistant, content: $1) })
    if let tools {
      let tree = try Self.tree(ByteInput.contents(of: tools), name: tools)
      guard case .array(let elements) = tree else {
        throw CommandError("\(tools) is no JSON array; expected the tools")
      }
      chat.tools = elements
    }
    if let variables {
      guard case .object(let members) = try Self.tree(Array(variables.utf8), name: "--variables") else {
        throw CommandError("--variables is no JSON object; expected one with the template's variables")
      }
      chat.arguments = members
    }
    let (template, tokenizer) = try template()
    let prompt = try template.prompt(for: chat, generating: !noGenerationPrompt)
    let text = prompt.parts.map { part in
      switch part {
      case .markup(let text), .content(let text): text
      case .tokens: ""
      }
    }.joined()
    try ByteOutput.standard.write(text)
    if ByteOutput.standard.isTerminal, text.last?.isNewline != true { try ByteOutput.standard.write("\n") }
    guard let tokenizer else { return }
    if let begin = template.addedText(before: prompt, tokenizer) {
      ByteOutput.note("Note: \(begin), with which the tokenizer begins a sequence, goes before this prompt.")
    }
    if let warning = template.warning(about: tokenizer) { ByteOutput.note("Warning: \(warning)") }
  }

  private static func tree(_ bytes: [UInt8], name: String) throws -> JSONTree {
    do throws(JSONError) {
      return try JSONTree(JSONDocument(bytes, limits: limits).root)
    } catch {
      throw CommandError(error.sentence(about: name))
    }
  }

  /// The template, and the tokenizer of its model.
  private func template() throws -> (ChatTemplate, Tokenizer?) {
    if let file { return (try ChatTemplate(jinja: ByteInput.text(of: file), beginText: bos, endText: eos), nil) }
    guard let path = try source.path() else {
      throw CommandError("the demo model has no chat template; expected --model or --file")
    }
    let inspection = try ModelInspection(path: path, options: source.layout.options)
    guard let jinja = inspection.chatTemplate else {
      throw CommandError("\(inspection.source) has no chat template; expected one in its files, or --file")
    }
    let tokenizer = try source.loadTokenizer()
    let template = try ChatTemplate(
      jinja: jinja, tools: inspection.toolTemplate, tokenizer: tokenizer,
      endTokens: inspection.configuration.endTokens)
    return (template, tokenizer)
  }

  // MARK: - JSON Lines

  private func renderLines() throws {
    var lines = LineReader()
    while let line = try lines.next() {
      var result: JSONTree
      do {
        result = ["text": .string(try Self.rendering(of: Array(line)))]
      } catch let error as JinjaError where error.kind == .raised {
        result = ["error": .string(error.message)]
      } catch let error as JSONError {
        result = ["error": .string(error.sentence(about: "line \(lines.lineNumber) of standard input"))]
      } catch {
        result = ["error": .string("\(error)")]
      }
      try ByteOutput.standard.write(result.serialized() + [UInt8(ascii: "\n")])
    }
  }

  private static func rendering(of line: [UInt8]) throws -> String {
    let root = try JSONDocument(line, limits: limits).root
    var fields = try root.fields()
    let source = try fields["source"].string()
    let variables = fields["variables"]
    let time = try time(fields["now"])
    return try JinjaTemplate(source).text(variables, time: time)
  }

  private static func time(_ value: JSONValue) throws -> JinjaTime {
    guard let value = value.ifPresent else { return .now }
    let time = value.kind == .number ? JinjaTime(secondsSince1970: try value.integer()) : JinjaTime(try value.string())
    guard let time else { throw value.error(expected: #"a time such as "2026-07-26 09:05:03""#) }
    return time
  }
}

extension ChatTemplate {
  /// A sentence about special tokens that the template writes and a tokenizer lacks; nil if there are none.
  func warning(about tokenizer: Tokenizer) -> String? {
    let missing = missingTokens(of: tokenizer)
    if missing.isEmpty { return nil }
    return "the chat template writes \(missing.joined(separator: ", ")), which the tokenizer does not have as "
      + "special tokens; answers may be poor, or not end"
  }
}

import BitNet
import BitNetInference
import BitNetJSON
import BitNetServer
import BitNetTokenization

/// What a line of a batch asks for.
struct BatchTask {
  enum Prompt {
    case text(String)
    case chat(ChatInput)
  }

  let prompt: Prompt
  let options: GenerationOptions
  /// Whether the line itself asks for log probabilities.
  let asksForTokens: Bool

  /// - Parameters:
  ///   - line: the line's number, from 1.
  ///   - defaults: what applies where the line says nothing; its seed is that of line 1, and each line after it takes
  ///     the next.
  /// - Throws: `JSONError` naming the field.
  init(_ json: JSONValue, line: Int, defaults: GenerationOptions) throws {
    var fields = try json.fields()
    // The caller has read these.
    for name in ["line", "id"] { _ = fields[name] }
    let prompt = fields["prompt"].ifPresent
    let messages = fields["messages"].ifPresent
    switch (prompt, messages) {
    case (let prompt?, nil): self.prompt = .text(try prompt.string())
    case (nil, let messages?): self.prompt = .chat(try Self.chat(messages, &fields))
    case (let prompt?, _?): throw prompt.error(found: "beside messages", expected: "one of the two")
    case (nil, nil): throw fields["prompt"].error(expected: "a text, or messages beside it")
    }
    options = try Self.options(&fields, defaults: defaults, line: line)
    asksForTokens = fields["logprobs"].ifPresent != nil
    if let unknown = fields.unread.first {
      if ["tools", "documents", "chat_template_kwargs"].contains(unknown) {
        throw fields[unknown].error(found: "beside prompt", expected: "messages")
      }
      throw fields[unknown].error(
        found: "unknown",
        expected: """
          line, id, prompt or messages, tools, documents, chat_template_kwargs, max_tokens, temperature, top_k, top_p, \
          min_p, repetition_penalty, presence_penalty, frequency_penalty, seed, stop, ignore_eos or logprobs
          """)
    }
  }

  /// Of a line: a prompt of a whole context fits many times.
  static let limits = JSONLimits(byteCount: LineReader.longestLine, depth: 64)

  private static func chat(_ messages: JSONValue, _ fields: inout JSONFields) throws -> ChatInput {
    var chat = ChatInput(messages: [])
    for message in try messages.elements() {
      guard case .object(let members) = try JSONTree(message) else { throw message.error(expected: "a message") }
      _ = try message["role"].string()
      chat.messages.append(.init(fields: members))
    }
    chat.tools = try fields["tools"].ifPresent.map { try $0.elements().map { try JSONTree($0) } }
    chat.documents = try fields["documents"].ifPresent.map { try $0.elements().map { try JSONTree($0) } }
    if let arguments = fields["chat_template_kwargs"].ifPresent, case .object(let members) = try JSONTree(arguments) {
      chat.arguments = members
    }
    return chat
  }

  private static func options(
    _ fields: inout JSONFields, defaults: GenerationOptions, line: Int
  ) throws -> GenerationOptions {
    var options = defaults
    options.sampling.seed &+= UInt64(line - 1)
    if let value = fields["max_tokens"].ifPresent { options.maximumTokens = try value.integer(in: 1...Int(Int32.max)) }
    try SamplingFields.read(&fields, into: &options.sampling)
    if let value = fields["stop"].ifPresent { options.stopTexts = try SamplingFields.stops(value) }
    if let value = fields["ignore_eos"].ifPresent { options.ignoresEndTokens = try value.bool() }
    if let value = fields["logprobs"].ifPresent { options.logProbabilities = try value.integer() }
    return options
  }
}

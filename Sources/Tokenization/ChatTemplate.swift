import BitNetJSON

/// The rule by which the messages of a chat become a prompt.
public struct ChatTemplate: Equatable, Sendable {
  /// The formats that this library writes itself.
  private enum Format: String, CaseIterable {
    case bitnet
    case bitnetSeparate = "bitnet-separate"
    case llama3
    case chatML = "chatml"
    case plain
  }

  /// The format; for a template of a model, the one that it is recognised as.
  private let format: Format?
  /// The template of a model, which writes the prompt instead.
  private let own: OwnTemplate?
  /// The one of a model that writes chats with tools, where it is another one.
  private let ownForTools: OwnTemplate?

  /// BitNet b1.58 2B-4T, as its Hugging Face template writes it: `User: Hello<|eot_id|>Assistant: `, where the role and
  /// the content are encoded as one text. Most users of the model get this.
  public static let bitnet = ChatTemplate(.bitnet)
  /// The same text as the original implementation encodes it: each role, content and end of turn on its own, so that
  /// "User: " never merges with the text after it.
  public static let bitnetSeparate = ChatTemplate(.bitnetSeparate)
  /// Llama 3 Instruct: `<|start_header_id|>user<|end_header_id|>`, two newlines, the content, `<|eot_id|>`.
  public static let llama3 = ChatTemplate(.llama3)
  /// ChatML: `<|im_start|>user`, a newline, the content, `<|im_end|>` and a newline. Contents are not trimmed, and
  /// nothing precedes the first message.
  public static let chatML = ChatTemplate(.chatML)
  /// No template, for base models: the contents, not trimmed, joined with newlines. A reply follows its question
  /// directly, because the model continued that text.
  public static let plain = ChatTemplate(.plain)

  /// The names of all templates, as `init(named:)` takes them.
  package static let names = Format.allCases.map(\.rawValue)

  /// `bitnet`, `bitnet-separate`, `llama3`, `chatml` or `plain`; `own` for a model's template that is none of them.
  package var name: String { format?.rawValue ?? "own" }

  private init(_ format: Format) {
    self.format = format
    own = nil
    ownForTools = nil
  }

  /// The template of this name; nil if there is none.
  package init?(named name: String) {
    guard let format = Format(rawValue: name) else { return nil }
    self.init(format)
  }

  /// The format that a Jinja chat template of Hugging Face describes; nil if it is not recognised.
  ///
  /// The published templates of BitNet b1.58 2B-4T all count as ``bitnet``. A ChatML template that writes more than the
  /// messages, such as tools or a system message of its own, is not recognised.
  package init?(recognising jinja: String) {
    func has(_ part: String) -> Bool { jinja.contains(part) }
    if has("<|start_header_id|>") && has("<|end_header_id|>") {
      self.init(.llama3)
    } else if Self.isUntrained(jinja)
      || (has("capitalize") && has("': '") && has("<|eot_id|>") && has("Assistant: "))
    {
      self.init(.bitnet)
    } else if has("<|im_start|>") && has("<|im_end|>") && has("message")
      && !["tool", "You are", "think", "bos_token", "trim"].contains(where: has)
    {
      self.init(.chatML)
    } else {
      return nil
    }
  }

  /// The template in the first GGUF files of BitNet b1.58 2B-4T writes "Human:" and "BITNETAssistant:", on which the
  /// model was not trained.
  private static func isUntrained(_ jinja: String) -> Bool { jinja.contains("BITNETAssistant") }

  /// A model's own template.
  ///
  /// - Parameters:
  ///   - jinja: the template's text.
  ///   - tools: that of another template for chats with tools, which models name `tool_use`.
  ///   - beginText: the special token that begins a sequence, for the variable `bos_token`; nil leaves it undefined.
  ///   - endText: the special token that ends one, for the variable `eos_token`.
  /// - Throws: `JinjaError` for what is not Jinja, with the line.
  package init(
    jinja: String, tools: String? = nil, beginText: String?, endText: String?
  ) throws(JinjaError) {
    format = ChatTemplate(recognising: jinja)?.format
    own = Self.isUntrained(jinja) ? nil : try OwnTemplate(jinja, beginText: beginText, endText: endText)
    ownForTools = try tools.map { (jinja) throws(JinjaError) in
      try OwnTemplate(jinja, beginText: beginText, endText: endText)
    }
  }

  /// A model's own template, with its tokenizer's special tokens.
  ///
  /// - Parameter endTokens: the tokens that end a sequence, the model's first one first.
  package init(
    jinja: String, tools: String? = nil, tokenizer: Tokenizer, endTokens: [Int32]
  ) throws(JinjaError) {
    func text(_ id: Int32?) -> String? {
      id.flatMap(tokenizer.bytes(of:)).map { String(decoding: $0, as: UTF8.self) }
    }
    try self.init(
      jinja: jinja, tools: tools, beginText: text(tokenizer.beginToken), endText: text(endTokens.first))
  }

  /// Whether this is a template that came with a model.
  package var isOwn: Bool { own != nil }

  /// The prompt of a chat, without the tokenizer's begin token.
  ///
  /// - Parameters:
  ///   - chat: the messages, and for a model's own template tools, documents and further variables. ``plain`` and
  ///     ``chatML`` keep whitespace at the ends of contents; the others trim it.
  ///   - generating: whether the beginning of the assistant's next message follows.
  ///   - time: the time that the template may write.
  /// - Throws: `JinjaError` when a model's template fails or refuses the chat, `ChatInputError` when a built-in format
  ///   cannot write it.
  package func prompt(for chat: ChatInput, generating: Bool = true, time: JinjaTime = .now) throws -> Prompt {
    let template = chat.tools?.isEmpty == false ? ownForTools ?? own : own
    if let template { return try template.prompt(for: chat, generating: generating, time: time) }
    if chat.tools?.isEmpty == false { throw ChatInputError(template: name, finding: "tools") }
    if chat.documents?.isEmpty == false { throw ChatInputError(template: name, finding: "documents") }
    let messages = try chat.messages.enumerated().map { index, message in
      guard let message = message.plain else {
        throw ChatInputError(template: name, finding: "more than a role and a text in messages[\(index)]")
      }
      return message
    }
    return prompt(for: messages, generating: generating)
  }

  /// The prompt of messages in a built-in format.
  private func prompt(for messages: [ChatMessage], generating: Bool) -> Prompt {
    var parts: [Prompt.Part] = []
    switch format ?? .plain {
    case .bitnet:
      for message in messages {
        parts += [.markup(message.role.capitalized + ": "), message.part(trimming: true), .markup(Self.endOfTurn)]
      }
      if generating { parts.append(.markup("Assistant: ")) }
    case .bitnetSeparate:
      for message in messages {
        // Text never merges across an empty part of tokens.
        parts += [
          .markup(message.role.capitalized + ": "), .tokens([]), message.part(trimming: true), .markup(Self.endOfTurn),
        ]
      }
      if generating { parts.append(.markup("Assistant: ")) }
    case .llama3:
      func header(_ role: ChatMessage.Role) -> Prompt.Part {
        .markup(Self.startOfHeader + role.rawValue + Self.endOfHeader + "\n\n")
      }
      for message in messages {
        parts += [header(message.role), message.part(trimming: true), .markup(Self.endOfTurn)]
      }
      if generating { parts.append(header(.assistant)) }
    case .chatML:
      func start(_ role: ChatMessage.Role) -> Prompt.Part { .markup(Self.startOfMessage + role.rawValue + "\n") }
      for message in messages {
        parts += [start(message.role), message.part(trimming: false), .markup(Self.endOfMessage + "\n")]
      }
      if generating { parts.append(start(.assistant)) }
    case .plain:
      for (position, message) in messages.enumerated() {
        if position > 0, message.tokens == nil {
          parts.append(.markup("\n"))
          // A newline after a reply is always encoded on its own.
          if messages[position - 1].tokens != nil { parts.append(.tokens([])) }
        }
        parts.append(message.part(trimming: false))
      }
    }
    return Prompt(parts)
  }

  private static let endOfTurn = "<|eot_id|>"
  private static let endOfText = "<|end_of_text|>"
  private static let startOfHeader = "<|start_header_id|>"
  private static let endOfHeader = "<|end_header_id|>"
  private static let startOfMessage = "<|im_start|>"
  private static let endOfMessage = "<|im_end|>"

  /// The special tokens that the template writes.
  private var markers: [String] {
    if own != nil { return [] }
    switch format ?? .plain {
    case .bitnet, .bitnetSeparate: return [Self.endOfTurn]
    case .llama3: return [Self.startOfHeader, Self.endOfHeader, Self.endOfTurn]
    case .chatML: return [Self.startOfMessage, Self.endOfMessage]
    case .plain: return []
    }
  }

  /// Whether a prompt begins with the tokenizer's begin token, if it has one, even if the template does not write it.
  ///
  /// ChatML has none. Another template of a model writes the token itself if the model wants it, but one of BitNet
  /// b1.58 2B-4T's leaves it to the tokenizer.
  private var addsBeginToken: Bool { format.map { $0 != .chatML } ?? false }
}

extension ChatTemplate {
  /// The text that ends the model's message in the prompt; nil if there is none.
  package var endOfTurn: String? {
    if let own { return own.endOfTurn }
    switch format {
    case .bitnet, .bitnetSeparate, .llama3: return Self.endOfTurn
    case .chatML: return Self.endOfMessage
    case .plain, nil: return nil
    }
  }

  /// The tokens after which a reply is complete: those of `<|eot_id|>`, `<|end_of_text|>` and the template's end of
  /// turn that the tokenizer has.
  package func stopTokens(of tokenizer: Tokenizer) -> Set<Int32> {
    let texts = [Self.endOfTurn, Self.endOfText] + (format == .chatML ? [Self.endOfMessage, "<|endoftext|>"] : [])
    var ids = Set(texts.compactMap(tokenizer.id(ofSpecialToken:)))
    if let end = own?.endOfTurn, let first = tokenizer.encode(end, parsingSpecialTokens: true).first,
      tokenizer.specialTokens.values.contains(first)
    {
      ids.insert(first)
    }
    return ids
  }

  /// The token ids of a chat, with the begin token where the template has one.
  ///
  /// - Parameters:
  ///   - chat: the messages, and what else the template gets.
  ///   - generating: whether the beginning of the assistant's next message follows.
  ///   - parsingSpecialTokens: whether special tokens written in contents become those tokens. This is unsafe for text
  ///     from users.
  /// - Throws: `TokenizerError` if the tokenizer lacks a special token that the template writes, and what
  ///   ``prompt(for:generating:time:)`` throws.
  package func encode(
    _ chat: ChatInput, with tokenizer: Tokenizer, generating: Bool = true, parsingSpecialTokens: Bool = false,
    time: JinjaTime = .now
  ) throws -> [Int32] {
    try check(tokenizer)
    let prompt = try prompt(for: chat, generating: generating, time: time)
    let ids = tokenizer.encode(prompt, parsingSpecialTokens: parsingSpecialTokens)
    return (addedToken(before: ids, tokenizer).map { [$0] } ?? []) + ids
  }

  /// The begin token that goes before a prompt; nil if the template writes it itself, or has none.
  private func addedToken(before ids: [Int32], _ tokenizer: Tokenizer) -> Int32? {
    guard addsBeginToken, let begin = tokenizer.beginToken, ids.first != begin || own == nil else { return nil }
    return begin
  }

  /// The text of the begin token that ``encode(_:with:generating:parsingSpecialTokens:time:)`` puts before a prompt;
  /// nil if it puts none.
  package func addedText(before prompt: Prompt, _ tokenizer: Tokenizer) -> String? {
    addedToken(before: tokenizer.encode(prompt), tokenizer).flatMap(tokenizer.bytes(of:)).map {
      String(decoding: $0, as: UTF8.self)
    }
  }

  /// The special tokens that the template writes and the tokenizer lacks, so that they become ordinary text.
  package func missingTokens(of tokenizer: Tokenizer) -> [String] {
    (own?.writtenTokens ?? markers).filter { tokenizer.encode($0, parsingSpecialTokens: true).count != 1 }
  }

  /// The token ids of messages.
  package func encode(
    _ messages: [ChatMessage], with tokenizer: Tokenizer, generating: Bool = true, parsingSpecialTokens: Bool = false
  ) throws -> [Int32] {
    try encode(
      ChatInput(messages), with: tokenizer, generating: generating, parsingSpecialTokens: parsingSpecialTokens)
  }

  /// - Throws: `TokenizerError` if the tokenizer lacks a special token that the template writes.
  package func check(_ tokenizer: Tokenizer) throws(TokenizerError) {
    for marker in markers where tokenizer.id(ofSpecialToken: marker) == nil {
      throw TokenizerError(
        subject: "the tokenizer's special token \(marker)", found: "missing",
        expected: "one, which the chat template \(name) writes; choose another template")
    }
  }
}

extension ChatMessage.Role {
  fileprivate var capitalized: String { rawValue.prefix(1).uppercased() + rawValue.dropFirst() }
}

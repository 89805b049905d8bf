/// The rule by which the messages of a chat become a prompt.
public struct ChatTemplate: Equatable, Sendable {
  /// The origin of the rule.
  private enum Source: String, CaseIterable {
    case bitnet
    case bitnetSeparate = "bitnet-separate"
    case llama3
    case chatML = "chatml"
    case plain
  }

  private let source: Source

  /// BitNet b1.58 2B-4T, as its Hugging Face template writes it: `User: Hello<|eot_id|>Assistant: `, where the role and
  /// the content are encoded as one text. Most users of the model get this.
  public static let bitnet = ChatTemplate(source: .bitnet)
  /// The same text as the original implementation encodes it: each role, content and end of turn on its own, so that
  /// "User: " never merges with the text after it.
  public static let bitnetSeparate = ChatTemplate(source: .bitnetSeparate)
  /// Llama 3 Instruct: `<|start_header_id|>user<|end_header_id|>`, two newlines, the content, `<|eot_id|>`.
  public static let llama3 = ChatTemplate(source: .llama3)
  /// ChatML: `<|im_start|>user`, a newline, the content, `<|im_end|>` and a newline. Contents are not trimmed, and
  /// nothing precedes the first message.
  public static let chatML = ChatTemplate(source: .chatML)
  /// No template, for base models: the contents, not trimmed, joined with newlines. A reply follows its question
  /// directly, because the model continued that text.
  public static let plain = ChatTemplate(source: .plain)

  /// The names of all templates, as `init(named:)` takes them.
  package static let names = Source.allCases.map(\.rawValue)

  /// `bitnet`, `bitnet-separate`, `llama3`, `chatml` or `plain`.
  package var name: String { source.rawValue }

  private init(source: Source) { self.source = source }

  /// The template of this name; nil if there is none.
  package init?(named name: String) {
    guard let source = Source(rawValue: name) else { return nil }
    self.source = source
  }

  /// The template that a Jinja chat template of Hugging Face describes; nil if it is not recognised.
  ///
  /// The published templates of BitNet b1.58 2B-4T all count as ``bitnet``, also the one in its first GGUF files, which
  /// writes "Human:" and "BITNETAssistant:" and differs from the text that the model was trained on. A ChatML template
  /// that writes more than the messages, such as tools or a system message of its own, is not recognised.
  package init?(jinja text: String) {
    func has(_ part: String) -> Bool { text.contains(part) }
    if has("<|start_header_id|>") && has("<|end_header_id|>") {
      source = .llama3
    } else if has("BITNETAssistant") || (has("capitalize") && has("': '") && has("<|eot_id|>") && has("Assistant: ")) {
      source = .bitnet
    } else if has("<|im_start|>") && has("<|im_end|>") && has("message")
      && !["tool", "You are", "think", "bos_token", "trim"].contains(where: has)
    {
      source = .chatML
    } else {
      return nil
    }
  }

  /// The prompt of a chat, without the tokenizer's begin token.
  ///
  /// - Parameters:
  ///   - messages: in order. ``plain`` and ``chatML`` keep whitespace at the ends of contents; the others trim it.
  ///   - generating: whether the beginning of the assistant's next message follows.
  package func prompt(for messages: [ChatMessage], generating: Bool = true) -> Prompt {
    var parts: [Prompt.Part] = []
    switch source {
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
    switch source {
    case .bitnet, .bitnetSeparate: [Self.endOfTurn]
    case .llama3: [Self.startOfHeader, Self.endOfHeader, Self.endOfTurn]
    case .chatML: [Self.startOfMessage, Self.endOfMessage]
    case .plain: []
    }
  }

  /// Whether a prompt begins with the tokenizer's begin token, if it has one. ChatML writes none.
  private var addsBeginToken: Bool { source != .chatML }
}

extension ChatTemplate {
  /// The tokens after which a reply is complete: those of `<|eot_id|>`, `<|end_of_text|>` and the template's end of
  /// turn that the tokenizer has.
  package func stopTokens(of tokenizer: Tokenizer) -> Set<Int32> {
    let texts = [Self.endOfTurn, Self.endOfText] + (source == .chatML ? [Self.endOfMessage, "<|endoftext|>"] : [])
    return Set(texts.compactMap(tokenizer.id(ofSpecialToken:)))
  }

  /// The token ids of a chat, with the begin token where the template has one.
  ///
  /// - Parameters:
  ///   - messages: in order.
  ///   - generating: whether the beginning of the assistant's next message follows.
  ///   - parsingSpecialTokens: whether special tokens written in contents become those tokens. This is unsafe for text
  ///     from users.
  /// - Throws: `TokenizerError` if the tokenizer lacks a special token that the template writes.
  package func encode(
    _ messages: [ChatMessage], with tokenizer: Tokenizer, generating: Bool = true, parsingSpecialTokens: Bool = false
  ) throws(TokenizerError) -> [Int32] {
    for marker in markers where tokenizer.id(ofSpecialToken: marker) == nil {
      throw TokenizerError(
        subject: "the tokenizer's special token \(marker)", found: "missing",
        expected: "one, which the chat template \(name) writes; choose another template")
    }
    return tokenizer.encode(
      prompt(for: messages, generating: generating), addingBeginToken: addsBeginToken,
      parsingSpecialTokens: parsingSpecialTokens)
  }
}

extension ChatMessage.Role {
  fileprivate var capitalized: String { rawValue.prefix(1).uppercased() + rawValue.dropFirst() }
}

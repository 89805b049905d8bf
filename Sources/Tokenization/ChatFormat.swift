/// How a chat becomes tokens.
public enum ChatFormat: String, Sendable, CaseIterable {
  /// BitNet b1.58 2B-4T as its Hugging Face template has it: `User: Hello<|eot_id|>Assistant: `, where the role and the
  /// content are encoded as one text. This is what most users of the model get.
  case bitnet
  /// The same text as the original implementation encodes it: each role, content and end of turn by itself, so that
  /// "User: " never merges with what follows.
  case bitnetSeparate = "bitnet-separate"
  /// Llama 3 Instruct: `<|start_header_id|>user<|end_header_id|>`, two newlines, the content, `<|eot_id|>`.
  case llama3
  /// No template, for base models: the contents, untrimmed, joined with newlines.
  case plain

  /// The format with this name: `bitnet`, `bitnet-separate`, `llama3` or `plain`.
  ///
  /// - Throws: if there is none; the error lists the names.
  package static func named(_ name: String) throws(TokenizerError) -> ChatFormat {
    guard let format = ChatFormat(rawValue: name) else {
      throw TokenizerError(
        place: "the chat format", found: quoted(name), expected: allCases.map(\.rawValue).joined(separator: ", "))
    }
    return format
  }

  /// The format that a Jinja chat template describes; nil if it is none of these.
  ///
  /// The published templates of BitNet b1.58 2B-4T are all taken for ``bitnet``, also the one in its first GGUF files,
  /// which writes "Human:" and "BITNETAssistant:" and is not what the model was trained with.
  package init?(template: String) {
    func has(_ part: String) -> Bool { template.contains(part) }
    if has("<|start_header_id|>") && has("<|end_header_id|>") {
      self = .llama3
    } else if has("BITNETAssistant") || (has("capitalize") && has("': '") && has("<|eot_id|>") && has("Assistant: ")) {
      self = .bitnet
    } else {
      return nil
    }
  }

  private static let endOfTurn = "<|eot_id|>"
  private static let endOfText = "<|end_of_text|>"
  private static let startOfHeader = "<|start_header_id|>"
  private static let endOfHeader = "<|end_header_id|>"

  /// The tokens after which a reply is over, those of them that the tokenizer has: `<|eot_id|>` and `<|end_of_text|>`.
  package func stopTokens(_ tokenizer: Tokenizer) -> Set<Int32> {
    Set([Self.endOfTurn, Self.endOfText].compactMap(tokenizer.id(ofSpecial:)))
  }

  /// The token ids of a chat.
  ///
  /// - Parameters:
  ///   - messages: in order. Contents are trimmed, except in ``plain``.
  ///   - generationPrompt: whether the beginning of the assistant's next message follows.
  ///   - bos: whether the ids begin with the tokenizer's BOS token, if it has one.
  ///   - specialsInContent: whether special tokens written in contents become those tokens, as they do where a rendered
  ///     template is encoded as a whole. False, they are plain text, and no user can end a turn or open another.
  /// - Throws: if the tokenizer lacks a special token that the format writes.
  package func encode(
    _ messages: [ChatMessage], with tokenizer: Tokenizer, generationPrompt: Bool = true, bos: Bool = true,
    specialsInContent: Bool = false
  ) throws(TokenizerError) -> [Int32] {
    var ids: [Int32] = []
    if bos, let token = tokenizer.bos { ids.append(token) }
    try append(messages, with: tokenizer, generationPrompt, specialsInContent, to: &ids)
    return ids
  }

  /// The token ids that carry a chat on whose earlier tokens, up to the assistant's last reply, are kept, as in a KV
  /// cache: the end of the assistant's turn, if it is not there, the new messages, and the generation prompt.
  ///
  /// With ``bitnetSeparate`` and ``llama3`` the earlier ids followed by these are what
  /// ``encode(_:with:generationPrompt:bos:specialsInContent:)`` gives for the whole chat, provided the model wrote its
  /// reply in the tokens that encoding it gives. With ``bitnet`` the same holds from the first new message on; encoded
  /// anew, though, the reply itself would merge with the "Assistant: " before it. With ``plain``, text on both sides of
  /// a newline might merge.
  ///
  /// - Parameters:
  ///   - messages: the new messages, at least one.
  ///   - last: the last of the earlier ids, which tells whether the assistant's turn was ended with `<|eot_id|>`. Any
  ///     other stop token the reply ended with is best left out of the earlier ids.
  /// - Throws: if the tokenizer lacks a special token that the format writes.
  package func encodeContinuation(
    _ messages: [ChatMessage], after last: Int32?, with tokenizer: Tokenizer, generationPrompt: Bool = true,
    specialsInContent: Bool = false
  ) throws(TokenizerError) -> [Int32] {
    var ids: [Int32] = []
    if self == .plain {
      ids = tokenizer.encode("\n")
    } else {
      let endOfTurn = try special(Self.endOfTurn, tokenizer)
      if last != endOfTurn { ids.append(endOfTurn) }
    }
    try append(messages, with: tokenizer, generationPrompt, specialsInContent, to: &ids)
    return ids
  }

  private func append(
    _ messages: [ChatMessage], with tokenizer: Tokenizer, _ generationPrompt: Bool, _ specialsInContent: Bool,
    to ids: inout [Int32]
  ) throws(TokenizerError) {
    switch self {
    case .bitnet, .bitnetSeparate:
      let endOfTurn = try special(Self.endOfTurn, tokenizer)
      for message in messages {
        let role = Self.capitalized(message.role) + ": "
        if self == .bitnet {
          ids += tokenizer.encode(role + message.trimmedContent, specials: specialsInContent)
        } else {
          ids += tokenizer.encode(role)
          ids += tokenizer.encode(message.trimmedContent, specials: specialsInContent)
        }
        ids.append(endOfTurn)
      }
      if generationPrompt { ids += tokenizer.encode(Self.capitalized(.assistant) + ": ") }
    case .llama3:
      let startOfHeader = try special(Self.startOfHeader, tokenizer)
      let endOfHeader = try special(Self.endOfHeader, tokenizer)
      let endOfTurn = try special(Self.endOfTurn, tokenizer)
      func appendHeader(_ role: ChatMessage.Role) {
        ids.append(startOfHeader)
        ids += tokenizer.encode(role.rawValue)
        ids.append(endOfHeader)
      }
      for message in messages {
        appendHeader(message.role)
        ids += tokenizer.encode("\n\n" + message.trimmedContent, specials: specialsInContent)
        ids.append(endOfTurn)
      }
      if generationPrompt {
        appendHeader(.assistant)
        ids += tokenizer.encode("\n\n")
      }
    case .plain:
      ids += tokenizer.encode(messages.map(\.content).joined(separator: "\n"), specials: specialsInContent)
    }
  }

  private static func capitalized(_ role: ChatMessage.Role) -> String {
    role.rawValue.prefix(1).uppercased() + role.rawValue.dropFirst()
  }

  private func special(_ text: String, _ tokenizer: Tokenizer) throws(TokenizerError) -> Int32 {
    guard let id = tokenizer.id(ofSpecial: text) else {
      throw TokenizerError(
        place: "the tokenizer", found: "no special token \(text)",
        expected: "one, as the chat format \(rawValue) writes it")
    }
    return id
  }
}

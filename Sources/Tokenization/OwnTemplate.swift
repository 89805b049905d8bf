import BitNetJSON

/// A chat template that came with a model, in Jinja.
struct OwnTemplate: Equatable, Sendable {
  let template: JinjaTemplate
  /// The texts of the special tokens that begin and end a sequence: the variables `bos_token` and `eos_token`.
  let beginText: String?
  let endText: String?
  /// What the template writes after the model's message; nil if that cannot be seen.
  private(set) var endOfTurn: String?

  init(_ source: String, beginText: String?, endText: String?) throws(JinjaError) {
    template = try JinjaTemplate(source)
    self.beginText = beginText
    self.endText = endText
    endOfTurn = probedEndOfTurn()
  }

  static func == (a: OwnTemplate, b: OwnTemplate) -> Bool {
    a.template == b.template && a.beginText == b.beginText && a.endText == b.endText
  }

  /// The roles that a template may write as a part of a special token, such as `<|user|>`. Any other role is content: a
  /// client that may name roles must not name tokens with them.
  private static let roles: Set<String> = [
    "system", "developer", "user", "assistant", "tool", "function", "ipython", "observation", "environment", "model",
    "tool_result", "tool_results", "tool_call", "tool_calls",
  ]

  /// The prompt of a chat.
  ///
  /// - Throws: `JinjaError` when the template fails or refuses the chat.
  func prompt(for chat: ChatInput, generating: Bool, time: JinjaTime) throws(JinjaError) -> Prompt {
    let replies = chat.messages.filter { $0.tokens != nil }.prefix(JinjaText.largestReply)
    let text = try rendering(of: chat, generating: generating, time: time)
    return Prompt(Self.parts(of: text, replies: Array(replies)))
  }

  private func rendering(of chat: ChatInput, generating: Bool, time: JinjaTime) throws(JinjaError) -> JinjaText {
    let limits = JinjaLimits()
    var size = JinjaSize()
    var replies = 0
    var messages: [JinjaValue] = []
    for message in chat.messages {
      var mark = JinjaText.content
      if message.tokens != nil, replies < JinjaText.largestReply {
        replies += 1
        mark = JinjaText.mark(ofReply: replies)
      }
      messages.append(try Self.value(of: message, mark: mark, &size))
    }
    let tools = try chat.tools.map { (list) throws(JinjaError) in try size.value(.array(list)) } ?? JinjaValue.none
    let documents =
      try chat.documents.map { (list) throws(JinjaError) in try size.value(.array(list)) } ?? JinjaValue.none
    var variables: [(name: String, value: JinjaValue)] = [
      ("messages", .list(JinjaList(messages))),
      ("tools", tools),
      ("documents", documents),
      ("add_generation_prompt", .bool(generating)),
    ]
    if let beginText { variables.append(("bos_token", .text(beginText))) }
    if let endText { variables.append(("eos_token", .text(endText))) }
    let reserved = Set(variables.map(\.name))
    for argument in chat.arguments where !reserved.contains(argument.name) {
      variables.append((argument.name, try size.value(argument.value)))
    }
    for (name, value) in variables where value.depth > limits.nesting {
      throw JinjaError(
        .limit, line: 1, "the variable \(name) nests \(value.depth) deep; expected at most \(limits.nesting)")
    }
    return try template.render(variables, size: size, time: time, limits: limits)
  }

  /// A message as transformers hands it to templates: without fields that are null, and with the reasoning under both
  /// of its names.
  private static func value(
    of message: ChatInput.Message, mark: JinjaText.Unit, _ size: inout JinjaSize
  ) throws(JinjaError) -> JinjaValue {
    let dictionary = JinjaDictionary()
    func set(_ name: String, _ value: JinjaValue) {
      dictionary.set(.text(JinjaText(name).units), value, as: .text(JinjaText(name, mark: JinjaText.content)))
    }
    for field in message.fields where field.value != .null {
      switch field.value {
      case .string(let role) where field.name == "role" && roles.contains(role): set("role", .text(role))
      case let value: set(field.name, try size.value(value, mark: field.name == "content" ? mark : JinjaText.content))
      }
    }
    if message["thinking"] == nil, let reasoning = message["reasoning_content"], reasoning != .null {
      set("thinking", try size.value(reasoning))
    }
    return .dictionary(dictionary)
  }

  /// The parts of a prompt: runs of one origin. A whole reply becomes its tokens.
  private static func parts(of text: JinjaText, replies: [ChatInput.Message]) -> [Prompt.Part] {
    var parts: [Prompt.Part] = []
    var start = 0
    while start < text.count {
      let origin = text.units[start] & JinjaText.originMask
      var end = start + 1
      while end < text.count, text.units[end] & JinjaText.originMask == origin { end += 1 }
      let run = text.slice(start..<end)
      let string = run.string
      let number = Int((origin & ~JinjaText.content) >> 21)
      if number > 0, let tokens = tokens(of: replies[number - 1], for: run) {
        parts.append(.tokens(tokens))
      } else if origin == 0 {
        parts.append(.markup(string))
      } else if case .content(let before)? = parts.last {
        parts[parts.count - 1] = .content(before + string)
      } else {
        parts.append(.content(string))
      }
      start = end
    }
    return parts
  }

  /// The tokens of a reply if `text` is all of its content; white space at its ends does not count.
  private static func tokens(of reply: ChatInput.Message, for text: JinjaText) -> [Int32]? {
    guard case .string(let content)? = reply["content"] else { return nil }
    return JinjaText(content).stripped(.both) == text.stripped(.both) ? reply.tokens : nil
  }

  /// Texts in the markup of a short chat that look like special tokens: `<|name|>`, and Gemma's.
  var writtenTokens: [String] {
    let chat = ChatInput([
      ChatMessage(role: .user, content: "question"), ChatMessage(role: .assistant, content: "answer"),
      ChatMessage(role: .user, content: "question"),
    ])
    guard let time = JinjaTime(year: 2026, month: 1, day: 1),
      let prompt = try? prompt(for: chat, generating: true, time: time)
    else { return [] }
    var found: [String] = []
    for case .markup(let text) in prompt.parts {
      for part in text.split(separator: "<").dropFirst(text.hasPrefix("<") ? 0 : 1) {
        guard let end = part.firstIndex(of: ">") else { continue }
        let name = part[..<end]
        let isToken =
          (name.hasPrefix("|") && name.hasSuffix("|") && name.count > 2 && !name.contains(where: \.isWhitespace))
          || ["start_of_turn", "end_of_turn"].contains(name)
        if isToken, !found.contains("<\(name)>") { found.append("<\(name)>") }
      }
    }
    return found
  }

  /// What follows the model's message in a short chat.
  private func probedEndOfTurn() -> String? {
    let chat = ChatInput([ChatMessage(role: .user, content: "question"), ChatMessage(reply: "answer", tokens: [])])
    guard let time = JinjaTime(year: 2026, month: 1, day: 1),
      let text = try? rendering(of: chat, generating: false, time: time),
      let last = text.units.lastIndex(where: { $0 & JinjaText.originMask == JinjaText.mark(ofReply: 1) })
    else { return nil }
    let rest = text.slice(last + 1..<text.count).stripped(.both)
    return rest.isEmpty ? nil : rest.string
  }
}

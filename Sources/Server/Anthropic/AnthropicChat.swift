import BitNetJSON
import BitNetTokenization

/// Chats as Anthropic's clients write them, in the form in which templates of models expect them.
enum AnthropicChat {
  /// Reads `system` and `messages`.
  ///
  /// - Throws: `JSONError` or `RequestError` naming the field.
  static func read(_ fields: inout JSONFields) throws -> ChatInput {
    var messages: [ChatInput.Message] = []
    if let system = try fields["system"].ifPresent.map({ try texts($0) }), !system.isEmpty {
      messages.append(message("system", system))
    }
    var lastRole: JSONValue?
    for element in try fields["messages"].elements() {
      let role = try element["role"]
      switch try role.string() {
      case "user": messages += try userMessages(element["content"])
      case "assistant": messages.append(try assistantMessage(element["content"]))
      default: throw role.error(expected: "\"user\" or \"assistant\"")
      }
      lastRole = role
    }
    guard let lastRole else {
      throw RequestError.invalid("messages is empty; expected one or more", parameter: "messages")
    }
    guard try lastRole.string() == "user" else {
      throw RequestError.unsupported(lastRole, expected: "\"user\" in the last message")
    }
    var chat = ChatInput(messages: messages)
    if let type = try fields["thinking"].ifPresent?["type"] {
      switch try type.string() {
      case "enabled": chat.arguments.append(.init("enable_thinking", true))
      case "disabled": chat.arguments.append(.init("enable_thinking", false))
      case "adaptive": break
      default: throw type.error(expected: "\"enabled\", \"disabled\" or \"adaptive\"")
      }
    }
    return chat
  }

  private static func message(_ role: String, _ text: String) -> ChatInput.Message {
    ChatInput.Message(fields: [.init("role", .string(role)), .init("content", .string(text))])
  }

  /// The text of a content that is a string or blocks of text.
  private static func texts(_ content: JSONValue) throws -> String {
    guard content.kind == .array else {
      guard content.kind == .string else { throw content.error(expected: "a string or an array of blocks") }
      return try content.string()
    }
    return try content.elements().map { block in
      let type = try block["type"]
      guard try type.string() == "text" else { throw RequestError.unsupported(type, expected: "\"text\"") }
      return try block["text"].string()
    }.joined(separator: "\n")
  }

  /// The results of tools are messages of their own, before the text.
  private static func userMessages(_ content: JSONValue) throws -> [ChatInput.Message] {
    guard content.kind == .array else { return [message("user", try texts(content))] }
    var results: [ChatInput.Message] = []
    var parts: [String] = []
    for block in try content.elements() {
      let type = try block["type"]
      switch try type.string() {
      case "text": parts.append(try block["text"].string())
      case "tool_result":
        let text = try block["content"].ifPresent.map { try texts($0) } ?? ""
        results.append(
          ChatInput.Message(fields: [
            .init("role", "tool"), .init("tool_call_id", .string(try block["tool_use_id"].string())),
            .init("content", .string(text)),
          ]))
      default: throw RequestError.unsupported(type, expected: "\"text\" or \"tool_result\"")
      }
    }
    return results + (parts.isEmpty && !results.isEmpty ? [] : [message("user", parts.joined(separator: "\n"))])
  }

  private static func assistantMessage(_ content: JSONValue) throws -> ChatInput.Message {
    guard content.kind == .array else { return message("assistant", try texts(content)) }
    var parts: [String] = []
    var calls: [JSONTree] = []
    for block in try content.elements() {
      let type = try block["type"]
      switch try type.string() {
      case "text": parts.append(try block["text"].string())
      case "tool_use":
        let input = try block["input"]
        guard input.kind == .object else { throw input.error(expected: "an object") }
        calls.append([
          "id": .string(try block["id"].string()), "type": "function",
          "function": ["name": .string(try block["name"].string()), "arguments": try JSONTree(input)],
        ])
      // Templates leave out the thoughts of earlier turns.
      case "thinking", "redacted_thinking": break
      default: throw RequestError.unsupported(type, expected: "\"text\", \"tool_use\" or \"thinking\"")
      }
    }
    var made = message("assistant", parts.joined(separator: "\n"))
    if !calls.isEmpty { made.fields.append(.init("tool_calls", .array(calls))) }
    return made
  }
}

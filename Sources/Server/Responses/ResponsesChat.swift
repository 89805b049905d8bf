import BitNetJSON
import BitNetTokenization

/// Chats as clients of OpenAI's responses write them, in the form in which templates of models expect them.
enum ResponsesChat {
  private static let roles = ["system", "developer", "user", "assistant"]

  /// Reads `instructions`, `input` and `reasoning`.
  ///
  /// - Throws: `JSONError` or `RequestError` naming the field.
  static func read(_ fields: inout JSONFields) throws -> ChatInput {
    var messages: [ChatInput.Message] = []
    if let instructions = try fields["instructions"].ifPresent?.string(), !instructions.isEmpty {
      messages.append(message("system", instructions))
    }
    let input = fields["input"]
    switch input.kind {
    case .string: messages.append(message("user", try input.string()))
    case .array:
      var calls: [JSONTree] = []
      for item in try input.elements() {
        if try item["type"].ifPresent?.string() == "function_call" {
          calls.append(try call(item))
          continue
        }
        append(&calls, to: &messages)
        if let message = try message(item) { messages.append(message) }
      }
      append(&calls, to: &messages)
    default: throw input.error(expected: "a string or an array of items")
    }
    guard messages.contains(where: { $0["role"] != "system" }) else {
      throw RequestError.invalid("input is empty; expected a text or items", parameter: "input")
    }
    var chat = ChatInput(messages: messages)
    if let effort = try fields["reasoning"].ifPresent?["effort"].ifPresent?.string() {
      chat.arguments = [
        .init("enable_thinking", .bool(effort != "none")), .init("reasoning_effort", .string(effort)),
      ]
    }
    return chat
  }

  private static func message(_ role: String, _ text: String) -> ChatInput.Message {
    ChatInput.Message(fields: [.init("role", .string(role)), .init("content", .string(text))])
  }

  /// The message of an item; nil for an item that templates leave out.
  private static func message(_ item: JSONValue) throws -> ChatInput.Message? {
    let type = try item["type"]
    switch try type.ifPresent?.string() ?? "message" {
    case "message":
      let role = try item["role"]
      let name = try role.string()
      guard roles.contains(name) else { throw role.error(expected: roles.joined(separator: ", ")) }
      let content = try item["content"]
      guard let text = try ChatFields.text(content) else {
        throw content.error(expected: "a string or an array of text parts")
      }
      return message(name == "developer" ? "system" : name, text)
    case "function_call_output":
      return ChatInput.Message(fields: [
        .init("role", "tool"), .init("tool_call_id", .string(try item["call_id"].string())),
        .init("content", .string(try ChatFields.text(item["output"]) ?? "")),
      ])
    case "reasoning": return nil
    default:
      throw RequestError.unsupported(type, expected: "\"message\", \"function_call\" or \"function_call_output\"")
    }
  }

  private static func call(_ item: JSONValue) throws -> JSONTree {
    [
      "id": .string(try item["call_id"].string()), "type": "function",
      "function": [
        "name": .string(try item["name"].string()), "arguments": ChatFields.arguments(try item["arguments"].string()),
      ],
    ]
  }

  /// Calls that follow each other belong to one message: the assistant's before them, or one of their own.
  private static func append(_ calls: inout [JSONTree], to messages: inout [ChatInput.Message]) {
    guard !calls.isEmpty else { return }
    if messages.last?["role"] != "assistant" { messages.append(message("assistant", "")) }
    messages[messages.count - 1].fields.append(.init("tool_calls", .array(calls)))
    calls = []
  }
}

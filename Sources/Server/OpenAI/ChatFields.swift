import BitNetJSON
import BitNetTokenization

/// Messages as OpenAI's clients write them, in the form in which templates of models expect them.
enum ChatFields {
  private static let roles = ["system", "developer", "user", "assistant", "tool", "function"]

  /// Reads the fields of a chat.
  ///
  /// - Throws: `JSONError` or `RequestError` naming the field.
  static func read(_ fields: inout JSONFields) throws -> ChatInput {
    let list = fields["messages"]
    var messages: [ChatInput.Message] = []
    var hasOlderCalls = false
    for element in try list.elements() {
      var message = try message(element)
      hasOlderCalls = try hasOlderCalls || element["function_call"].ifPresent != nil
      // Templates know results of tools alone.
      if hasOlderCalls, message["role"] == "function" {
        message.fields = message.fields.map { $0.name == "role" ? .init("role", "tool") : $0 }
      }
      messages.append(message)
    }
    guard !messages.isEmpty else {
      throw RequestError.invalid("messages is empty; expected one or more", parameter: "messages")
    }
    var chat = ChatInput(messages: messages)
    if let documents = fields["documents"].ifPresent {
      chat.documents = try documents.elements().map { (document) throws(JSONError) in try JSONTree(document) }
    }
    if let arguments = fields["chat_template_kwargs"].ifPresent {
      for (name, value) in try arguments.members() {
        chat.arguments.append(.init(try name.string(), try JSONTree(value)))
      }
    }
    return chat
  }

  private static func message(_ json: JSONValue) throws -> ChatInput.Message {
    let roleField = try json["role"]
    let role = try roleField.string()
    guard roles.contains(role) else {
      throw roleField.error(expected: roles.joined(separator: ", "))
    }
    var fields: [JSONTree.Member] = []
    var content: String?
    for (name, value) in try json.members() {
      switch try name.string() {
      case "role": fields.append(.init("role", .string(role == "developer" ? "system" : role)))
      case "content":
        content = try text(value)
        if let content { fields.append(.init("content", .string(content))) }
      case "tool_calls":
        if value.kind != .null { fields.append(.init("tool_calls", .array(try calls(value)))) }
      case "function_call":
        // The older form of a call.
        if let call = value.ifPresent {
          fields.append(.init("tool_calls", [["type": "function", "function": try function(call)]]))
        }
      // Ollama's name of the field.
      case "tool_name":
        if value.kind != .null { fields.append(.init("name", .string(try value.string()))) }
      case let other:
        if value.kind != .null { fields.append(.init(other, try JSONTree(value))) }
      }
    }
    if content == nil {
      // Clients send a call of tools without a text, and templates read one.
      guard role == "assistant" else {
        throw try json["content"].error(expected: "a string or an array of text parts")
      }
      fields.append(.init("content", .string("")))
    }
    return ChatInput.Message(fields: fields)
  }

  /// The text of a content; nil if it is null.
  static func text(_ content: JSONValue) throws -> String? {
    switch content.kind {
    case .null: return nil
    case .array:
      var texts: [String] = []
      for part in try content.elements() {
        let type = try part["type"]
        switch try type.string() {
        case "text", "input_text", "output_text": texts.append(try part["text"].string())
        case "refusal": texts.append(try part["refusal"].string())
        default: throw RequestError.unsupported(type, expected: "\"text\"")
        }
      }
      return texts.joined(separator: "\n")
    default:
      guard content.kind == .string else { throw content.error(expected: "a string or an array of text parts") }
      return try content.string()
    }
  }

  /// Calls of tools, whose arguments templates expect as objects and clients send as strings.
  private static func calls(_ json: JSONValue) throws -> [JSONTree] {
    try json.elements().map { call in
      let function = try function(call["function"])
      guard case .object(var members) = try JSONTree(call),
        let index = members.firstIndex(where: { $0.name == "function" })
      else { throw call.error(expected: "an object") }
      members[index].value = function
      return .object(members)
    }
  }

  private static func function(_ json: JSONValue) throws -> JSONTree {
    _ = try json["name"].string()
    guard case .object(var function) = try JSONTree(json) else { throw json.error(expected: "an object") }
    if let index = function.firstIndex(where: { $0.name == "arguments" }),
      case .string(let text) = function[index].value
    {
      function[index].value = arguments(text)
    }
    return .object(function)
  }

  /// The arguments of an earlier call, which clients send as a string: the object that it holds. A call that was cut has
  /// arguments that are no JSON, and keeps them.
  static func arguments(_ text: String) -> JSONTree {
    guard let object = try? JSONDocument(Array(text.utf8)).root, object.kind == .object,
      let tree = try? JSONTree(object)
    else { return .string(text) }
    return tree
  }
}

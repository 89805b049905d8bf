package import BitNetJSON

/// A chat as a model's own template gets it: messages with all their fields, tools and documents.
package struct ChatInput: Sendable {
  package struct Message: Sendable {
    /// The fields of the message, such as `role`, `content` and `tool_calls`, as in OpenAI's interface.
    package var fields: [JSONTree.Member]
    /// The tokens in which the model generated the content; a prompt contains them instead of the content.
    package var tokens: [Int32]?

    package init(fields: [JSONTree.Member], tokens: [Int32]? = nil) {
      self.fields = fields
      self.tokens = tokens
    }

    package init(_ message: ChatMessage) {
      fields = [.init("role", .string(message.role.rawValue)), .init("content", .string(message.content))]
      tokens = message.tokens
    }

    /// The field of that name; nil if there is none.
    package subscript(name: String) -> JSONTree? { fields.first { $0.name == name }?.value }

    /// The message if it has only a role and a text, which may come in parts; nil for a message with calls of tools or
    /// other contents.
    package var plain: ChatMessage? {
      guard case .string(let role)? = self["role"] else { return nil }
      switch self["tool_calls"] {
      case nil, .null?, .array([])?: break
      default: return nil
      }
      var content = ""
      switch self["content"] {
      case .string(let text)?: content = text
      case .array(let parts)?:
        for part in parts {
          guard case .object(let members) = part,
            case .string(let text)? = members.first(where: { $0.name == "text" })?.value
          else { return nil }
          content += text
        }
      default: return nil
      }
      if let tokens { return ChatMessage(reply: content, tokens: tokens) }
      return ChatMessage(role: .init(rawValue: role), content: content)
    }
  }

  package var messages: [Message]
  /// Descriptions of functions that the model may call; nil for none.
  package var tools: [JSONTree]?
  /// Texts that the model may quote; nil for none.
  package var documents: [JSONTree]?
  /// Further variables of the template, which clients call `chat_template_kwargs`, such as `enable_thinking`.
  package var arguments: [JSONTree.Member]

  package init(
    messages: [Message], tools: [JSONTree]? = nil, documents: [JSONTree]? = nil, arguments: [JSONTree.Member] = []
  ) {
    self.messages = messages
    self.tools = tools
    self.documents = documents
    self.arguments = arguments
  }

  package init(_ messages: [ChatMessage]) { self.init(messages: messages.map { Message($0) }) }
}

extension JSONTree {
  /// The tree of a value in a JSON text.
  ///
  /// - Throws: `JSONError` for a missing value, or an integer beyond 64 bits.
  package init(_ json: JSONValue) throws(JSONError) {
    switch json.kind {
    case nil: throw json.error(expected: "a value")
    case .null: self = .null
    case .bool: self = .bool(try json.bool())
    case .string: self = .string(try json.string())
    case .number:
      if json.written.utf8.allSatisfy({ 0x30...0x39 ~= $0 || $0 == 0x2D }) {
        self = json.written.hasPrefix("-") ? .integer(try json.integer()) : .unsigned(try json.integer(as: UInt64.self))
      } else {
        self = .number(try json.number())
      }
    case .array:
      var elements: [JSONTree] = []
      for element in try json.elements() { elements.append(try JSONTree(element)) }
      self = .array(elements)
    case .object:
      var members: [Member] = []
      for (name, value) in try json.members() { members.append(Member(try name.string(), try JSONTree(value))) }
      self = .object(members)
    }
  }
}

/// A chat that a built-in format cannot write.
package struct ChatInputError: Error, Equatable, CustomStringConvertible {
  /// The format's name.
  package let template: String
  /// What the chat has, such as "tools".
  package let finding: String

  package var description: String {
    "the chat has \(finding), which the format \(template) does not write; expected messages of a role and a text, "
      + "or a model with its own chat template"
  }
}

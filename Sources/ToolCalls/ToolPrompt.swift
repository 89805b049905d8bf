package import BitNetJSON
package import BitNetTokenization

/// Writes tools into chats for models whose templates have none: as texts of ordinary messages.
package enum ToolPrompt {
  /// A chat whose messages have only roles and texts: the functions are described at the end of the system message,
  /// calls are lines of the assistant's text, and results become texts of the user. A chat without functions and calls
  /// stays as it is.
  ///
  /// - Parameters:
  ///   - chat: messages in OpenAI's form, with texts as contents.
  ///   - tools: the functions in OpenAI's form.
  ///   - inUser: whether the first message of the user describes them instead, for templates that refuse a system
  ///     message.
  package static func plain(_ chat: ChatInput, tools: [JSONTree], inUser: Bool = false) -> ChatInput {
    let hasCalls = chat.messages.contains { !calls(of: $0).isEmpty }
    guard hasCalls || !tools.isEmpty else { return chat }
    var chat = chat
    chat.tools = nil
    chat.messages = plain(chat.messages)
    guard !tools.isEmpty else { return chat }
    let description = description(of: tools)
    if inUser, let index = chat.messages.firstIndex(where: { $0["role"] == "user" }) {
      chat.messages[index] = message("user", [description, text(of: chat.messages[index])], separator: "\n\n")
    } else if let first = chat.messages.first, first["role"] == "system" {
      chat.messages[0] = message("system", [text(of: first), description].filter { !$0.isEmpty }, separator: "\n\n")
    } else {
      chat.messages.insert(message("system", [description]), at: 0)
    }
    return chat
  }

  /// What the system message says about functions.
  static func description(of tools: [JSONTree]) -> String {
    let lines = tools.map { tool in
      let function = tool["function"] ?? tool
      let members = ["name", "description", "parameters"].compactMap { name in
        function[name].map { JSONTree.Member(name, $0) }
      }
      return written(.object(members))
    }
    return """
      You can call these functions. Each line has a name, a description and the JSON schema of the arguments:
      \(lines.joined(separator: "\n"))
      To call a function, answer with nothing but a line of JSON such as {"name": "NAME", "arguments": {}}. \
      Otherwise, answer with text.
      """
  }

  private static func plain(_ messages: [ChatInput.Message]) -> [ChatInput.Message] {
    var result: [ChatInput.Message] = []
    /// Names of called functions by the calls' identifiers.
    var names: [String: String] = [:]
    /// Called functions without a result, for results that name no call.
    var open = OpenCalls()
    /// Results since the last other message, which are one message of the user and which the user's text joins.
    var results: [String] = []
    for message in messages {
      switch message["role"] {
      case "tool", "function":
        let known = message["tool_call_id"]?.text.flatMap { names[$0] } ?? message["name"]?.text
        let name = open.close(known)
        results.append(
          (name.map { "The function \($0) returned: " } ?? "The function returned: ") + text(of: message))
        continue
      case "user" where !results.isEmpty:
        result.append(self.message("user", results + [text(of: message)]))
        results = []
        continue
      default:
        if !results.isEmpty { result.append(self.message("user", results)) }
        results = []
      }
      switch message["role"] {
      case "assistant" where !calls(of: message).isEmpty:
        open = OpenCalls()
        var lines = [text(of: message)].filter { !$0.isEmpty }
        for call in calls(of: message) {
          let function = call["function"] ?? call
          let name = function["name"]?.text ?? ""
          if let id = call["id"]?.text { names[id] = name }
          open.append(name)
          // Arguments that are no JSON come as the string that they are.
          let arguments = function["arguments"].map { $0.text ?? written($0) } ?? "{}"
          lines.append("{\"name\": \(written(.string(name))), \"arguments\": \(arguments)}")
        }
        result.append(self.message("assistant", lines))
      default: result.append(message)
      }
    }
    if !results.isEmpty { result.append(self.message("user", results)) }
    return result
  }

  private static func calls(of message: ChatInput.Message) -> [JSONTree] {
    if case .array(let calls)? = message["tool_calls"] { calls } else { [] }
  }

  private static func text(of message: ChatInput.Message) -> String { message["content"]?.text ?? "" }

  private static func message(
    _ role: String, _ texts: [String], separator: String = "\n"
  ) -> ChatInput.Message {
    ChatInput.Message(fields: [
      .init("role", .string(role)), .init("content", .string(texts.joined(separator: separator))),
    ])
  }

  /// JSON on one line.
  private static func written(_ tree: JSONTree) -> String {
    String(decoding: (try? tree.serialized()) ?? [], as: UTF8.self)
  }
}

/// The names of called functions whose results are to come, in the order of the calls.
private struct OpenCalls {
  private var names: [String] = []
  private var next = 0
  /// How many calls of a name are open, and how many of them from `next` on have a result out of order.
  private var counts: [String: (open: Int, skipped: Int)] = [:]

  mutating func append(_ name: String) {
    names.append(name)
    counts[name, default: (0, 0)].open += 1
  }

  /// Takes a result.
  ///
  /// - Parameter name: what it names; nil for nothing.
  /// - Returns: the name; the first open call's if the result names none.
  mutating func close(_ name: String?) -> String? {
    if let name {
      if let count = counts[name], count.open > 0 { counts[name] = (count.open - 1, count.skipped + 1) }
      return name
    }
    while next < names.count {
      let first = names[next]
      next += 1
      guard let count = counts[first] else { continue }
      if count.skipped > 0 {
        counts[first]?.skipped -= 1
      } else {
        counts[first]?.open -= 1
        return first
      }
    }
    return nil
  }
}

extension JSONTree {
  /// The text of a string; nil for another value.
  fileprivate var text: String? { if case .string(let text) = self { text } else { nil } }

  /// The member of that name; nil if there is none.
  fileprivate subscript(name: String) -> JSONTree? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }
}

import BitNetConstraints
import BitNetJSON
import BitNetTokenization
import BitNetToolCalls
import Testing

@Suite("Calls of functions")
struct ToolCallTests {
  typealias Event = ToolCallParser.Event

  static let names: Set<String> = ["f", "weather"]

  /// The events of a text that comes in pieces, with neighbouring texts and arguments joined.
  private func events(_ style: ToolCallStyle, _ pieces: [String]) -> [Event] {
    var parser = ToolCallParser(style, functions: Self.names)
    var events: [Event] = []
    for event in pieces.flatMap({ parser.append($0) }) + parser.finish() {
      switch (events.last, event) {
      case (.text(let old)?, .text(let new)): events[events.count - 1] = .text(old + new)
      case (.arguments(let old)?, .arguments(let new)): events[events.count - 1] = .arguments(old + new)
      default: events.append(event)
      }
    }
    return events
  }

  static func made(_ arguments: String, of name: String = "f") -> [Event] {
    [.begin(name: name), .arguments(arguments), .end]
  }

  static let call = made(#"{"a": "} <tool_call>"}"#)
  static let object = #"{"name": "f", "arguments": {"a": "} <tool_call>"}}"#
  static let llama = #"{"name": "f", "parameters": {"a": "} <tool_call>"}}"#

  static let cases: [(ToolCallStyle, String, [Event])] = [
    (.hermes, "Let me see.\n<tool_call>\n\(object)\n</tool_call>", [.text("Let me see.\n")] + call),
    (.hermes, "<tool_call>\(object)</tool_call>\n<tool_call>\n\(object)\n</tool_call>\n", call + call),
    (.hermes, " \n\n<tool_call>\n\(object)", call), (.hermes, " \n", [.text(" \n")]),
    (.hermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}</tool_call>So.", made("{}") + [.text("So.")]),
    (.hermes, "a < b <tool <tool_call> no", [.text("a < b <tool <tool_call> no")]),
    (
      .hermes, "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>",
      [.text("<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>")]
    ),
    // Other orders, further members and a missing end.
    (.hermes, "<tool_call>{\"arguments\": {\"a\": [1]}, \"name\": \"f\"}</tool_call>", made("{\"a\": [1]}")),
    (.hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}, \"id\": \"}\"}</tool_call>", made("{}")),
    (.hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}</tool_call>", made("{}")),
    (.hermes, "<tool_call>{\"name\": \"\\u0066\", \"arguments\": {}", made("{}")),
    // Calls that are cut, or go wrong.
    (
      .hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"ü",
      [.begin(name: "f"), .arguments("{\"a\": \"ü")]
    ),
    (
      .hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": b}}",
      [.begin(name: "f"), .arguments("{\"a\": "), .text("b}}")]
    ),
    (.hermes, "<tool_call>{\"name\": \"f\", \"arg", [.text("<tool_call>{\"name\": \"f\", \"arg")]),
    // A line break in a string.
    (.hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"x\ny\"}}", made("{\"a\": \"x\\ny\"}")),
    (.falcon, "<tool_call>\n[\(object), \(object)]\n</tool_call>", call + call),
    (.falcon, "<tool_call>\n[\(object), 7]\n</tool_call>", call + [.text(" 7]\n</tool_call>")]),
    (.falcon, "<tool_call>[{\"type\": \"function\", \"function\": \(object)}]</tool_call>", call),
    (.falcon, "<tool_call>\n[7]</tool_call>", [.text("<tool_call>\n[7]</tool_call>")]),
    (.mistral, "[TOOL_CALLS] [\(object)]", call),
    (.mistral, "[TOOL] [1] [TOOL_CALLS] [1]", [.text("[TOOL] [1] [TOOL_CALLS] [1]")]),
    (.llama3, llama, call),
    (.llama3, "{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"a\": 1}}", made("{\"a\": 1}")),
    (.llama3, "<|python_tag|>\(llama); \(llama)", call + call),
    (.llama3, "<|python_tag|>print(1)", [.text("<|python_tag|>print(1)")]),
    (.llama3, "The answer is {\"name\": \"f\"}.", [.text("The answer is {\"name\": \"f\"}.")]),
    (.llama3, "{\"name\": \"g\", \"parameters\": {}}", [.text("{\"name\": \"g\", \"parameters\": {}}")]),
    (.llama3, "{\"open\": [", [.text("{\"open\": [")]),
    (.object, "{\"name\": \"weather\", \"arguments\": \"{}\"}", made("{}", of: "weather")),
    (.object, "\(object)\n\(object)\nDone.", call + call + [.text("Done.")]),
    (.object, " A text {", [.text(" A text {")]),
  ]

  @Test("are found however the answer is cut into pieces", arguments: 0..<cases.count)
  func pieces(index: Int) {
    let (style, text, expected) = Self.cases[index]
    #expect(events(style, [text]) == expected)
    #expect(events(style, text.map { String($0) }) == expected)
    for cut in text.indices { #expect(events(style, [String(text[..<cut]), String(text[cut...])]) == expected) }
  }

  @Test("show no text that may be the beginning of a call")
  func held() {
    var parser = ToolCallParser(.hermes, functions: Self.names)
    #expect(parser.append("So <tool") == [.text("So ")])
    #expect(parser.append("s>") == [.text("<tools>")])
  }

  @Test("come out as their arguments arrive")
  func incremental() {
    var parser = ToolCallParser(.hermes, functions: Self.names)
    #expect(parser.append("<tool_call>\n{\"name\": \"f\", \"arguments\": ") == [])
    #expect(parser.append("{") == [.begin(name: "f"), .arguments("{")])
    #expect(parser.append("\"a\": [1, 2.5e1, ") == [.arguments("\"a\": [1, 2.5e1, ")])
    #expect(parser.append("-0, true, {\"b\":null}]}") == [.arguments("-0, true, {\"b\":null}]}")])
    #expect(parser.append("}\n</tool_call>") == [.end])
    #expect(parser.finish() == [])
  }

  @Test(
    "have arguments that are valid JSON as far as they go",
    arguments: [
      "{]", "{\"a\" 1", "{\"a\":1 2", "{\"a\":01", "{\"a\":1.}", "{\"a\":.", "{\"a\":1e}", "{\"a\":tru}",
      "{\"a\":\"\\x", "{\"a\":\"\\u12g", "{,", "{\"a\":1,}", "{\"a\":[1,]", "{\"a\":[}", "{'", "{\"a\":--", "{a",
    ])
  func invalid(text: String) {
    let found = events(.hermes, ["<tool_call>{\"name\": \"f\", \"arguments\": " + text])
    #expect(found.count == 3, "\(found)")
    // The last byte is the one that no object has.
    #expect(found[1] == .arguments(String(text.dropLast())))
    #expect(found[2] == .text(String(text.suffix(1))))
  }

  @Test("have the style that the template shows")
  func styles() {
    #expect(ToolCallStyle(template: "{{ '<tool_call>\\n{\"name\": ' }}") == .hermes)
    #expect(ToolCallStyle(template: "{{ '<tool_call>\\n[' }}") == .falcon)
    #expect(ToolCallStyle(template: "{{ '[TOOL_CALLS] ' }}") == .mistral)
    #expect(ToolCallStyle(template: "<|start_header_id|> {% if tools %} '\"parameters\": '") == .llama3)
    for other in [
      "<|im_start|>", "<|start_header_id|>", "[TOOL_CALLS]f[ARGS]", "<tool_call>f<arg_key>",
      "<tool_call>\n<function=f>",
    ] {
      #expect(ToolCallStyle(template: other) == nil, "\(other)")
    }
  }

  @Test("that are forced have the family's form and arguments that satisfy the function's schema")
  func forced() throws {
    let schema = #"{"type":"object","properties":{"a":{"const":1}},"required":["a"]}"#
    let function = ToolFunction(name: "f", parameters: Array(schema.utf8))
    let texts: [(ToolCallStyle, String)] = [
      (.hermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\":1}}\n</tool_call>"),
      (.falcon, "<tool_call>\n[{\"name\": \"f\", \"arguments\": {\"a\":1}}]\n</tool_call>"),
      (.llama3, "{\"name\": \"f\", \"parameters\": {\"a\":1}}"),
      (.mistral, "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\":1}}]"),
      (.object, "{\"name\": \"f\", \"arguments\": {\"a\":1}}"),
    ]
    for (style, text) in texts {
      let machine = try ConstraintMachine(style.constraint(calling: [function]), trie)
      #expect(accepts(machine, text), "\(text)")
      #expect(!accepts(machine, text.replacing("1", with: "2")))
      #expect(events(style, [text]) == Self.made("{\"a\":1}"))
    }
  }

  @Test("are made, left or forced as the choice says")
  func choices() throws {
    let functions = ["f", "weather"].map { ToolFunction(name: $0, parameters: Array(#"{"type":"object"}"#.utf8)) }
    func use(
      _ choice: ToolChoice, _ shown: ToolCallStyle?, isParallel: Bool = true, format: TextConstraint? = nil
    ) -> ToolUse? {
      ToolUse(functions, choice: choice, shown: shown, isParallel: isParallel, format: format)
    }
    #expect(use(.none, .hermes) == nil)
    let auto = try #require(use(.auto, .hermes))
    #expect(auto.style == .hermes && auto.constraint == nil && !auto.isForced && !auto.isSingle)
    #expect(use(.auto, .hermes, isParallel: false)?.isSingle == true)
    #expect(use(.auto, nil)?.style == .object)
    // With a format, the answer is one call or a text of that form.
    #expect(use(.auto, .hermes, format: .jsonObject)?.constraint?.alternatives.count == 3)
    let required = try #require(use(.required, .hermes, format: .jsonObject))
    #expect(required.constraint?.alternatives.count == 2 && required.isForced && required.isSingle)
    let named = use(.named("weather"), nil)
    #expect(named?.style == .object && named?.constraint?.alternatives.count == 1)
    #expect(use(.named("g"), .hermes) == nil)
    #expect(ToolUse([], choice: .required, shown: .hermes) == nil)
  }
}

@Suite("Tools of models whose templates have none")
struct ToolPromptTests {
  private static let tool: JSONTree = [
    "type": "function",
    "function": ["name": "f", "description": "Does it.", "parameters": ["type": "object", "properties": [:]]],
  ]

  private func message(_ role: String, _ content: String, _ fields: JSONTree.Member...) -> ChatInput.Message {
    ChatInput.Message(fields: [.init("role", .string(role)), .init("content", .string(content))] + fields)
  }

  private func texts(_ chat: ChatInput) -> [String] {
    chat.messages.compactMap { message in message.plain.map { "\($0.role.rawValue): \($0.content)" } }
  }

  @Test("are described in the system message")
  func description() {
    let line = #"{"name":"f","description":"Does it.","parameters":{"type":"object","properties":{}}}"#
    let alone = ToolPrompt.plain(ChatInput(messages: [message("user", "Hi")]), tools: [Self.tool])
    #expect(texts(alone).count == 2)
    #expect(texts(alone)[0].hasPrefix("system: You can call these functions."))
    #expect(texts(alone)[0].contains("\n\(line)\n"))
    let system = ToolPrompt.plain(
      ChatInput(messages: [message("system", "Be short."), message("user", "Hi")]), tools: [Self.tool])
    #expect(texts(system)[0].hasPrefix("system: Be short.\n\nYou can call these functions."))
    let user = ToolPrompt.plain(ChatInput(messages: [message("user", "Hi")]), tools: [Self.tool], inUser: true)
    #expect(texts(user).count == 1)
    #expect(texts(user)[0].hasPrefix("user: You can call these functions.") && texts(user)[0].hasSuffix("\n\nHi"))
    #expect(texts(ToolPrompt.plain(ChatInput(messages: [message("tool", "x")]), tools: [])) == ["tool: x"])
  }

  @Test("have calls and results that are texts")
  func history() {
    func call(_ id: String, _ name: String) -> JSONTree {
      ["id": .string(id), "type": "function", "function": ["name": .string(name), "arguments": ["a": 1]]]
    }
    let chat = ChatInput(messages: [
      message("user", "Hi"), message("assistant", "Well.", .init("tool_calls", [call("1", "f"), call("2", "g")])),
      message("tool", "two", .init("tool_call_id", "2")), message("tool", "one"), message("user", "Go on."),
      message("assistant", "", .init("tool_calls", [call("3", "f")])), message("tool", "", .init("name", "f")),
      message("assistant", "Done."),
    ])
    #expect(
      texts(ToolPrompt.plain(chat, tools: [])) == [
        "user: Hi",
        "assistant: Well.\n{\"name\": \"f\", \"arguments\": {\"a\":1}}\n{\"name\": \"g\", \"arguments\": {\"a\":1}}",
        "user: The function g returned: two\nThe function f returned: one\nGo on.",
        "assistant: {\"name\": \"f\", \"arguments\": {\"a\":1}}", "user: The function f returned: ", "assistant: Done.",
      ])
  }
}

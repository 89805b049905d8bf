import BitNetConstraints
import BitNetToolCalls
import Testing

@Suite("Calls of functions")
struct ToolCallTests {
  typealias Event = ToolCallParser.Event

  static let names: Set<String> = ["f", "weather"]

  /// The events of a text that comes in pieces, with neighbouring texts joined.
  private func events(_ style: ToolCallStyle, _ pieces: [String]) -> [Event] {
    var parser = ToolCallParser(style, functions: Self.names)
    var events: [Event] = []
    for event in pieces.flatMap({ parser.append($0) }) + parser.finish() {
      if case .text(let new) = event, case .text(let old)? = events.last {
        events[events.count - 1] = .text(old + new)
      } else {
        events.append(event)
      }
    }
    return events
  }

  static let call = Event.call(.init(name: "f", arguments: #"{"a": "} <tool_call>"}"#))
  static let object = #"{"name": "f", "arguments": {"a": "} <tool_call>"}}"#
  static let llama = #"{"name": "f", "parameters": {"a": "} <tool_call>"}}"#

  static let cases: [(ToolCallStyle, String, [Event])] = [
    (.hermes, "Let me see.\n<tool_call>\n\(object)\n</tool_call>", [.text("Let me see.\n"), call]),
    (.hermes, "<tool_call>\(object)</tool_call>\n<tool_call>\n\(object)\n</tool_call>\n", [call, call]),
    (.hermes, "<tool_call>\n\(object)", [call]),
    (.hermes, "a < b <tool <tool_call> no", [.text("a < b <tool <tool_call> no")]),
    (
      .hermes, "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>",
      [.text("<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>")]
    ),
    (.falcon, "<tool_call>\n[\(object), \(object)]\n</tool_call>", [call, call]),
    (.mistral, "[TOOL_CALLS] [\(object)]", [call]),
    (.mistral, "[TOOL] [1]", [.text("[TOOL] [1]")]),
    (.llama3, llama, [call]),
    (.llama3, "<|python_tag|>\(llama); \(llama)", [call, call]),
    (.llama3, "The answer is {\"name\": \"f\"}.", [.text("The answer is {\"name\": \"f\"}.")]),
    (.llama3, "{\"name\": \"g\", \"parameters\": {}}", [.text("{\"name\": \"g\", \"parameters\": {}}")]),
    (.llama3, "{\"open\": [", [.text("{\"open\": [")]),
    (.arguments(of: "f"), "{\"a\": \"} <tool_call>\"}", [call]),
    (.object, "{\"name\": \"weather\", \"arguments\": \"{}\"}", [.call(.init(name: "weather", arguments: "{}"))]),
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

  @Test("have the style that the template shows")
  func styles() {
    #expect(ToolCallStyle(template: "{{ '<tool_call>\\n{\"name\": ' }}") == .hermes)
    #expect(ToolCallStyle(template: "{{ '<tool_call>\\n[' }}") == .falcon)
    #expect(ToolCallStyle(template: "{{ '[TOOL_CALLS] ' }}") == .mistral)
    #expect(ToolCallStyle(template: "<|start_header_id|> {% if tools %}") == .llama3)
    #expect(ToolCallStyle(template: "<|im_start|>") == nil)
  }

  @Test("that are forced have the family's form and arguments that satisfy the function's schema")
  func forced() throws {
    let functions = [
      ToolFunction(
        name: "f", parameters: Array(#"{"type":"object","properties":{"a":{"const":1}},"required":["a"]}"#.utf8)),
      ToolFunction(name: "weather"),
    ]
    let texts: [(ToolCallStyle, String)] = [
      (.hermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\":1}}\n</tool_call>"),
      (.falcon, "<tool_call>\n[{\"name\": \"f\", \"arguments\": {\"a\":1}}]\n</tool_call>"),
      (.llama3, "{\"name\": \"f\", \"parameters\": {\"a\":1}}"),
      (.mistral, "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\":1}}]"),
      (.object, "{\"name\": \"f\", \"arguments\": {\"a\":1}}"), (.arguments(of: "f"), "{\"a\":1}"),
    ]
    for (style, text) in texts {
      let machine = try ConstraintMachine(style.constraint(calling: [functions[0]]), trie)
      #expect(accepts(machine, text), "\(text)")
      #expect(!accepts(machine, text.replacing("1", with: "2")))
      #expect(events(style, [text]) == [.call(.init(name: "f", arguments: "{\"a\":1}"))])
    }
  }

  @Test("are made, left or forced as the choice says")
  func choices() {
    let functions = [ToolFunction(name: "f"), ToolFunction(name: "weather")]
    let hermes = "<tool_call>"
    #expect(ToolUse(functions, choice: .none, template: hermes)?.style == nil)
    let auto = ToolUse(functions, choice: .auto, template: hermes)
    #expect(auto?.style == .hermes && auto?.constraint == nil)
    #expect(ToolUse(functions, choice: .auto, template: nil)?.style == nil)
    let required = ToolUse(functions, choice: .required, template: hermes)
    #expect(required?.constraint?.alternatives.count == 2)
    #expect(ToolUse(functions, choice: .required, template: nil)?.style == .object)
    let named = ToolUse(functions, choice: .named("weather"), template: "plain")
    #expect(named?.style == .arguments(of: "weather") && named?.constraint?.alternatives.count == 1)
    #expect(ToolUse(functions, choice: .named("g"), template: hermes) == nil)
    #expect(ToolUse([], choice: .required, template: hermes) == nil)
  }
}

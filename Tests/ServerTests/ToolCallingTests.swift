import BitNet
import BitNetJSON
import BitNetServer
import Testing

/// Functions in requests to the demo model, whose files have no template.
enum Functions {
  static let mood = #"""
    {"type": "object", "additionalProperties": false, "required": ["mood", "fine"],
     "properties": {"mood": {"enum": ["happy", "sad"]}, "fine": {"type": "boolean"}}}
    """#
  static let count = #"""
    {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 12}}}
    """#

  /// In the form of chats.
  static let nested = """
    [{"type": "function", "function": {"name": "say", "description": "Says it.", "parameters": \(mood)}},
     {"type": "function", "function": {"name": "count", "parameters": \(count), "strict": true}},
     {"type": "function", "function": {"name": "nothing"}}]
    """
  /// In the form of responses.
  static let flat = """
    [{"type": "function", "name": "say", "description": "Says it.", "parameters": \(mood)},
     {"type": "function", "name": "count", "parameters": \(count), "strict": true},
     {"type": "function", "name": "nothing"}]
    """
  /// In Anthropic's form.
  static let anthropic = """
    [{"name": "say", "description": "Says it.", "input_schema": \(mood)},
     {"type": "custom", "name": "count", "input_schema": \(count)},
     {"name": "nothing", "input_schema": {"type": "object", "properties": {}}}]
    """

  /// Checks arguments against the schemas above.
  static func check(_ name: String, _ arguments: JSONValue) throws {
    switch name {
    case "say":
      #expect(try ["happy", "sad"].contains(arguments["mood"].string()))
      _ = try arguments["fine"].bool()
    case "count": _ = try arguments["n"].integer(in: 3...12)
    default: #expect(try Array(arguments.members()).isEmpty)
    }
  }

  static func check(_ name: String, _ arguments: String) throws {
    try check(name, JSONDocument(Array(arguments.utf8)).root)
  }
}

@Suite("Chats with tools")
struct ToolCallingTests {
  private static let path = "/v1/chat/completions"
  private static let messages = #""messages": [{"role": "user", "content": "Once upon a time"}]"#
  private static let tools = "\"tools\": \(Functions.nested)"

  private func choices(_ output: TestServer.Output) throws -> [JSONValue] {
    #expect(output.status == 200, "\(output.text)")
    return Array(try output.json()["choices"].elements())
  }

  @Test("call what must be called, with arguments of the schema, whatever the model", arguments: 1...4)
  func forced(_ seed: Int) async throws {
    let server = try await TestServer()
    let named = ["say", "count", "nothing"].map { #"{"type": "function", "function": {"name": "\#($0)"}}"# }
    let allowed = #"{"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAME]}}"#
      .replacing("NAME", with: named[1])
    for (choice, name) in [
      (named[0], "say"), (named[1], "count"), (named[2], "nothing"), (allowed, "count"), ("\"required\"", nil),
    ] {
      let options = "\"seed\": \(seed), \"temperature\": 1.5"
      let body = "{\(Self.messages), \(Self.tools), \"tool_choice\": \(choice), \(options)}"
      let choice = try choices(try await server.post(Self.path, body))[0]
      #expect(try choice["finish_reason"].string() == "tool_calls")
      let message = try choice["message"]
      #expect(try message["content"].kind == .null)
      let calls = Array(try message["tool_calls"].elements())
      #expect(calls.count == 1)
      #expect(try calls[0]["type"].string() == "function")
      #expect(try calls[0]["id"].string().hasPrefix("call_"))
      let found = try calls[0]["function"]["name"].string()
      if let name { #expect(found == name) }
      try Functions.check(found, calls[0]["function"]["arguments"].string())
    }
  }

  @Test("stream the same calls: the name first, then the arguments", arguments: 1...3)
  func streamed(_ seed: Int) async throws {
    let server = try await TestServer()
    let body =
      "\(Self.messages), \(Self.tools), \"tool_choice\": \"required\", \"n\": 2, \"seed\": \(seed), \"logprobs\": true"
    let whole = try choices(try await server.post(Self.path, "{\(body)}"))
    var names = ["", ""]
    var ids = ["", ""]
    var arguments = ["", ""]
    var reasons = ["", ""]
    var logged = ["", ""]
    for event in try await server.post(Self.path, "{\(body), \"stream\": true}").events() {
      let choice = Array(try event["choices"].elements())[0]
      let index = try choice["index"].integer()
      let delta = try choice["delta"]
      #expect(try delta["content"].ifPresent == nil)
      if let reason = try choice["finish_reason"].ifPresent { reasons[index] += try reason.string() }
      for token in try choice["logprobs"].ifPresent?["content"].elements().map({ $0 }) ?? [] {
        logged[index] += try token["token"].string()
      }
      guard let call = try delta["tool_calls"].ifPresent.map({ Array(try $0.elements())[0] }) else { continue }
      #expect(try call["index"].integer() == 0)
      if let id = try call["id"].ifPresent {
        #expect(arguments[index].isEmpty)
        #expect(try call["type"].string() == "function")
        #expect(try call["function"]["arguments"].string() == "")
        ids[index] += try id.string()
        names[index] += try call["function"]["name"].string()
      } else {
        arguments[index] += try call["function"]["arguments"].string()
      }
    }
    #expect(reasons == ["tool_calls", "tool_calls"])
    for (index, choice) in whole.enumerated() {
      let call = Array(try choice["message"]["tool_calls"].elements())[0]
      #expect(try call["id"].string() == ids[index])
      #expect(try call["function"]["name"].string() == names[index])
      #expect(try call["function"]["arguments"].string() == arguments[index])
      #expect(logged[index].contains(arguments[index]))
    }
    #expect(ids[0] != ids[1])
  }

  @Test("have calls of equal identifiers for equal requests, and of others for others")
  func identifiers() async throws {
    let server = try await TestServer()
    func id(_ text: String, _ options: String) async throws -> String {
      let body = """
        {"messages": [{"role": "user", "content": "\(text)"}], \(Self.tools), "tool_choice": "required", \(options)}
        """
      return try Array(choices(try await server.post(Self.path, body))[0]["message"]["tool_calls"].elements())[0]["id"]
        .string()
    }
    let first = try await id("a", "\"seed\": 1")
    #expect(try await id("a", "\"seed\": 1") == first)
    #expect(try await id("a", "\"seed\": 2") != first)
    #expect(try await id("b", "\"seed\": 1") != first)
    #expect(try await id("a", "\"temperature\": 0") == id("a", "\"temperature\": 0"))
  }

  @Test("that are cut have the beginning of a call, and end with length")
  func cut() async throws {
    let server = try await TestServer()
    let choice = #"{"type": "function", "function": {"name": "say"}}"#
    let body = "{\(Self.messages), \(Self.tools), \"tool_choice\": \(choice), \"seed\": 1"
    let whole = try choices(try await server.post(Self.path, body + "}"))[0]
    let full = try Array(whole["message"]["tool_calls"].elements())[0]["function"]["arguments"].string()
    var seen: Set<String> = []
    for limit in [1, 20, 25, 30] {
      let cut = try choices(try await server.post(Self.path, body + ", \"max_tokens\": \(limit)}"))[0]
      let calls = try cut["message"]["tool_calls"].ifPresent.map { Array(try $0.elements()) } ?? []
      let arguments = try calls.first.map { try $0["function"]["arguments"].string() } ?? ""
      #expect(full.hasPrefix(arguments))
      #expect(try cut["finish_reason"].string() == (arguments == full ? "tool_calls" : "length"))
      seen.insert(arguments)
    }
    #expect(seen.count > 1)
  }

  @Test("are texts where the model calls nothing, or must not")
  func texts() async throws {
    let server = try await TestServer()
    for choice in ["auto", "none"] {
      let body = "{\(Self.messages), \(Self.tools), \"tool_choice\": \"\(choice)\", \"max_tokens\": 12, \"seed\": 3}"
      let found = try choices(try await server.post(Self.path, body))[0]
      #expect(try found["message"]["content"].string().isEmpty == false)
      #expect(try found["message"]["tool_calls"].ifPresent == nil)
      #expect(try found["finish_reason"].string() == "length")
    }
    // Without tools in the prompt, the answer is the one of the chat alone.
    let none = try await server.post(
      Self.path, "{\(Self.messages), \(Self.tools), \"tool_choice\": \"none\", \"max_tokens\": 12, \"seed\": 3}")
    let plain = try await server.post(Self.path, "{\(Self.messages), \"max_tokens\": 12, \"seed\": 3}")
    #expect(try choices(none)[0]["message"]["content"].string() == choices(plain)[0]["message"]["content"].string())
  }

  @Test("have a call or a text of the format", arguments: 1...3)
  func format(_ seed: Int) async throws {
    let server = try await TestServer()
    let format = #"{"type": "json_schema", "json_schema": {"name": "a", "schema": {"const": {"b": 1}}}}"#
    let options = "\"seed\": \(seed), \"temperature\": 2"
    let body = "{\(Self.messages), \(Self.tools), \"response_format\": \(format), \(options)}"
    let choice = try choices(try await server.post(Self.path, body))[0]
    if let calls = try choice["message"]["tool_calls"].ifPresent {
      let function = try Array(calls.elements())[0]["function"]
      try Functions.check(function["name"].string(), function["arguments"].string())
    } else {
      #expect(try JSONDocument(Array(choice["message"]["content"].string().utf8)).root["b"].integer() == 1)
    }
  }

  @Test("take calls and results of earlier turns, and the older fields")
  func history() async throws {
    let server = try await TestServer()
    let prompt = try await server.post(
      "/apply-template",
      #"""
      {"messages": [{"role": "user", "content": "Hi"},
        {"role": "assistant", "content": null, "tool_calls": [
          {"id": "1", "type": "function", "function": {"name": "say", "arguments": "{\"mood\": \"sad\"}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "said"}]}]}
      """#
    ).json()["prompt"].string()
    #expect(prompt == "Hi\n{\"name\": \"say\", \"arguments\": {\"mood\":\"sad\"}}\nThe function say returned: said")
    let older = #"[{"name": "say", "parameters": \#(Functions.mood)}]"#
    let body = #"""
      {"messages": [{"role": "user", "content": "Hi"},
        {"role": "assistant", "content": null, "function_call": {"name": "say", "arguments": "{}"}},
        {"role": "function", "name": "say", "content": "said"}],
       "functions": \#(older), "function_call": {"name": "say"}, "seed": 4
      """#
    let choice = try choices(try await server.post(Self.path, body + "}"))[0]
    #expect(try choice["finish_reason"].string() == "function_call")
    let call = try choice["message"]["function_call"]
    try Functions.check(call["name"].string(), call["arguments"].string())
    var streamed = ""
    for event in try await server.post(Self.path, body + ", \"stream\": true}").events() {
      let delta = try Array(event["choices"].elements())[0]["delta"]
      #expect(try delta["tool_calls"].ifPresent == nil)
      streamed += try delta["function_call"].ifPresent?["arguments"].string() ?? ""
    }
    #expect(try streamed == call["arguments"].string())
  }

  @Test(
    "refuse what is wrong, and name the field",
    arguments: [
      (#""tools": {}"#, "tools"), (#""tools": [{"type": "web_search"}]"#, "tools[0].type"),
      (#""tools": [{"type": "custom", "custom": {"name": "f"}}]"#, "tools[0].type"),
      (#""tools": [{"type": "function"}]"#, "tools[0].function"),
      (#""tools": [{"type": "function", "function": {}}]"#, "tools[0].function.name"),
      (#""tools": [{"type": "function", "function": {"name": ""}}]"#, "tools[0].function.name"),
      (#""tools": [{"function": {"name": "f", "description": 1}}]"#, "tools[0].function.description"),
      (#""tools": [{"function": {"name": "f", "parameters": []}}]"#, "tools[0].function.parameters"),
      (
        #""tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}]"#,
        "tools[0].function.parameters.type"
      ),
      (#""tools": [{"function": {"name": "f"}}, {"function": {"name": "f"}}]"#, "tools[1]"),
      (#""tool_choice": "required""#, "tool_choice"), (#""tool_choice": "always""#, "tool_choice"),
      (#""tool_choice": {"type": "function", "function": {"name": "f"}}"#, "tool_choice.function.name"),
      (#"TOOLS, "tool_choice": {"type": "function"}"#, "tool_choice.function"),
      (#"TOOLS, "tool_choice": {"type": "custom"}"#, "tool_choice.type"),
      (
        #"TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "none"}}"#,
        "tool_choice.allowed_tools.mode"
      ),
      (#"TOOLS, "tool_choice": 1"#, "tool_choice"), (#"TOOLS, "parallel_tool_calls": 1"#, "parallel_tool_calls"),
      (#"TOOLS, "functions": [{"name": "f"}]"#, "functions"),
      (#""functions": [{"name": "f"}], "function_call": "required""#, "function_call"),
      (#""functions": [{"name": "f"}], "function_call": {"name": "g"}"#, "function_call.name"),
      (
        #""tool_choice": "required", "tools": [{"function": {"name": "f", "parameters": {"properties": {"a": {"not": {}}}}}}]"#,
        "tools[0].function.parameters"
      ),
    ])
  func refusals(_ fields: String, _ field: String) async throws {
    let server = try await TestServer()
    let error = try await server.error(
      Self.path, "{\(Self.messages), \(fields.replacing("TOOLS", with: Self.tools))}")
    #expect(error.parameter == field, "\(error.message)")
    #expect(error.message.contains(field), "\(error.message)")
  }

  @Test("refuse calls of messages that are none")
  func wrongCalls() async throws {
    let server = try await TestServer()
    for (call, field) in [
      ("{}", "function"), (#"{"function": 1}"#, "function"), (#"{"function": {}}"#, "function.name"),
    ] {
      let error = try await server.error(
        Self.path, #"{"messages": [{"role": "assistant", "tool_calls": [\#(call)]}]}"#)
      #expect(error.parameter?.hasPrefix("messages[0].tool_calls[0].\(field)") == true, "\(error.message)")
    }
  }
}

@Suite("Chats with tools and templates")
struct ToolTemplateTests {
  /// Templates of all families, with the form in which each has calls.
  private static let templates: [(name: String, text: String)] = [
    ("hermes", #"<tool_call>{{ call.function | tojson }}</tool_call>"#),
    ("falcon", #"{{ '<tool_call>\n[' }}{{ call.function | tojson }}{{ ']</tool_call>' }}"#),
    ("mistral", #"[TOOL_CALLS] [{{ call.function | tojson }}]"#),
    ("llama", #"{% if false %}<|start_header_id|>"parameters"{% endif %}{{ call.function | tojson }}"#),
  ]

  private static func template(_ call: String) -> String {
    """
    {% if tools %}{% for tool in tools %}{{ tool | tojson }}
    {% endfor %}{% endif %}{% for message in messages %}{{ message.role }}: {{ message.content }}\
    {% if message.tool_calls %}{% for call in message.tool_calls %}\(call){% endfor %}{% endif %}
    {% endfor %}{% if add_generation_prompt %}assistant: {% endif %}
    """
  }

  @Test("are described to the user's side where the template refuses a system message")
  func noSystem() async throws {
    let template = """
      {% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system') }}{% endif %}\
      {{ message.role }}: {{ message.content }}
      {% endfor %}
      """
    let server = try await TestServer(template: template)
    let body = #""messages": [{"role": "user", "content": "Hi"}], "tools": \#(Functions.nested)"#
    let prompt = try await server.post("/apply-template", "{\(body)}").json()["prompt"].string()
    #expect(prompt.hasPrefix("user: You can call these functions."))
    let output = try await server.post("/v1/chat/completions", "{\(body), \"tool_choice\": \"required\"}")
    #expect(try Array(output.json()["choices"].elements())[0]["finish_reason"].string() == "tool_calls")
  }

  @Test("are written by the template, and called in its form", arguments: 0..<templates.count)
  func families(_ index: Int) async throws {
    let (name, text) = Self.templates[index]
    let server = try await TestServer(template: Self.template(text))
    let messages = #"""
      "messages": [{"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [
          {"id": "abcdefghi", "type": "function", "function": {"name": "count", "arguments": "{\"n\": 3}"}}]},
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "3"}]
      """#
    let tools = #""tools": [{"type": "function", "function": {"name": "count", "parameters": \#(Functions.count)}}]"#
    let prompt = try await server.post("/apply-template", "{\(messages), \(tools)}").json()["prompt"].string()
    #expect(prompt.hasPrefix(#"{"type": "function", "function": {"name": "count", "parameters": {"type": "object""#))
    // Arguments are objects in the template.
    #expect(prompt.contains(#"{"name": "count", "arguments": {"n": 3}}"#), "\(name): \(prompt)")
    #expect(prompt.contains("tool: 3"))
    for seed in 1...3 {
      let body = "\(messages), \(tools), \"tool_choice\": \"required\", \"seed\": \(seed)"
      let output = try await server.post("/v1/chat/completions", "{\(body)}")
      #expect(output.status == 200, "\(output.text)")
      let choice = Array(try output.json()["choices"].elements())[0]
      #expect(try choice["finish_reason"].string() == "tool_calls", "\(name)")
      #expect(try choice["message"]["content"].kind == .null)
      let call = Array(try choice["message"]["tool_calls"].elements())[0]
      try Functions.check("count", call["function"]["arguments"].string())
      #expect(try call["id"].string().count == (name == "mistral" ? 9 : 29))
      var arguments = ""
      for event in try await server.post("/v1/chat/completions", "{\(body), \"stream\": true}").events() {
        let delta = try Array(event["choices"].elements())[0]["delta"]
        guard let part = try delta["tool_calls"].ifPresent else { continue }
        arguments += try Array(part.elements())[0]["function"]["arguments"].string()
      }
      #expect(try call["function"]["arguments"].string() == arguments)
    }
    let shown = try await server.post("/api/show", #"{"model": "demo"}"#).json()["capabilities"].elements()
    #expect(try shown.contains { try $0.string() == "tools" })
  }
}

import BitNetJSON
import BitNetServer
import BitNetTokenization
import Testing

@Suite("Tools in other dialects")
struct DialectToolTests {
  private static let messages = #""messages": [{"role": "user", "content": "Once upon a time"}]"#

  /// The objects after `data: `, without the signs of life that a slow machine sends in between: comments, and pings
  /// after the first.
  private func events(_ output: TestServer.Output) throws -> [JSONValue] {
    var hasPing = false
    return try output.text.split(separator: "\n\n").compactMap { event in
      let line = event.split(separator: "\n").last ?? ""
      guard line.hasPrefix("data: ") else { return nil }
      let object = try JSONDocument(Array(line.dropFirst("data: ".count).utf8)).root
      guard try object["type"].string() == "ping" else { return object }
      defer { hasPing = true }
      return hasPing ? nil : object
    }
  }

  @Test("are called in messages of Anthropic, streamed or not", arguments: 1...3)
  func anthropic(_ seed: Int) async throws {
    let server = try await TestServer()
    let body = """
      "model": "demo", "max_tokens": 200, \(Self.messages), "tools": \(Functions.anthropic), "seed": \(seed)
      """
    for (choice, name) in [
      (#"{"type": "any"}"#, nil), (#"{"type": "tool", "name": "say"}"#, "say"),
      (#"{"type": "tool", "name": "nothing", "disable_parallel_tool_use": true}"#, "nothing"),
    ] {
      let request = "\(body), \"tool_choice\": \(choice)"
      let message = try await server.post("/v1/messages", "{\(request)}").json()
      #expect(try message["stop_reason"].string() == "tool_use")
      let blocks = Array(try message["content"].elements())
      #expect(blocks.count == 1)
      #expect(try blocks[0]["type"].string() == "tool_use")
      #expect(try blocks[0]["id"].string().hasPrefix("toolu_"))
      let found = try blocks[0]["name"].string()
      if let name { #expect(found == name) }
      try Functions.check(found, blocks[0]["input"])
      let events = try events(try await server.post("/v1/messages", "{\(request), \"stream\": true}"))
      let kinds = try events.map { try $0["type"].string() }
      #expect(kinds.prefix(3) == ["message_start", "ping", "content_block_start"])
      #expect(kinds.suffix(3) == ["content_block_stop", "message_delta", "message_stop"])
      #expect(try events[2]["content_block"]["id"].string() == blocks[0]["id"].string())
      #expect(try events[2]["content_block"]["input"].kind == .object)
      let pieces = try events.filter { try $0["type"].string() == "content_block_delta" }.map {
        try $0["delta"]["partial_json"].string()
      }
      let input = try JSONDocument(Array(pieces.joined().utf8)).root
      #expect(try JSONTree(input) == JSONTree(blocks[0]["input"]))
      #expect(try events[events.count - 2]["delta"]["stop_reason"].string() == "tool_use")
    }
    let counted = try await server.post("/v1/messages/count_tokens", "{\(body)}").json()["input_tokens"].integer()
    let usage = try await server.post("/v1/messages", "{\(body)}").json()["usage"]
    #expect(try usage["input_tokens"].integer() + usage["cache_read_input_tokens"].integer() == counted)
    let alone = try await server.post("/v1/messages/count_tokens", "{\"model\": \"demo\", \(Self.messages)}").json()
    #expect(try alone["input_tokens"].integer() < counted)
  }

  @Test("of Anthropic that are cut have the members that are complete")
  func cut() async throws {
    let server = try await TestServer()
    let body = """
      {"model": "demo", \(Self.messages), "tools": \(Functions.anthropic), "seed": 1, "temperature": 0,
       "tool_choice": {"type": "tool", "name": "say"}, "max_tokens": LIMIT}
      """
    var seen: Set<Int> = []
    for limit in 1...40 {
      let message = try await server.post("/v1/messages", body.replacing("LIMIT", with: "\(limit)")).json()
      guard try message["stop_reason"].string() == "max_tokens" else { break }
      let block = Array(try message["content"].elements())[0]
      guard try block["type"].string() == "tool_use" else { continue }
      seen.insert(try Array(block["input"].members()).count)
    }
    #expect(seen.isSuperset(of: [0, 1]), "\(seen)")
  }

  @Test("are called in responses, streamed or not", arguments: 1...3)
  func responses(_ seed: Int) async throws {
    let server = try await TestServer()
    let body = "\"input\": \"Once upon a time\", \"tools\": \(Functions.flat), \"seed\": \(seed)"
    let allowed = #"{"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "count"}]}"#
    for (choice, name) in [
      ("\"required\"", nil), (#"{"type": "function", "name": "say"}"#, "say"), (allowed, "count"),
    ] {
      let request = "\(body), \"tool_choice\": \(choice)"
      let response = try await server.post("/v1/responses", "{\(request)}").json()
      #expect(try response["status"].string() == "completed")
      #expect(try Array(response["tools"].elements()).count == 3)
      let items = Array(try response["output"].elements())
      #expect(items.count == 1)
      #expect(try items[0]["type"].string() == "function_call")
      #expect(try items[0]["status"].string() == "completed")
      let found = try items[0]["name"].string()
      if let name { #expect(found == name) }
      let arguments = try items[0]["arguments"].string()
      try Functions.check(found, arguments)
      let events = try events(try await server.post("/v1/responses", "{\(request), \"stream\": true}"))
      let kinds = try events.map { try $0["type"].string().dropFirst("response.".count) }
      #expect(kinds.prefix(3) == ["created", "in_progress", "output_item.added"])
      #expect(kinds.suffix(3) == ["function_call_arguments.done", "output_item.done", "completed"])
      for (number, event) in events.enumerated() { #expect(try event["sequence_number"].integer() == number) }
      let pieces = try events.filter { try $0["type"].string() == "response.function_call_arguments.delta" }
      #expect(try pieces.map { try $0["delta"].string() }.joined() == arguments)
      #expect(try pieces.allSatisfy { try $0["item_id"].string() == items[0]["id"].string() })
      #expect(try events[events.count - 2]["item"]["call_id"].string() == items[0]["call_id"].string())
    }
    let text = try await server.post(
      "/v1/responses",
      #"{"input": "Hi", "text": {"format": {"type": "json_schema", "name": "a", "schema": {"enum": [1, 2]}}}}"#
    ).json()
    let content = try Array(Array(text["output"].elements())[0]["content"].elements())[0]["text"].string()
    #expect(["1", "2"].contains(content))
    #expect(try text["text"]["format"]["name"].string() == "a")
  }

  @Test("have results in the history of every dialect")
  func history() async throws {
    let server = try await TestServer()
    func tokens(_ path: String, _ body: String) async throws -> Int {
      let json = try await server.post(path, body).json()
      if let count = try json["input_tokens"].ifPresent ?? json["prompt_eval_count"].ifPresent {
        return try count.integer()
      }
      return try (json["usage"]["input_tokens"].ifPresent ?? json["usage"]["prompt_tokens"]).integer()
    }
    let chat = try await tokens(
      "/v1/chat/completions",
      #"""
      {"max_tokens": 1, "messages": [{"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Well.", "tool_calls": [
          {"id": "1", "type": "function", "function": {"name": "say", "arguments": "{\"a\":1}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "said"}]}
      """#)
    let anthropic = try await tokens(
      "/v1/messages/count_tokens",
      #"""
      {"model": "demo", "messages": [{"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [{"type": "text", "text": "Well."},
          {"type": "tool_use", "id": "1", "name": "say", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "said"}]}]}
      """#)
    let responses = try await tokens(
      "/v1/responses",
      #"""
      {"max_output_tokens": 1, "input": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well."},
        {"type": "function_call", "call_id": "1", "name": "say", "arguments": "{\"a\":1}"},
        {"type": "function_call_output", "call_id": "1", "output": "said"}]}
      """#)
    let ollama = try await tokens(
      "/api/chat",
      #"""
      {"model": "demo", "stream": false, "options": {"num_predict": 1}, "messages": [{"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Well.", "tool_calls": [{"function": {"name": "say", "arguments": {"a": 1}}}]},
        {"role": "tool", "tool_name": "say", "content": "said"}]}
      """#)
    #expect(Set([chat, anthropic, responses, ollama]).count == 1, "\([chat, anthropic, responses, ollama])")
  }

  @Test("take calls back that were cut")
  func cutHistory() async throws {
    let server = try await TestServer()
    let chat = try await server.post(
      "/v1/chat/completions",
      #"""
      {"model": "demo", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "say", "arguments": "{\"a\""}}]}]}
      """#)
    let responses = try await server.post(
      "/v1/responses",
      #"""
      {"max_output_tokens": 1, "input": [{"role": "user", "content": "Hi"},
        {"type": "function_call", "call_id": "1", "name": "say", "arguments": "{\"a\"", "status": "incomplete"}]}
      """#)
    #expect(chat.status == 200 && responses.status == 200, "\(chat.text) \(responses.text)")
    #expect(
      try chat.json()["usage"]["prompt_tokens"].integer() == responses.json()["usage"]["input_tokens"].integer())
  }

  @Test("of Ollama take formats, and JSON that is called a form by programs")
  func ollama() async throws {
    let server = try await TestServer()
    let tools = "\"tools\": \(Functions.nested)"
    let form = HeaderField("Content-Type", "application/x-www-form-urlencoded")
    let body = """
      {"model": "demo", \(Self.messages), \(tools), "stream": false, "options": {"num_predict": 4, "seed": 1}}
      """
    let chat = try await server.send("POST", "/api/chat", body, headers: [form])
    #expect(chat.status == 200, "\(chat.text)")
    #expect(try chat.json()["eval_count"].integer() == 4)
    let page = [form, HeaderField("Origin", "https://evil.example")]
    #expect(try await server.send("POST", "/api/chat", body, headers: page).status == 415)
    #expect(try await server.send("POST", "/v1/completions", #"{"prompt": "a"}"#, headers: [form]).status == 415)
    for (path, input) in [("/api/chat", Self.messages), ("/api/generate", #""prompt": "Hi""#)] {
      for (format, length) in [("\"json\"", 0), (#"{"enum": [{"a": 1}]}"#, 1)] {
        let options = #""options": {"num_predict": 300, "seed": 5}"#
        let request = "\"model\": \"demo\", \(input), \"format\": \(format), \(options)"
        let whole = try await server.post(path, "{\(request), \"stream\": false}").json()
        let text = try whole["message"].ifPresent?["content"].string() ?? whole["response"].string()
        #expect(text.first == "{")
        if try whole["done_reason"].string() == "stop" || length > 0 {
          #expect(try Array(JSONDocument(Array(text.utf8)).root.members()).count >= length)
        }
      }
      let wrong = try await server.post(path, "{\"model\": \"demo\", \(input), \"format\": \"xml\"}")
      #expect(wrong.status == 400)
      #expect(try wrong.json()["error"].string().hasPrefix("format is \"xml\""))
    }
  }

  @Test(
    "refuse what is wrong, and name the field",
    arguments: [
      ("/v1/messages", #""tools": [{"type": "web_search_20250305", "name": "web_search"}]"#, "tools[0].type"),
      ("/v1/messages", #""tools": [{"name": "f"}]"#, "tools[0].input_schema"),
      ("/v1/messages", #""tool_choice": {"type": "any"}"#, "tool_choice"),
      ("/v1/messages", #""tool_choice": {"type": "all"}"#, "tool_choice.type"),
      ("/v1/messages", #""tool_choice": {"type": "tool", "name": "f"}"#, "tool_choice.name"),
      ("/v1/messages", #""output_config": {"format": {"type": "text"}}"#, "output_config.format.type"),
      ("/v1/responses", #""tools": [{"type": "web_search"}]"#, "tools[0].type"),
      ("/v1/responses", #""tools": [{"type": "function", "function": {"name": "f"}}]"#, "tools[0].name"),
      ("/v1/responses", #""tool_choice": {"type": "mcp"}"#, "tool_choice.type"),
      ("/v1/responses", #""text": {"format": {"type": "grammar"}}"#, "text.format.type"),
      (
        "/v1/responses", #""text": {"format": {"type": "json_schema", "schema": {"type": "object", "not": {}}}}"#,
        "in text.format.schema"
      ),
      ("/api/chat", #""tools": [{"type": "function", "function": {"name": 1}}]"#, "tools[0].function.name"),
      ("/api/chat", #""format": {"type": "object", "not": {}}"#, "in format"),
    ])
  func refusals(path: String, fields: String, sentence: String) async throws {
    let rest = path == "/v1/responses" ? #""input": "x""# : #""max_tokens": 9, \#(Self.messages)"#
    let output = try await TestServer().post(path, "{\"model\": \"demo\", \(rest), \(fields)}")
    #expect(output.status == 400)
    let error = try output.json()["error"]
    let message = try error.kind == .string ? error.string() : error["message"].string()
    #expect(message.hasPrefix(sentence), "\(message)")
  }
}

@Suite("Answers of texts and calls")
struct MixedAnswerTests {
  /// A text, a call, a text, and a call that is cut.
  private static let events: [AnswerEvent.Kind] = [
    .text("So. ", []), .text("", []), .call(0, .begin(id: "one", name: "f")), .call(0, .arguments("{\"a\"")),
    .call(0, .arguments(":1}")), .call(0, .end), .text("And ", []), .text("then.", []),
    .call(1, .begin(id: "two", name: "g")), .call(1, .arguments("{\"b\":\"}\",\"c\":[1,2],\"d\":\"x")),
    .finish(.length),
  ]

  private func document(_ tree: JSONTree) throws -> JSONValue { try JSONDocument(tree.serialized()).root }

  @Test("are blocks of Anthropic, in order")
  func anthropic() throws {
    var encoder = AnthropicEncoder(id: "1", model: "m", promptTokens: 3, mayCall: true)
    var events = encoder.opening()
    for kind in Self.events { events += encoder.events(AnswerEvent(choice: 0, kind)) }
    events += encoder.closing(AnswerUsage())
    let documents = try events.map { try document($0) }
    #expect(
      try documents.map { try $0["type"].string() } == [
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop",
      ])
    #expect(
      try documents.compactMap { try $0["index"].ifPresent?.integer() } == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3])
    let whole = try document(encoder.finished(AnswerUsage()))
    #expect(try whole["stop_reason"].string() == "max_tokens")
    let blocks = Array(try whole["content"].elements())
    #expect(try blocks.map { try $0["type"].string() } == ["text", "tool_use", "text", "tool_use"])
    #expect(try blocks[2]["text"].string() == "And then.")
    #expect(try blocks[1]["input"]["a"].integer() == 1)
    #expect(try JSONTree(blocks[3]["input"]) == ["b": "}", "c": [.unsigned(1), .unsigned(2)]])
  }

  @Test("are items of responses, in order")
  func responses() throws {
    var encoder = ResponsesEncoder(id: "1", created: 0, model: "m", echoed: [], mayCall: true)
    var events = encoder.opening()
    for kind in Self.events { events += encoder.events(AnswerEvent(choice: 0, kind)) }
    events.append(encoder.closing(AnswerUsage()))
    let documents = try events.map { try document($0) }
    let delta = "output_text.delta"
    let argument = "function_call_arguments.delta"
    let expected = [
      "created", "in_progress",
      "output_item.added", "content_part.added", delta, "output_text.done", "content_part.done", "output_item.done",
      "output_item.added", argument, argument, "function_call_arguments.done", "output_item.done",
      "output_item.added", "content_part.added", delta, delta, "output_text.done", "content_part.done",
      "output_item.done",
      "output_item.added", argument, "function_call_arguments.done", "output_item.done", "incomplete",
    ]
    #expect(try documents.map { try String($0["type"].string().dropFirst("response.".count)) } == expected)
    let items = Array(try document(encoder.finished(AnswerUsage()))["output"].elements())
    #expect(try items.map { try $0["type"].string() } == ["message", "function_call", "message", "function_call"])
    #expect(
      try items.map { try $0["status"].string() } == ["completed", "completed", "completed", "incomplete"])
    #expect(Set(try items.map { try $0["id"].string() }).count == 4)
    #expect(try items[1]["arguments"].string() == "{\"a\":1}")
    let finished = try documents.filter { try $0["type"].string() == "response.output_item.done" }
    #expect(try finished.map { try JSONTree($0["item"]) } == items.map { try JSONTree($0) })
  }
}

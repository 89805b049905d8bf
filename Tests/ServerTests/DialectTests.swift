import BitNetJSON
import BitNetServer
import Testing

@Suite("Dialects")
struct DialectTests {
  private static let messages = #""messages": [{"role": "user", "content": "Once upon a time"}]"#
  private static let sampling = #""model": "demo", "seed": 7, "temperature": 0.8"#

  /// The objects after `data: ` and the names after `event: `.
  private func events(_ output: TestServer.Output) throws -> [(name: String, json: JSONValue)] {
    try output.text.split(separator: "\n\n").filter { !$0.hasPrefix(":") }.map { event in
      let lines = event.split(separator: "\n")
      let json = try JSONDocument(Array(lines[1].dropFirst("data: ".count).utf8)).root
      return (String(lines[0].dropFirst("event: ".count)), json)
    }
  }

  private func chatText(_ server: TestServer) async throws -> String {
    let json = try await server.post("/v1/chat/completions", "{\(Self.messages), \(Self.sampling), \"max_tokens\": 20}")
      .json()
    return try Array(json["choices"].elements())[0]["message"]["content"].string()
  }

  @Test("have the same text for the same chat")
  func same() async throws {
    let server = try await TestServer()
    let text = try await chatText(server)
    let message = try await server.post(
      "/v1/messages", "{\(Self.messages), \(Self.sampling), \"max_tokens\": 20}"
    ).json()
    #expect(try Array(message["content"].elements())[0]["text"].string() == text)
    #expect(try message["stop_reason"].string() == "max_tokens")
    let response = try await server.post(
      "/v1/responses", "{\"input\": \"Once upon a time\", \(Self.sampling), \"max_output_tokens\": 20}"
    ).json()
    #expect(try Array(Array(response["output"].elements())[0]["content"].elements())[0]["text"].string() == text)
    #expect(try response["status"].string() == "incomplete")
    let options = #"{"seed": 7, "temperature": 0.8, "num_predict": 20}"#
    let chat = try await server.post(
      "/api/chat", "{\(Self.messages), \"model\": \"demo:latest\", \"stream\": false, \"options\": \(options)}"
    ).json()
    #expect(try chat["message"]["content"].string() == text)
    #expect(try chat["eval_count"].integer() == 20)
  }

  @Test("of Anthropic stream named events, in order")
  func anthropicStream() async throws {
    let server = try await TestServer()
    let text = try await chatText(server)
    let output = try await server.post(
      "/v1/messages", "{\(Self.messages), \(Self.sampling), \"max_tokens\": 20, \"stream\": true}")
    let events = try events(output)
    #expect(events.prefix(3).map(\.name) == ["message_start", "content_block_start", "ping"])
    #expect(events.suffix(3).map(\.name) == ["content_block_stop", "message_delta", "message_stop"])
    let pieces = events.filter { $0.name == "content_block_delta" }
    #expect(try pieces.map { try $0.json["delta"]["text"].string() }.joined() == text)
    for event in events { #expect(try event.json["type"].string() == event.name) }
    let usage = try events[events.count - 2].json["usage"]
    let start = try events[0].json["message"]["usage"]["input_tokens"].integer()
    #expect(try usage["input_tokens"].integer() + usage["cache_read_input_tokens"].integer() == start)
    #expect(try usage["output_tokens"].integer() == 20)
  }

  @Test("of responses stream numbered events, in order")
  func responsesStream() async throws {
    let server = try await TestServer()
    let text = try await chatText(server)
    let output = try await server.post(
      "/v1/responses",
      "{\"input\": \"Once upon a time\", \(Self.sampling), \"max_output_tokens\": 20, \"stream\": true}")
    let events = try events(output)
    for (number, event) in events.enumerated() {
      #expect(try event.json["sequence_number"].integer() == number)
      #expect(try event.json["type"].string() == event.name)
    }
    #expect(
      events.suffix(4).map(\.name) == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete",
      ])
    let pieces = events.filter { $0.name == "response.output_text.delta" }
    #expect(try pieces.map { try $0.json["delta"].string() }.joined() == text)
    #expect(try events[events.count - 4].json["text"].string() == text)
  }

  @Test("of Ollama stream lines, the last of which has the counts")
  func ollamaStream() async throws {
    let server = try await TestServer()
    let text = try await chatText(server)
    let options = #"{"seed": 7, "temperature": 0.8, "num_predict": 20}"#
    let output = try await server.post(
      "/api/chat", "{\(Self.messages), \"model\": \"demo\", \"options\": \(options)}")
    let lines = try output.text.split(separator: "\n").map { try JSONDocument(Array($0.utf8)).root }
    #expect(try lines.map { try $0["message"]["content"].string() }.joined() == text)
    #expect(try lines.dropLast().allSatisfy { try !$0["done"].bool() })
    #expect(try lines[lines.count - 1]["done_reason"].string() == "length")
    #expect(try lines[lines.count - 1]["eval_count"].integer() == 20)
  }

  @Test(
    "refuse wrong fields by name",
    arguments: [
      ("/v1/messages", #"{"model": "demo", "messages": [{"role": "user", "content": "x"}]}"#, "max_tokens is missing"),
      ("/v1/messages", #"{"model": "demo", "max_tokens": 1, "messages": [{"role": "x"}]}"#, "messages[0].role"),
      ("/v1/messages", #"{"model": "demo", "max_tokens": 1, "messages": []}"#, "messages is empty"),
      ("/v1/responses", #"{"input": 3}"#, "input is 3"), ("/v1/responses", #"{"input": []}"#, "input is empty"),
      ("/v1/responses", #"{"input": "x", "previous_response_id": "y"}"#, "previous_response_id"),
      ("/api/chat", #"{"messages": [{"role": "user", "content": "x"}]}"#, "model is missing"),
      ("/api/generate", #"{"model": "demo", "prompt": "x", "options": {"top_p": 2}}"#, "options.top_p is 2"),
    ])
  func refusals(path: String, body: String, sentence: String) async throws {
    let output = try await TestServer().post(path, body)
    #expect(output.status == 400)
    let error = try output.json()["error"]
    let message = try error.kind == .string ? error.string() : error["message"].string()
    #expect(message.hasPrefix(sentence))
    #expect(try output.json()["type"].ifPresent?.string() == (path == "/v1/messages" ? "error" : nil))
  }

  @Test("of Ollama write times in UTC")
  func times() async throws {
    let output = try await TestServer().send("GET", "/api/tags")
    let model = Array(try output.json()["models"].elements())[0]
    #expect(try model["modified_at"].string() == "1970-01-01T00:00:01.000Z")
    #expect(try model["name"].string() == "demo")
  }
}

@Suite("The page")
struct PageTests {
  @Test("goes to browsers, with a policy for this response alone")
  func policy() async throws {
    let server = try await TestServer(keys: ["secret"])
    let accept = HeaderField("Accept", "text/html,*/*")
    let first = try await server.send("GET", "/", headers: [accept])
    let second = try await server.send("GET", "/", headers: [accept])
    #expect(first.status == 200)
    let policy = try #require(first.header("Content-Security-Policy"))
    #expect(policy.hasPrefix("default-src 'none'"))
    #expect(!policy.contains("unsafe"))
    let nonce = try #require(policy.split(separator: "'nonce-").dropFirst().first?.prefix { $0 != "'" })
    #expect(first.text.contains("<script type=\"module\" nonce=\"\(nonce)\">"))
    #expect(second.header("Content-Security-Policy") != policy)
    // Nothing but one script and one style.
    #expect(first.text.split(separator: "<script").count == 2)
    #expect(first.text.split(separator: "<style").count == 2)
    #expect(!first.text.contains("innerHTML"))
  }

  @Test("goes to browsers only")
  func text() async throws {
    let output = try await TestServer().send("GET", "/")
    #expect(output.text == "bitnet serve is running\n")
  }
}

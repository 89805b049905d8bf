import BitNet
import BitNetJSON
import BitNetTokenization
import Testing

@Suite("Constrained chats")
struct ConstrainedChatTests {
  private static let path = "/v1/chat/completions"
  private static let messages = #""messages": [{"role": "user", "content": "Once upon a time"}]"#

  private static func content(_ output: TestServer.Output) throws -> (text: String, finish: String) {
    let choice = Array(try output.json()["choices"].elements())[0]
    return (try choice["message"]["content"].string(), try choice["finish_reason"].string())
  }

  @Test("have the form of a schema, whatever the model says", arguments: [1, 2, 3])
  func schema(_ seed: Int) async throws {
    let server = try await TestServer()
    let schema = #"""
      {"type": "object", "additionalProperties": false, "required": ["mood", "fine"],
       "properties": {"mood": {"enum": ["happy", "sad"]}, "fine": {"type": "boolean"}}}
      """#
    let format = #"{"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": \#(schema)}}"#
    let output = try await server.post(
      Self.path, "{\(Self.messages), \"seed\": \(seed), \"max_tokens\": 200, \"response_format\": \(format)}")
    #expect(output.status == 200, "\(output.text)")
    let (text, finish) = try Self.content(output)
    #expect(finish == "stop")
    let json = try JSONDocument(Array(text.utf8)).root
    #expect(["happy", "sad"].contains(try json["mood"].string()))
    _ = try json["fine"].bool()
  }

  @Test("so do completions, each of several")
  func completions() async throws {
    let server = try await TestServer()
    let format = #"{"type": "json_schema", "json_schema": {"schema": {"enum": ["happy", "sad"]}}}"#
    let output = try await server.post(
      "/v1/completions", #"{"prompt": ["The king was ", "A cat: "], "n": 2, "response_format": \#(format)}"#)
    let texts = try output.json()["choices"].elements().map { try $0["text"].string() }
    #expect(texts.count == 4 && texts.allSatisfy { [#""happy""#, #""sad""#].contains($0) }, "\(output.text)")
    let error = try await server.error(
      "/v1/completions", #"{"prompt": "A", "response_format": {"type": "xml"}}"#)
    #expect(error.parameter == "response_format.type")
  }

  @Test("refuse schemas that cannot be used, and forms that are unknown")
  func refusals() async throws {
    let server = try await TestServer()
    for (format, text) in [
      (#"{"type": "xml"}"#, "response_format.type"), (#"{"type": "json_schema"}"#, "json_schema"),
      (#"{"type": "json_schema", "json_schema": {"schema": {"type": "object", "if": {"type": "null"}}}}"#, "if"),
      (#"{"type": "json_schema", "json_schema": {"schema": 7}}"#, "schema"),
    ] {
      let error = try await server.error(Self.path, "{\(Self.messages), \"response_format\": \(format)}")
      #expect(error.message.contains(text), "\(error.message)")
      #expect(error.parameter?.hasPrefix("response_format") == true)
    }
    let endless = #"{\#(Self.messages), "response_format": {"type": "json_object"}, "ignore_eos": true}"#
    #expect(try await server.error(Self.path, endless).parameter == "ignore_eos")
    // A call that is forced has no room for the format, which is wrong all the same.
    let beside = #"""
      {\#(Self.messages), "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "kangaroo"}}},
       "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}
      """#
    #expect(try await server.error(Self.path, beside).parameter?.hasPrefix("response_format") == true)
  }

  @Test("follow biases of tokens")
  func biases() async throws {
    let server = try await TestServer()
    let model = try await TestServer.demo.value
    let token = try #require(model.tokenizer.encode(" king").last)
    let options = "\(Self.messages), \"temperature\": 0, \"max_tokens\": 3"
    let forced = try await server.post(Self.path, "{\(options), \"logit_bias\": {\"\(token)\": 100}}")
    #expect(try Self.content(forced).text == String(repeating: model.tokenizer.decode([token]), count: 3))
    for (bias, text) in [(#"{"king": 1}"#, "token id"), (#"{"1": 101}"#, "100"), (#"{"99999999": 1}"#, "99999999")] {
      let error = try await server.error(Self.path, "{\(options), \"logit_bias\": \(bias)}")
      #expect(error.message.contains(text), "\(error.message)")
      #expect(error.parameter?.hasPrefix("logit_bias") == true)
    }
  }
}

import BitNet
import BitNetJSON
import Testing

@Suite("Chat completions")
struct ChatCompletionTests {
  private static let path = "/v1/chat/completions"
  private static let messages = #""messages": [{"role": "user", "content": "Once upon a time"}]"#

  @Test("are complete, and the same for the same seed")
  func whole() async throws {
    let server = try await TestServer()
    let body = "{\(Self.messages), \"model\": \"demo\", \"max_tokens\": 24, \"seed\": -5, \"temperature\": 0.8}"
    let output = try await server.post(Self.path, body)
    #expect(output.status == 200, "\(output.text)")
    let json = try output.json()
    #expect(try json["object"].string() == "chat.completion")
    #expect(try json["id"].string() == "chatcmpl-test")
    let choice = Array(try json["choices"].elements())[0]
    let text = try choice["message"]["content"].string()
    #expect(!text.isEmpty)
    #expect(try choice["finish_reason"].string() == "length")
    #expect(try json["usage"]["completion_tokens"].integer() == 24)
    let again = try await server.post(Self.path, body).json()
    #expect(try Array(again["choices"].elements())[0]["message"]["content"].string() == text)
    #expect(try again["usage"]["prompt_tokens_details"]["cached_tokens"].integer() > 0)
  }

  @Test("streamed are the same text: the role first, then pieces, then one reason, then usage")
  func stream() async throws {
    let server = try await TestServer()
    let options = "\(Self.messages), \"max_tokens\": 40, \"seed\": 7, \"n\": 3"
    let whole = try await server.post(Self.path, "{\(options)}").json()
    let expected = try whole["choices"].elements().map { try $0["message"]["content"].string() }
    #expect(Set(expected).count == 3)
    let output = try await server.post(
      Self.path, "{\(options), \"stream\": true, \"stream_options\": {\"include_usage\": true}}")
    var texts = ["", "", ""]
    var finishes = [0, 0, 0]
    var events = try output.events()
    let usage = events.removeLast()
    #expect(try Array(usage["choices"].elements()).isEmpty)
    #expect(try usage["usage"]["completion_tokens"].integer() == whole["usage"]["completion_tokens"].integer())
    for (position, event) in events.enumerated() {
      #expect(try event["object"].string() == "chat.completion.chunk")
      #expect(try event["usage"].kind == .null)
      let choices = Array(try event["choices"].elements())
      #expect(choices.count == 1)
      let index = try choices[0]["index"].integer()
      let delta = try choices[0]["delta"]
      #expect(try (delta["role"].ifPresent?.string() == "assistant") == (position < 3))
      texts[index] += try delta["content"].ifPresent?.string() ?? ""
      if try choices[0]["finish_reason"].ifPresent != nil { finishes[index] += 1 }
    }
    #expect(texts == expected)
    #expect(finishes == [1, 1, 1])
  }

  @Test("end before a stop text, no part of which is streamed")
  func stops() async throws {
    let server = try await TestServer()
    let options = "\(Self.messages), \"max_tokens\": 60, \"temperature\": 0"
    let whole = try await server.post(Self.path, "{\(options)}").json()
    let text = try Array(whole["choices"].elements())[0]["message"]["content"].string()
    let words = text.split(separator: " ")
    let stop = "\(words[5]) \(words[6])"
    let written = String(decoding: try JSONTree.string(stop).serialized(), as: UTF8.self)
    let expected = String(text[..<text.firstRange(of: stop)!.lowerBound])
    let body = "{\(options), \"stop\": [\(written)], \"logprobs\": true, \"stream\": true}"
    var streamed = ""
    var listed = ""
    var finish: String?
    for event in try await server.post(Self.path, body).events() {
      let choice = Array(try event["choices"].elements())[0]
      streamed += try choice["delta"]["content"].ifPresent?.string() ?? ""
      finish = try choice["finish_reason"].ifPresent?.string() ?? finish
      guard let list = try choice["logprobs"].ifPresent else { continue }
      for token in try list["content"].elements() { listed += try token["token"].string() }
    }
    #expect(streamed == expected)
    #expect(listed.hasPrefix(expected))
    #expect(finish == "stop")
  }

  @Test("list log probabilities: the best token's is the greedy token's own")
  func logProbabilities() async throws {
    let server = try await TestServer()
    let body = "{\(Self.messages), \"max_tokens\": 8, \"temperature\": 0, \"logprobs\": true, \"top_logprobs\": 3}"
    let choice = Array(try await server.post(Self.path, body).json()["choices"].elements())[0]
    let tokens = Array(try choice["logprobs"]["content"].elements())
    #expect(tokens.count == 8)
    for token in tokens {
      let top = Array(try token["top_logprobs"].elements())
      #expect(top.count == 3)
      #expect(try top[0]["logprob"].number() == token["logprob"].number())
      #expect(try top[0]["token"].string() == token["token"].string())
      let bytes = try token["bytes"].elements().map { UInt8(try $0.integer(in: 0...255)) }
      #expect(String(decoding: bytes, as: UTF8.self) == (try token["token"].string()))
    }
  }

  @Test("take nulls, text parts, the role developer and unknown fields")
  func lenience() async throws {
    let server = try await TestServer()
    let output = try await server.post(
      Self.path,
      #"""
      {"messages": [{"role": "developer", "content": "Be short.", "name": null},
        {"role": "user", "content": [{"type": "text", "text": "Once"}, {"type": "text", "text": "upon"}]}],
       "model": null, "temperature": null, "stop": null, "n": null, "logprobs": null, "stream": null, "seed": null,
       "max_tokens": null, "max_completion_tokens": 3, "user": "me", "store": false, "unknown": {"a": [1]}}
      """#)
    #expect(output.status == 200, "\(output.text)")
    #expect(try output.json()["model"].string() == "demo")
    #expect(try output.json()["usage"]["completion_tokens"].integer() == 3)
  }

  @Test(
    "refuse what is wrong, and name the field",
    arguments: [
      (#"{"messages": "hi"}"#, "messages"), (#"{}"#, "messages"),
      (#"{"messages": [{"content": "x"}]}"#, "messages[0].role"),
      (#"{"messages": [{"role": "king", "content": "x"}]}"#, "messages[0].role"),
      (#"{"messages": [{"role": "user"}]}"#, "messages[0].content"),
      (#"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#, "messages[0].content[0].type"),
      (#"{MESSAGES, "temperature": "warm"}"#, "temperature"), (#"{MESSAGES, "temperature": -1}"#, "temperature"),
      (#"{MESSAGES, "top_p": 1.5}"#, "top_p"), (#"{MESSAGES, "n": 0}"#, "n"), (#"{MESSAGES, "n": 1000000}"#, "n"),
      (#"{MESSAGES, "max_tokens": 0}"#, "max_tokens"), (#"{MESSAGES, "max_tokens": 1.5}"#, "max_tokens"),
      (#"{MESSAGES, "seed": 18446744073709551616}"#, "seed"), (#"{MESSAGES, "stop": 7}"#, "stop"),
      (#"{MESSAGES, "stop": ["a", 7]}"#, "stop[1]"), (#"{MESSAGES, "stream": "yes"}"#, "stream"),
      (#"{MESSAGES, "logprobs": 3}"#, "logprobs"), (#"{MESSAGES, "top_logprobs": 3}"#, "top_logprobs"),
      (#"{MESSAGES, "logprobs": true, "top_logprobs": 21}"#, "top_logprobs"),
      (#"{MESSAGES, "temperature": 1e400}"#, "temperature"),
    ])
  func refusals(_ body: String, _ field: String) async throws {
    let server = try await TestServer()
    let error = try await server.error(Self.path, body.replacing("MESSAGES", with: Self.messages))
    #expect(error.parameter == field)
    #expect(error.message.contains(field), "\(error.message)")
  }

  @Test("refuse what is no JSON, nests too deeply, or fills the context")
  func wholeBodies() async throws {
    let server = try await TestServer()
    for body in ["", "{", "[]", #"{"messages": "\#u{FF}"#, String(repeating: "[", count: 100_000)] {
      _ = try await server.error(Self.path, body)
    }
    let long = String(repeating: "king ", count: 4000)
    let output = try await server.post(Self.path, #"{"messages": [{"role": "user", "content": "\#(long)"}]}"#)
    #expect(output.status == 400)
    #expect(try output.json()["error"]["code"].string() == "context_length_exceeded")
    let unknown = try await server.post(Self.path, "{\(Self.messages), \"model\": \"gpt\"}")
    #expect(unknown.status == 404)
    #expect(try unknown.json()["error"]["code"].string() == "model_not_found")
  }
}

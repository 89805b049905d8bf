import BitNet
import BitNetInference
import BitNetJSON
import BitNetTokenization
import Testing

@Suite("Completions")
struct CompletionTests {
  private static let path = "/v1/completions"

  @Test("echo a prompt of ids with its log probabilities, as lm-evaluation-harness reads them")
  func echo() async throws {
    let server = try await TestServer()
    let model = try await TestServer.demo.value
    let ids = model.tokenizer.encode("Once upon a time there was a king", addingBeginToken: true)
    let body =
      #"{"model": "demo", "prompt": [\#(ids)], "max_tokens": 1, "logprobs": 1, "echo": true, "temperature": 0}"#
    let json = try await server.post(Self.path, body).json()
    let choice = Array(try json["choices"].elements())[0]
    let lists = try choice["logprobs"]
    let values = Array(try lists["token_logprobs"].elements())
    let tops = Array(try lists["top_logprobs"].elements())
    #expect(values.count == ids.count + 1)
    #expect(tops.count == values.count)
    #expect(try Array(lists["tokens"].elements()).count == values.count)
    #expect(values[0].kind == .null)
    #expect(tops[0].kind == .null)
    let perplexity = try await model.perplexity(of: "Once upon a time there was a king")
    let sum = try values[1..<ids.count].reduce(0) { try $0 + $1.number() }
    #expect(abs(sum + perplexity.nats) < 1e-4)
    for position in 1..<values.count {
      let value = try values[position].number()
      let numbers = try tops[position].members().map { try $0.value.number() }
      #expect(numbers.contains(value))
      #expect(numbers.max()! >= value)
    }
    #expect(try choice["text"].string().hasPrefix(model.tokenizer.decode(ids)))
    #expect(try json["usage"]["completion_tokens"].integer() == 1)
  }

  @Test("score what they generate with the same numbers, whole, streamed and echoed")
  func sameNumbers() async throws {
    let server = try await TestServer()
    let options = #""prompt": "Once upon a time", "logprobs": 2, "temperature": 0, "max_tokens": 6"#
    func numbers(_ choice: JSONValue) throws -> [Double] {
      guard let list = try choice["logprobs"].ifPresent else { return [] }
      return try list["token_logprobs"].elements().filter { $0.kind != .null }.map { try $0.number() }
    }
    let whole = Array(try await server.post(Self.path, "{\(options)}").json()["choices"].elements())[0]
    let generated = try numbers(whole)
    #expect(generated.count == 6)
    var streamed: [Double] = []
    for event in try await server.post(Self.path, "{\(options), \"stream\": true}").events() {
      streamed += try numbers(Array(event["choices"].elements())[0])
    }
    #expect(streamed == generated)
    let model = try await TestServer.demo.value
    var ids = model.tokenizer.encode("Once upon a time", addingBeginToken: true)
    ids += try await model.generate(tokens: ids, options: .init(maximumTokens: 6)).response().tokens.map(\.token)
    let scored = try await server.post(
      Self.path, #"{"prompt": \#(ids), "logprobs": 2, "temperature": 0, "max_tokens": 0, "echo": true}"#)
    #expect(try numbers(Array(scored.json()["choices"].elements())[0]).suffix(6) == generated[...])
  }

  @Test("take several prompts, texts or ids, and several choices of each")
  func several() async throws {
    let server = try await TestServer()
    let json = try await server.post(
      Self.path, #"{"prompt": ["The king", "The queen"], "n": 2, "max_tokens": 5, "seed": 3, "echo": true}"#
    ).json()
    let choices = Array(try json["choices"].elements())
    #expect(try choices.map { try $0["index"].integer() } == [0, 1, 2, 3])
    let texts = try choices.map { try $0["text"].string() }
    #expect(texts[0].hasPrefix("The king") && texts[1].hasPrefix("The king"))
    #expect(texts[2].hasPrefix("The queen") && texts[3].hasPrefix("The queen"))
    #expect(texts[0] != texts[1])
    // The second choice takes the next seed.
    let second = try await server.post(
      Self.path, #"{"prompt": "The king", "max_tokens": 5, "seed": 4, "echo": true}"#
    ).json()
    #expect(try Array(second["choices"].elements())[0]["text"].string() == texts[1])
  }

  @Test("equal prompts have different texts, unless the client chose the seed", arguments: ["", #", "seed": 3"#])
  func equalPrompts(_ seed: String) async throws {
    let server = try await TestServer()
    let body = #"{"prompt": ["The king", "The king"], "temperature": 1.5, "max_tokens": 20, "n": 2\#(seed)}"#
    let choices = Array(try await server.post(Self.path, body).json()["choices"].elements())
    let texts = try choices.map { try $0["text"].string() }
    #expect(Set(texts).count == (seed.isEmpty ? 4 : 2), "\(texts)")
  }

  @Test(
    "refuse what is wrong, and name the field",
    arguments: [
      (#"{}"#, "prompt"), (#"{"prompt": []}"#, "prompt"), (#"{"prompt": 7}"#, "prompt"),
      (#"{"prompt": [[]]}"#, "prompt"), (#"{"prompt": ""}"#, "prompt"), (#"{"prompt": [1, "a"]}"#, "prompt[1]"),
      (#"{"prompt": [-1]}"#, "prompt[0]"), (#"{"prompt": [[1], [1000000]]}"#, "prompt[1][0]"),
      (#"{"prompt": "a", "logprobs": true}"#, "logprobs"), (#"{"prompt": "a", "max_tokens": 0}"#, "max_tokens"),
      (#"{"prompt": "a", "suffix": "b"}"#, "suffix"), (#"{"prompt": "a", "best_of": 2}"#, "best_of"),
    ])
  func refusals(_ body: String, _ field: String) async throws {
    let server = try await TestServer()
    var body = body
    // The demo model's tokenizer puts a token before each text.
    if body == #"{"prompt": ""}"# { body = #"{"prompt": "", "add_special_tokens": false}"# }
    let error = try await server.error(Self.path, body)
    #expect(error.parameter == field, "\(error.message)")
  }
}

import BitNet
import BitNetJSON
import Testing

@Suite("Receipts and penalties in answers")
struct AnswerReceiptTests {
  private static let chat = "/v1/chat/completions"
  private static let messages = #""messages": [{"role": "user", "content": "Once upon a time"}]"#
  private static let options =
    #""temperature": 0.9, "seed": 5, "max_tokens": 24, "presence_penalty": 1.2, "frequency_penalty": -0.3"#

  private static func receipts(_ json: JSONValue) throws -> [String] {
    try json["choices"].elements().map { try $0["receipt"].string() }
  }

  @Test(
    "pass an audit, whole and streamed, for every choice, with biases and a form",
    arguments: [
      #""n": 2"#, #""stop": ["e"], "stop_token_ids": [300, 99999999]"#, #""logprobs": true, "top_logprobs": 1"#,
      #""logit_bias": {"11": -9, "290": 2}"#, #""response_format": {"type": "json_object"}"#,
      #""ignore_eos": true, "skip_special_tokens": false"#,
    ])
  func chats(more: String) async throws {
    let server = try await TestServer()
    let model = try await TestServer.demo.value
    let body = "\(Self.messages), \(Self.options), \(more), \"receipt\": true"
    let whole = try await server.post(Self.chat, "{\(body)}")
    #expect(whole.status == 200, "\(whole.text)")
    let receipts = try Self.receipts(try whole.json())
    for text in receipts {
      let receipt = try Receipt(json: Array(text.utf8))
      try await model.audit(receipt)
      #expect((receipt.tokenDigests != nil) == more.contains("logprobs"))
      #expect(receipt.sampling.presencePenalty == 1.2 && receipt.sampling.frequencyPenalty == -0.3)
    }
    #expect(receipts.count == (more.contains("\"n\"") ? 2 : 1) && Set(receipts).count == receipts.count)
    let events = try await server.post(Self.chat, "{\(body), \"stream\": true}").events()
    var streamed: [Int: String] = [:]
    for event in events {
      for choice in try event["choices"].elements() {
        guard let receipt = try choice["receipt"].ifPresent else { continue }
        #expect(try choice["finish_reason"].ifPresent != nil)
        streamed[try choice["index"].integer()] = try receipt.string()
      }
    }
    #expect(streamed.sorted { $0.key < $1.key }.map(\.value) == receipts)
  }

  @Test("are in completions too, and nowhere unless they are asked for")
  func completions() async throws {
    let server = try await TestServer()
    let model = try await TestServer.demo.value
    let body = #""prompt": ["Once", "The king"], "max_tokens": 8, "seed": 1"#
    let output = try await server.post("/v1/completions", "{\(body), \"receipt\": true}")
    let receipts = try Self.receipts(try output.json())
    for text in receipts { try await model.audit(try Receipt(json: Array(text.utf8))) }
    #expect(receipts.count == 2)
    let plain = try await server.post("/v1/completions", "{\(body)}").text
    #expect(!plain.contains("receipt") && output.text.contains("receipt"))
    let scored = try await server.post(
      "/v1/completions", #"{"prompt": "Once", "max_tokens": 0, "echo": true, "receipt": true}"#)
    #expect(scored.status == 200 && !scored.text.contains("receipt"), "\(scored.text)")
  }

  @Test("are those of the library, so that penalties are the same numbers everywhere")
  func library() async throws {
    let server = try await TestServer()
    let model = try await TestServer.demo.value
    let output = try await server.post(
      "/v1/completions",
      "{\"prompt\": \"The cat\", \(Self.options), \"top_p\": 1, \"top_k\": 0, \"min_p\": 0, \"receipt\": true}")
    let response = try await model.generate(
      tokens: model.tokenizer.encode("The cat", addingBeginToken: true),
      options: .init(
        sampling: .init(temperature: 0.9, presencePenalty: 1.2, frequencyPenalty: -0.3, seed: 5), maximumTokens: 24)
    ).response()
    #expect(try Self.receipts(try output.json()) == [response.receipt?.description])
  }

  @Test("are refused for what no receipt can hold, and penalties out of range")
  func refusals() async throws {
    let server = try await TestServer()
    for (field, parameter) in [
      (#""receipt": true, "skip_special_tokens": false, "stop": "e""#, "receipt"), (#""receipt": 1"#, "receipt"),
      (#""presence_penalty": 2.1"#, "presence_penalty"), (#""frequency_penalty": "a""#, "frequency_penalty"),
    ] {
      let error = try await server.error(Self.chat, "{\(Self.messages), \(field)}")
      #expect(error.parameter == parameter, "\(error)")
    }
  }
}

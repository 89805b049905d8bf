import BitNet
import BitNetJSON
import BitNetTokenization
import Testing

@Suite("Tokens")
struct TokenRouteTests {
  @Test("go to text and back, in the forms of vLLM and of llama-server")
  func roundTrip() async throws {
    let server = try await TestServer()
    let model = try await TestServer.demo.value
    let text = "Once upon a time"
    let vllm = try await server.post("/tokenize", #"{"prompt": "\#(text)", "add_special_tokens": false}"#).json()
    let tokens = try vllm["tokens"].elements().map { Int32(try $0.integer()) }
    #expect(tokens == model.tokenizer.encode(text))
    #expect(try vllm["count"].integer() == tokens.count)
    #expect(try vllm["max_model_len"].integer() == model.contextLength)
    let llama = try await server.post("/tokenize", #"{"content": "\#(text)", "with_pieces": true}"#).json()
    #expect(try llama["tokens"].elements().map { try $0["piece"].string() }.joined() == text)
    let back = try await server.post("/detokenize", #"{"tokens": \#(tokens)}"#).json()
    #expect(try back["prompt"].string() == text)
    #expect(try back["content"].string() == text)
    #expect(try await server.error("/detokenize", #"{"tokens": [0, 99999999]}"#).parameter == "tokens[1]")
  }

  @Test("have an end token that is one token, as lm-evaluation-harness needs")
  func information() async throws {
    let server = try await TestServer()
    let end = try await server.send("GET", "/tokenizer_info").json()["eos_token"].string()
    let tokens = try await server.post("/tokenize", #"{"prompt": "\#(end)", "add_special_tokens": false}"#).json()
    #expect(try tokens["count"].integer() == 1)
  }

  @Test("of a chat are those of its prompt")
  func template() async throws {
    let server = try await TestServer()
    let chat = #"{"messages": [{"role": "user", "content": "Hello"}]}"#
    let prompt = try await server.post("/apply-template", chat).json()["prompt"].string()
    #expect(prompt.contains("Hello"))
    let count = try await server.post("/tokenize", chat).json()["count"].integer()
    let usage = try await server.post(
      "/v1/chat/completions", chat.dropLast() + #", "max_tokens": 1}"#
    ).json()["usage"]
    #expect(try usage["prompt_tokens"].integer() == count)
  }
}

import BitNet
import BitNetJSON
import BitNetServer
import Foundation
import TestSupport
import Testing

@Suite("Vectors of texts")
struct EmbeddingTests {
  private static let embedder = Task {
    try await Embedder.load(Fixture.embedding[0].path, options: .init(device: .cpu(.init(threads: 1))))
  }

  private static func server() async throws -> (server: TestServer, embedder: Embedder) {
    let embedder = try await embedder.value
    let served = ServedEmbedder(name: "vectors", aliases: ["v"], embedder: embedder, created: 2)
    return (try await TestServer(embedders: [served]), embedder)
  }

  private static func numbers(_ list: JSONValue) throws -> [Float] {
    try list.elements().map { Float(try $0.number()) }
  }

  @Test("are those of the library, of texts and of tokens, as numbers and in base64")
  func vectors() async throws {
    let (server, embedder) = try await Self.server()
    let texts = ["Once upon a time", "the"]
    let expected = try await embedder.embed(texts, prompt: "")
    let counts = texts.map { embedder.tokens(of: $0).count }
    let body = #"{"model": "v", "input": ["Once upon a time", "the"], "user": "somebody"}"#
    let json = try await server.post("/v1/embeddings", body).json()
    #expect(try json["object"].string() == "list" && json["model"].string() == "v")
    let data = Array(try json["data"].elements())
    #expect(data.count == 2)
    for (index, element) in data.enumerated() {
      #expect(try element["index"].integer() == index && element["object"].string() == "embedding")
      #expect(try Self.numbers(element["embedding"]) == expected[index])
    }
    #expect(try json["usage"]["prompt_tokens"].integer() == counts[0] + counts[1])

    let tokens = try await server.post("/v1/embeddings", #"{"input": [\#(embedder.tokens(of: texts[1]))]}"#).json()
    #expect(try Self.numbers(Array(tokens["data"].elements())[0]["embedding"]) == expected[1])

    let coded = try await server.post("/v1/embeddings", #"{"input": "the", "encoding_format": "base64"}"#).json()
    let text = try Array(coded["data"].elements())[0]["embedding"].string()
    let bytes = try #require(Data(base64Encoded: text))
    #expect(bytes.elementsEqual(expected[1].flatMap { value in withUnsafeBytes(of: value.bitPattern) { Array($0) } }))

    let short = try await server.post("/v1/embeddings", #"{"input": "the", "dimensions": 3}"#).json()
    let cut = try await embedder.embed(["the"], prompt: "", dimensions: 3)
    #expect(try Self.numbers(Array(short["data"].elements())[0]["embedding"]) == cut[0])
  }

  @Test("come in Ollama's form, which shortens texts that are too long")
  func ollama() async throws {
    let (server, embedder) = try await Self.server()
    let expected = try await embedder.embed(["the"], prompt: "")
    let json = try await server.post("/api/embed", #"{"model": "vectors", "input": ["the"]}"#).json()
    #expect(try Self.numbers(Array(json["embeddings"].elements())[0]) == expected[0])
    #expect(try json["prompt_eval_count"].integer() == embedder.tokens(of: "the").count)
    let old = try await server.post("/api/embeddings", #"{"model": "vectors", "prompt": "the"}"#).json()
    #expect(try Self.numbers(old["embedding"]) == expected[0])
    let long = String(repeating: "the ", count: embedder.contextLength + 10)
    let cut = try await server.post("/api/embed", #"{"input": "\#(long)"}"#).json()
    #expect(try cut["prompt_eval_count"].integer() == embedder.contextLength)
    let whole = try await server.post("/api/embed", #"{"input": "\#(long)", "truncate": false}"#)
    #expect(whole.status == 400 && whole.text.contains("expected at most the model's context length"), "\(whole.text)")
  }

  @Test("are refused by name of the field")
  func refusals() async throws {
    let (server, embedder) = try await Self.server()
    let path = "/v1/embeddings"
    for (body, parameter) in [
      (#"{"input": ""}"#, embedder.tokens(of: "").isEmpty ? "input" : nil), (#"{"input": []}"#, "input"),
      (#"{"input": [[]]}"#, "input[0]"), (#"{"input": [[-1]]}"#, "input[0][0]"), (#"{"input": {}}"#, "input"),
      (#"{"input": "a", "dimensions": \#(embedder.dimension + 1)}"#, "dimensions"),
      (#"{"input": "a", "encoding_format": "int8"}"#, "encoding_format"),
      (#"{"model": "demo", "input": "a"}"#, "model"),
    ] as [(String, String?)] {
      guard let parameter else { continue }
      #expect(try await server.error(path, body).parameter == parameter, "\(body)")
    }
    #expect(try await server.error(path, #"{"model": "none", "input": "a"}"#, status: 404).parameter == "model")
    let chat = try await server.error("/v1/completions", #"{"model": "vectors", "prompt": "a"}"#)
    #expect(chat.parameter == "model" && chat.message.contains("which gives vectors"))
    let lone = try await TestServer()
    #expect(try await lone.error(path, #"{"input": "a"}"#).message.contains("a server that has another model"))
    let models = try await server.send("GET", "/v1/models").json()
    #expect(try models["data"].elements().map { try $0["id"].string() } == ["demo", "vectors"])
  }
}

import BitNet
import BitNetJSON

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Vectors of texts, as OpenAI and Ollama offer them.
package struct EmbeddingRoutes: Sendable {
  private let core: ServerCore

  package init(_ core: ServerCore) { self.core = core }

  package var routes: [Route] {
    [
      Route("POST", "/v1/embeddings") { try await openAI($0) },
      Route("POST", "/api/embed", takesAnyType: true, errors: .ollama) { try await ollama($0) },
      Route("POST", "/api/embeddings", takesAnyType: true, errors: .ollama) { try await oldOllama($0) },
    ]
  }

  private func openAI(_ exchange: Exchange) async throws -> Reply {
    var fields = try exchange.json().fields()
    let format = fields["encoding_format"]
    let isBase64: Bool
    switch try format.ifPresent?.string() {
    case nil, "float"?: isBase64 = false
    case "base64"?: isBase64 = true
    default: throw format.error(expected: #""float" or "base64""#)
    }
    let request = try EmbeddingRequest(&fields, input: "input", truncates: false, core.catalog)
    let found = try await request.embeddings()
    let data = found.vectors.enumerated().map { index, vector -> JSONTree in
      [
        "object": "embedding", "index": .integer(index),
        "embedding": isBase64 ? .string(Self.base64(vector)) : Self.numbers(vector),
      ]
    }
    let count = JSONTree.integer(found.promptTokens)
    return try .json([
      "object": "list", "data": .array(data), "model": .string(request.modelName),
      "usage": ["prompt_tokens": count, "total_tokens": count],
    ])
  }

  private func ollama(_ exchange: Exchange) async throws -> Reply {
    let start = ContinuousClock.now
    var fields = try exchange.json().fields()
    let truncates = try fields["truncate"].ifPresent?.bool() ?? true
    let request = try EmbeddingRequest(&fields, input: "input", truncates: truncates, core.catalog)
    let found = try await request.embeddings()
    return try .json([
      "model": .string(request.modelName), "embeddings": .array(found.vectors.map(Self.numbers)),
      "total_duration": .integer(start.duration(to: .now).nanoseconds), "load_duration": 0,
      "prompt_eval_count": .integer(found.promptTokens),
    ])
  }

  /// What older clients of Ollama ask for: one text, one vector.
  private func oldOllama(_ exchange: Exchange) async throws -> Reply {
    var fields = try exchange.json().fields()
    let request = try EmbeddingRequest(&fields, input: "prompt", truncates: true, core.catalog)
    let found = try await request.embeddings()
    return try .json(["embedding": Self.numbers(found.vectors[0])])
  }

  private static func numbers(_ vector: [Float]) -> JSONTree { .array(vector.map { .number(Double($0)) }) }

  /// The elements as little-endian 32-bit floats in base64.
  private static func base64(_ vector: [Float]) -> String {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(4 * vector.count)
    for value in vector { withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 } }
    return Data(bytes).base64EncodedString()
  }
}

import BitNetTernary
import BitNetInference
package import BitNetRandomModels
package import BitNetModelFiles

/// A small model in Tests/Fixtures, and the results that the oracle computed for it.
package struct Fixture: Sendable, CustomStringConvertible {
  package let name: String

  /// The fixtures that also have logits computed by transformers, in float32 and bfloat16.
  package static let withTransformers = [
    "bitnet-bf16-online-tied", "bitnet-packed-auto-tied", "llama-packed-bitlinear-untied", "old-1bitllm-f32-tied",
  ].map(Fixture.init(name:))
  /// All fixtures. Scripts/make-fixtures.py makes the others.
  package static let all =
    withTransformers + ["llama-online-scaled-tied", "bitnet-packed-divided-mqa"].map(Fixture.init(name:))

  /// Embedding models, which have a norm before each projection. Scripts/make-embedding-fixtures.py makes them and
  /// `llama-normed-yarn`.
  package static let embedding = ["embedding-qwen3", "embedding-gemma3", "embedding-gemma3-bidirectional"].map(
    Fixture.init(name:))
  /// Those of them that there are as GGUF too.
  package static let embeddingGGUF = embedding.dropLast()
  /// A model with norms before projections and YaRN.
  package static let normedLlama = Fixture(name: "llama-normed-yarn")

  package var description: String { name }
  package var ggufPath: String { path + "/model.gguf" }
  package var path: String { Repository.path("Tests/Fixtures/\(name)") }

  package func load() throws -> LoadedModel { try ModelLoader.load(path: path) }

  /// The prompt of `length` tokens: 1, 7, 64 or 200.
  package func prompt(_ length: Int) throws -> [Int32] { try values("ids_\(length)", as: Int32.self) }

  /// The float64 logits of the prompt of `length` tokens (1, 7 or 64), `[length][vocabulary]`.
  package func float64Logits(_ length: Int) throws -> [Double] { try values("f64_\(length)", as: Double.self) }

  /// The float32 logits that transformers computes, for `withTransformers`, `[length][vocabulary]`.
  package func float32Logits(_ length: Int) throws -> [Float] { try values("f32_\(length)", as: Float.self) }

  /// The float64 hidden states of the prompt of `length` tokens (1, 7 or 64), `[length][hidden]`; `isGGUF`: of the
  /// GGUF file, whose scales are rounded and whose prompts differ.
  package func float64Hidden(_ length: Int, isGGUF: Bool = false) throws -> (ids: [Int32], hidden: [Double]) {
    let file = isGGUF ? "expected-gguf" : "expected"
    return (
      try values("ids_\(length)", as: Int32.self, file: file), try values("f64_\(length)", as: Double.self, file: file)
    )
  }

  /// The texts that an embedding model's fixture has vectors for; the last is the first with the prompt of queries.
  package static let texts = [
    "The cat sat on the mat.", "A feline rested upon a rug.", "Quarterly revenue grew by 12 %.",
    "Grüße aus Köln: 日本語 🙂", "ok", String(repeating: "long ", count: 40), "query: The cat sat on the mat.",
  ]

  /// The float64 vector of `texts[index]`, of length 1.
  package func float64Vector(_ index: Int, isGGUF: Bool = false) throws -> [Double] {
    try values("text_\(index)", as: Double.self, file: isGGUF ? "expected-gguf" : "expected")
  }

  private func values<Element>(
    _ name: String, as type: Element.Type, file: String = "expected"
  ) throws -> [Element] {
    let file = try SafetensorsFile(path: "\(path)/\(file).safetensors")
    guard let tensor = file[name] else { throw MissingArray(name: name) }
    return tensor.bytes.withUnsafeBytes { bytes in
      (0..<bytes.count / MemoryLayout<Element>.stride).map {
        bytes.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Element>.stride, as: type)
      }
    }
  }

  private struct MissingArray: Error {
    let name: String
  }
}

/// Paths in the repository from which the tests were compiled.
package enum Repository {
  package static let root = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(
    separator: "/")
  package static func path(_ relative: String) -> String { root + "/" + relative }
}

/// The random number generator of the tests. The same seed repeats a test.
package typealias SeededGenerator = SplitMix64

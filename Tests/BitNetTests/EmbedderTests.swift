import BitNet
import BitNetInference
import BitNetModelFiles
import BitNetTokenization
import Foundation
import TestSupport
import Testing

@Suite("An embedder")
struct EmbedderTests {
  private static let options = LanguageModel.LoadOptions(device: .cpu(.init(threads: 2)))

  /// A vector from hidden states, as numerics.md has it.
  private static func pooled(_ hidden: [Double], width: Int, mean: Bool, count: Int? = nil) -> [Double] {
    let rows = hidden.count / width
    var vector = (0..<width).map { i in
      mean
        ? (0..<rows).reduce(0.0) { $0 + hidden[$1 * width + i] } / Double(rows) : hidden[(rows - 1) * width + i]
    }
    vector.removeLast(width - (count ?? width))
    let length = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
    return vector.map { $0 / length }
  }

  @Test(
    "gives the pooled hidden states of the Float reference, bit for bit, which in Double are those of float64",
    arguments: Fixture.embedding, [false, true])
  func vectors(fixture: Fixture, isGGUF: Bool) async throws {
    guard !isGGUF || Fixture.embeddingGGUF.contains(where: { $0.name == fixture.name }) else { return }
    let path = isGGUF ? fixture.ggufPath : fixture.path
    let embedder = try await Embedder.load(path, options: Self.options)
    let weights = try ModelLoader.load(path: path).weights
    let mean = fixture.name.hasSuffix("bidirectional")
    let found = try await embedder.embed(Fixture.texts)
    let (double, float) = (
      ReferenceEngine(weights: weights, precision: .double), ReferenceEngine(weights: weights, precision: .float)
    )
    for (index, text) in Fixture.texts.enumerated() {
      let tokens = embedder.tokens(of: text)
      #expect(tokens == text.utf8.map { Int32($0) } + [256])
      let exact = try Self.pooled(double.hiddenStates(tokens), width: embedder.dimension, mean: mean)
      let expected = try fixture.float64Vector(index, isGGUF: isGGUF)
      let distance = zip(exact, expected).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
      #expect(distance < 1e-9, "text \(index)")
      let own = try Self.pooled(float.hiddenStates(tokens), width: embedder.dimension, mean: mean).map { Float($0) }
      let same = identical(found[index], own)
      #expect(same, "text \(index)")
      let cosine = zip(found[index], expected).reduce(0) { $0 + Double($1.0) * $1.1 }
      #expect(cosine > 0.98, "text \(index)")
    }
  }

  @Test("gives the same from a converted file and from our own GGUF file", arguments: Fixture.embedding)
  func conversions(fixture: Fixture) async throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "bitnet-embed-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let embedder = try await Embedder.load(fixture.path, options: Self.options)
    let expected = try await embedder.embed(Fixture.texts)
    for (name, type) in [("model.safetensors", GGUFTernaryType.i2_S), ("model.gguf", .i2_S)] {
      let output = folder.appending(path: name).path
      try ModelConverter.convert(from: fixture.path, to: output, type: type) { source in
        try source.map { try Tokenizer($0).serialized() }
      }
      let converted = try await Embedder.load(output, options: Self.options)
      #expect(converted.prompts == ["query": "query: ", "document": ""])
      #expect(try await converted.embed(Fixture.texts) == expected, "\(name)")
    }
  }

  @Test("puts prompts before texts, and keeps the first dimensions at length 1")
  func promptsAndDimensions() async throws {
    let embedder = try await Embedder.load(Fixture.embedding[0].path, options: Self.options)
    let whole = try await embedder.embed([Fixture.texts[0], Fixture.texts[6]])
    let prompted = try await embedder.embed([Fixture.texts[0]], prompt: embedder.prompts["query"])
    #expect(prompted == [whole[1]] && whole[0] != whole[1])
    let short = try await embedder.embed([Fixture.texts[0]], dimensions: 16)[0]
    let scale = whole[0].prefix(16).reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    #expect(short.count == 16)
    #expect(zip(short, whole[0]).allSatisfy { abs(Double($0.0) - Double($0.1) / scale) < 1e-6 })
    let counted = try await embedder.embeddings(of: ["ab", "c"], prompt: "x")
    #expect(counted.tokenCounts == [4, 3] && counted.promptTokens == 7)
    let ofTokens = try await embedder.embeddings(ofTokens: [embedder.tokens(of: "ab")])
    #expect(try await ofTokens.vectors == embedder.embed(["ab"]))
    #expect(try await embedder.embed([]).isEmpty)
  }

  @Test("gives each text its own vector, however many tasks ask at a time")
  func concurrency() async throws {
    let embedder = try await Embedder.load(Fixture.embedding[2].path, options: Self.options)
    let texts = (0..<24).map { String(repeating: "word \($0) ", count: $0 % 7 + 1) }
    let expected = try await embedder.embed(texts)
    try await withThrowingTaskGroup(of: (Int, [Float]).self) { group in
      for (index, text) in texts.enumerated() {
        group.addTask { (index, try await embedder.embed([text])[0]) }
      }
      for try await (index, vector) in group { #expect(vector == expected[index]) }
    }
    let task = Task { try await embedder.embed(texts) }
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
  }

  @Test("refuses what it cannot do, in one sentence")
  func refusals() async throws {
    let options = LanguageModel.LoadOptions(device: .cpu(.init(threads: 1)), contextLength: 8)
    let embedder = try await Embedder.load(Fixture.embedding[0].path, options: options)
    func refusal(_ body: () async throws -> Void) async -> String? {
      do { try await body() } catch { return "\(error)" }
      return nil
    }
    let generator = try await LanguageModel.load(Fixture.embedding[0].path, options: options)
    #expect(generator.warning?.contains("for embedding") == true)
    #expect(
      await refusal { _ = try await embedder.embed(["ok", "far too long"]) }
        == "text 2 is 13 tokens long; expected 1 to 8, the context; shorten or divide it")
    #expect(
      await refusal { _ = try await embedder.embed(["ok"], dimensions: 65) }
        == "the number of dimensions is 65; expected 1 to 64")
    #expect(
      await refusal { _ = try await embedder.embeddings(ofTokens: [[257]]) }
        == "token id 257 is out of range; expected 0 to 256")
  }
}

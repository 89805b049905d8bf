import BitNetInference
import BitNetModelFiles
import BitNetTernary
import ModelFilesSupport
import TestSupport
import Testing

@Suite("The digest of a model")
struct ModelDigestTests {
  @Test("is the same for a folder, a converted file and a GGUF file, and the one that the converter states")
  func formats() throws {
    var ggufs = 0
    for fixture in Fixture.all {
      let folder = try TemporaryFolder()
      let loaded = try fixture.load()
      let expected = ModelDigest(loaded.weights, tokenizer: "text")
      #expect(loaded.storedDigest == nil && loaded.identity != nil)
      try ModelConverter.convert(from: fixture.path, to: folder("a.safetensors"), tokenizer: { _ in "text" })
      let converted = try ModelLoader.load(path: folder("a.safetensors"))
      #expect(converted.storedDigest == expected)
      #expect(ModelDigest(converted.weights, tokenizer: "text") == expected)
      // Some fixtures have rows that are no multiple of a block of this type.
      do {
        _ = try ModelConverter.convert(from: fixture.path, to: folder("b.gguf"), type: .i2_S)
      } catch {
        continue
      }
      ggufs += 1
      let gguf = try ModelLoader.load(path: folder("b.gguf"))
      #expect(ModelDigest(gguf.weights, tokenizer: "text") == expected)
      try ModelConverter.convert(from: folder("b.gguf"), to: folder("c.safetensors"))
      let again = try ModelLoader.load(path: folder("c.safetensors"))
      #expect(again.storedDigest == ModelDigest(loaded.weights, tokenizer: nil))
      #expect(try ModelLoader.digestOnHand(path: folder("c.safetensors")).stored == again.storedDigest)
    }
    #expect(ggufs > 0)
  }

  @Test("states the tokenizer's text too")
  func tokenizer() throws {
    let folder = try TemporaryFolder()
    try TinyModel().write(to: folder)
    try folder.write("tokenizer.json", Array("{}".utf8))
    try ModelConverter.convert(from: folder.path, to: folder("out"), tokenizer: { _ in "some text" })
    let model = try ModelLoader.load(path: folder("out"))
    #expect(model.storedDigest == ModelDigest(model.weights, tokenizer: "some text"))
    #expect(model.storedDigest != ModelDigest(model.weights, tokenizer: "other text"))
    #expect(model.storedDigest != ModelDigest(model.weights, tokenizer: nil))
  }

  @Test("changes with every code, scale, norm, table and field that tokens depend on, and with no other")
  func changes() throws {
    let weights = try Fixture.all[2].load().weights
    let base = ModelDigest(weights, tokenizer: nil)
    var found: Set<String> = [base.description]
    func expectNew(_ changed: ModelWeights, _ what: String) {
      #expect(found.insert(ModelDigest(changed, tokenizer: nil).description).inserted, "\(what)")
    }
    func with(
      _ configuration: ModelConfiguration? = nil, embedding: EmbeddingTable? = nil, norm: [Float]? = nil,
      head: EmbeddingTable? = nil, layers change: (inout [LayerWeights]) -> Void = { _ in }
    ) throws -> ModelWeights {
      var layers = weights.layers
      change(&layers)
      let c = configuration ?? weights.configuration
      return try ModelWeights(
        configuration: c, embedding: embedding ?? weights.embedding, layers: layers,
        finalNorm: norm ?? weights.finalNorm, head: c.tiedEmbedding ? nil : head ?? weights.head)
    }
    for role in MatrixRole.allCases {
      let matrix = weights.layers[1][role]
      let tiles = AlignedBuffer(count: matrix.tiles.count)
      matrix.tiles.withUnsafeBytes { tiles.bytes.copyMemory(from: $0) }
      tiles.bytes[tiles.bytes.count / 2] ^= 2
      expectNew(try with { $0[1][role].replaceTiles(with: tiles.shared) }, "a code of \(role)")
      let scales = matrix.parts.map { $0.scale.nextUp }
      let scaled = try TernaryMatrix(
        rows: matrix.parts.map(\.rows), columns: matrix.columns, scales: scales, tiles: matrix.tiles)
      expectNew(try with { $0[1][role] = scaled }, "a scale of \(role)")
    }
    for (role, _) in weights.configuration.norms {
      expectNew(try with { $0[0][role]![3] = $0[0][role]![3].nextUp }, "a weight of \(role)")
    }
    var norm = weights.finalNorm
    norm[0] = norm[0].nextUp
    expectNew(try with(norm: norm), "the final norm")
    for (name, table) in [("embedding", weights.embedding), ("head", weights.head)] {
      let bytes = AlignedBuffer(count: table.bytes.count)
      table.bytes.withUnsafeBytes { bytes.bytes.copyMemory(from: $0) }
      bytes.bytes[bytes.bytes.count - 2] ^= 1
      let changed = try EmbeddingTable(name: name, rows: table.rows, columns: table.columns, bytes: bytes.shared)
      expectNew(try name == "head" ? with(head: changed) : with(embedding: changed), name)
    }
    var c = weights.configuration
    c.normEpsilon = c.normEpsilon.nextUp
    expectNew(try with(c), "the norms' epsilon")
    c = weights.configuration
    c.ropeTheta += 1
    expectNew(try with(c), "theta")
    c = weights.configuration
    c.activation = c.activation == .silu ? .squaredReLU : .silu
    expectNew(try with(c), "the activation")
    c = weights.configuration
    c.attention = [.init(window: 5)]
    expectNew(try with(c), "the attention")
    c = weights.configuration
    (c.architecture, c.contextLength, c.endTokens, c.beginToken) = ("other", 7, [1, 2], 3)
    c.attention = [.causal, .causal]
    #expect(ModelDigest(try with(c), tokenizer: nil) == base)
  }

  @Test("is read only as 64 hexadecimal digits")
  func text() {
    let digits = String(repeating: "0a", count: 32)
    #expect(ModelDigest(digits)?.description == digits)
    for wrong in ["", String(digits.dropLast()), digits + "0", digits.uppercased(), String(digits.dropLast()) + "g"] {
      #expect(ModelDigest(wrong) == nil)
    }
  }

  @Test("has an identity of its files that changes when one is written to")
  func identity() throws {
    let folder = try TemporaryFolder()
    try TinyModel().write(to: folder)
    let before = try ModelLoader.digestOnHand(path: folder.path).identity
    #expect(try before != nil && before == ModelLoader.digestOnHand(path: folder.path).identity)
    try folder.write("tokenizer.json", Array("{}".utf8))
    #expect(try before != ModelLoader.digestOnHand(path: folder.path).identity)
  }
}

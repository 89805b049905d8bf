import BitNetInference
import BitNetModelFiles
import BitNetTernary
import ModelFilesSupport
import TestSupport
import Testing

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

@Suite("GGUF models")
struct GGUFModelTests {
  func load(_ change: (inout TinyGGUF) -> Void = { _ in }, options: LoadOptions = LoadOptions()) throws -> LoadedModel {
    var tiny = TinyGGUF()
    change(&tiny)
    return try tiny.load(options: options)
  }

  func refuse(
    _ subject: String, _ finding: String, expected: String = "", sourceLocation: SourceLocation = #_sourceLocation,
    _ change: (inout TinyGGUF) -> Void
  ) {
    expectRefusal(subject, finding, expected: expected, sourceLocation: sourceLocation) { _ = try load(change) }
  }

  // MARK: - Weights

  /// The codes of the stacked q, k and v.
  func heads(_ tiny: TinyGGUF, _ loaded: LoadedModel) -> [[Int8]] {
    let matrix = loaded.weights.layers[0][.queryKeyValue]
    return (0..<3).map { matrix.codes(ofPart: $0) }
  }

  @Test(arguments: TinyGGUF.Storage.allCases)
  func holdsTheCodesOfEveryType(_ storage: TinyGGUF.Storage) throws {
    let tiny = TinyGGUF(storage)
    let options = LoadOptions(i2sBlock: storage == .i2sARM ? .arm : .x86)
    let loaded = try tiny.load(options: options)
    let layer = loaded.weights.layers[0]
    let names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    let parts = MatrixRole.allCases.flatMap { role in
      layer[role].parts.indices.map { (layer[role].codes(ofPart: $0), layer[role].parts[$0].scale) }
    }
    for (name, part) in zip(names, parts) {
      #expect(part.0 == tiny.codes["blk.0.\(name).weight"], "\(name)")
      #expect(part.1 == Double(TinyGGUF.scale))
    }
  }

  @Test func llamaStoresHeadsWithInterleavedHalves() throws {
    let tiny = TinyGGUF(architecture: "llama")
    let loaded = try tiny.load()
    let found = heads(tiny, loaded)
    for (number, name) in ["attn_q", "attn_k"].enumerated() {
      let stored = try #require(tiny.codes["blk.0.\(name).weight"])
      for row in 0..<tiny.shapes["blk.0.\(name).weight"]!.rows {
        let (head, within) = (row / tiny.headSize, row % tiny.headSize)
        // Row (half, i) of a head is stored as row (i, half).
        let source = head * tiny.headSize + within % (tiny.headSize / 2) * 2 + within / (tiny.headSize / 2)
        #expect(
          found[number][row * tiny.hidden..<(row + 1) * tiny.hidden]
            == stored[source * tiny.hidden..<(source + 1) * tiny.hidden])
      }
    }
    #expect(found[2] == tiny.codes["blk.0.attn_v.weight"])
    #expect(loaded.weights.configuration.activation == .silu)
    #expect(!loaded.weights.configuration.hasSubNorms)
  }

  @Test func aFactorMultipliesTheScale() throws {
    let loaded = try load {
      $0.builder.tensors.append(.init("blk.0.attn_k.scale", [1], type: 0, bytes: littleEndian(Float(4).bitPattern)))
    }
    #expect(loaded.weights.layers[0][.queryKeyValue].parts.map(\.scale) == [0.75, 3, 0.75])
    refuse("tensor blk.0.attn_k.scale", "is 0.0") {
      $0.builder.tensors.append(.init("blk.0.attn_k.scale", [1], type: 0, bytes: [0, 0, 0, 0]))
    }
  }

  @Test func quantisedTablesAreThoseOfOthers() throws {
    let fixture = try SafetensorsFile(path: fixture("blocks/quantised.safetensors"))
    for (name, number) in [("Q8_0", UInt32(8)), ("Q4_0", 2), ("Q4_K", 12), ("Q6_K", 14)] {
      let blocks = try #require(fixture[name]?.bytes.withUnsafeBytes { Array($0) })
      let values = try #require(fixture[name + ".values"]).floats()
      // A model whose embedding is these blocks, in rows of the hidden size.
      var tiny = TinyGGUF(.tq2)
      let index = try #require(tiny.builder.tensor("token_embd.weight"))
      let rows = values.count / tiny.hidden
      tiny.builder.tensors[index] = .init(
        "token_embd.weight", [UInt64(tiny.hidden), UInt64(rows)], type: number, bytes: blocks)
      let table = try tiny.load().weights.embedding.bytes.withUnsafeBytes { raw in
        (0..<rows * tiny.hidden).map { raw.loadUnaligned(fromByteOffset: 2 * $0, as: UInt16.self) }
      }
      #expect(table == values.map(\.bfloat16Bits), "\(name)")
    }
  }

  @Test func blocksOfOtherScalesAreRefused() {
    expectRefusal("tensor blk.0.ffn_up.weight", "blocks of different scales", expected: "not supported yet") {
      var tiny = TinyGGUF(.tq2)
      let index = tiny.builder.tensor("blk.0.ffn_up.weight")!
      tiny.builder.tensors[index].bytes[66 * 5 + 65] ^= 1
      _ = try tiny.load()
    }
  }

  @Test func otherTypesAreRefusedByName() {
    func type(_ number: UInt32, bytes: Int) -> (inout TinyGGUF) -> Void {
      {
        let index = $0.builder.tensor("blk.0.attn_q.weight")!
        $0.builder.tensors[index].type = number
        $0.builder.tensors[index].bytes = [UInt8](repeating: 0, count: bytes)
      }
    }
    let weight = "tensor blk.0.attn_q.weight"
    refuse(weight, "has type TL1: its tile sizes", expected: "I2_S, TQ1_0 or TQ2_0", type(38, bytes: 800))
    refuse(weight, "has type TL2: its tile sizes", type(39, bytes: 800))
    refuse(weight, "has type MXFP4", type(39, bytes: 1024 / 32 * 17))
    refuse(weight, "has type F16: plain weights", type(1, bytes: 2048))
    refuse(weight, "has type Q8_0", type(8, bytes: 1024 / 32 * 34))
    refuse("tensor token_embd.weight", "has dtype I32", expected: "Q6_K") {
      $0.builder.tensors[0].type = 26
    }
  }

  @Test func missingAndUnknownTensorsAreRefused() {
    refuse("tensor blk.0.attn_sub_norm.weight", "is missing") {
      $0.builder.tensors.remove(at: $0.builder.tensor("blk.0.attn_sub_norm.weight")!)
    }
    refuse("tensor blk.0.attn_q.bias", "has no place in this architecture") {
      $0.builder.tensors.append(.init("blk.0.attn_q.bias", [1], type: 0, bytes: [0, 0, 0, 0]))
    }
    refuse("tensor blk.0.ffn_up.weight", "has shape", expected: "[64, 32]") {
      $0.builder.tensors[$0.builder.tensor("blk.0.ffn_up.weight")!].extents = [64, 32]
    }
    refuse("tensor blk.0.ffn_up.weight", "has the scale nan") {
      let index = $0.builder.tensor("blk.0.ffn_up.weight")!
      $0.builder.tensors[index].bytes.replaceSubrange(512..<516, with: littleEndian(Float.nan.bitPattern))
    }
    refuse("tensor blk.0.ffn_up.weight", "holds the code 3 in row 0") {
      $0.builder.tensors[$0.builder.tensor("blk.0.ffn_up.weight")!].bytes[0] = 0xC0
    }
  }

  // MARK: - Metadata

  @Test func theMetadataIsTheConfiguration() throws {
    let model = try load {
      $0.builder["general.sampling.temp"] = .f32(0.6)
      $0.builder["general.sampling.top_k"] = .i32(40)
      $0.builder["tokenizer.chat_template"] = .string("{{ x }}")
    }
    let configuration = model.weights.configuration
    #expect(configuration.architecture == "bitnet-b1.58")
    #expect(configuration.normEpsilon == 1e-5)
    #expect(configuration.ropeTheta == 1_000_042)
    #expect(configuration.headSize == 16 && configuration.keyValueHeadCount == 1)
    #expect(configuration.vocabularySize == 9 && configuration.tiedEmbedding)
    #expect(configuration.beginToken == 1 && configuration.endTokens == [2, 3])
    #expect(configuration.activation == .squaredReLU && configuration.hasSubNorms)
    #expect(model.generation == GenerationDefaults(temperature: 0.6, topK: 40))
    #expect(model.chatTemplate == "{{ x }}")
    #expect(model.tokenizer == nil)
    #expect(model.format == .gguf)
  }

  @Test func unusableMetadataIsRefused() {
    refuse("key general.architecture", "is qwen35", expected: "Gated DeltaNet layers are not supported") {
      $0.builder["general.architecture"] = .string("qwen35")
    }
    refuse("key general.architecture", "is missing") { $0.builder["general.architecture"] = nil }
    refuse("key bitnet-b1.58.block_count", "is missing") { $0.builder["bitnet-b1.58.block_count"] = nil }
    refuse("key bitnet-b1.58.attention.head_count", "is 0") {
      $0.builder["bitnet-b1.58.attention.head_count"] = .u32(0)
    }
    refuse("key bitnet-b1.58.rope.dimension_count", "is 8", expected: "16") {
      $0.builder["bitnet-b1.58.rope.dimension_count"] = .u32(8)
    }
    refuse("key bitnet-b1.58.rope.scaling.type", "is longrope") {
      $0.builder["bitnet-b1.58.rope.scaling.type"] = .string("longrope")
    }
    refuse("key bitnet-b1.58.rope.scaling.factor", "is missing") {
      $0.builder["bitnet-b1.58.rope.scaling.type"] = .string("yarn")
    }
    refuse("key bitnet-b1.58.expert_count", "is 8") { $0.builder["bitnet-b1.58.expert_count"] = .u32(8) }
    refuse("num_hidden_layers", "is 0") { $0.builder["bitnet-b1.58.block_count"] = .u32(0) }
    refuse("bos_token_id or eos_token_id", "is 9") { $0.builder["tokenizer.ggml.eos_token_id"] = .u32(9) }
    refuse("key tokenizer.ggml.eos_token_id", "is 4294967295") {
      $0.builder["tokenizer.ggml.eos_token_id"] = .u32(.max)
    }
    refuse("key bitnet-b1.58.vocab_size", "is 0", expected: "9") { $0.builder["bitnet-b1.58.vocab_size"] = .u32(0) }
    refuse("key split.count", "is -3") { $0.builder["split.count"] = .i32(-3) }
    refuse("key split.no", "is 2", expected: "0") { $0.builder["split.no"] = .u32(2) }
    refuse("key split.tensors.count", "is 4") { $0.builder["split.tensors.count"] = .i32(4) }
    refuse("key tokenizer.ggml.tokens", "holds 10 tokens", expected: "at most 9") {
      $0.builder["tokenizer.ggml.tokens"] = .strings((0..<10).map { "\($0)" })
    }
    refuse("key swift-bitnet.scales", "holds 1 numbers", expected: "7") {
      $0.builder["swift-bitnet.scales"] = .doubles([1])
    }
    refuse("tensor blk.0.attn_q.weight", "has the scale 0.75", expected: "0.5 rounded") {
      $0.builder["swift-bitnet.scales"] = .doubles([Double](repeating: 0.5, count: 7))
    }
  }

  @Test func aLlamaScalingIsRecognisedByItsDivisors() throws {
    var model = try TinyGGUF(architecture: "llama").load().weights.configuration
    let scaling = ModelConfiguration.RotaryScaling(
      factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContextLength: 8192)
    model.ropeScaling = scaling
    var plain = model
    plain.ropeScaling = nil
    var divisors = zip(RotaryTable.frequencies(plain), RotaryTable.frequencies(model)).map { $0 / $1 }
    #expect(divisors.contains { $0 > 1 && $0 < 8 })
    func load() throws -> ModelConfiguration.RotaryScaling? {
      var tiny = TinyGGUF(architecture: "llama")
      tiny.builder.tensors.append(
        .init(
          "rope_freqs.weight", [UInt64(divisors.count)], type: 0,
          bytes: divisors.flatMap { littleEndian($0.bitPattern) }))
      return try tiny.load().weights.configuration.ropeScaling
    }
    #expect(try load() == scaling)
    divisors[2] *= 1.5
    expectRefusal("tensor rope_freqs.weight", "not those of Llama 3.1") { _ = try load() }
    divisors = divisors.map { _ in 1 }
    #expect(try load() == nil)
  }

  // MARK: - Round trips

  @Test("The type is the one that other programs of the architecture read, unless it is given")
  func theTypeFitsTheArchitecture() throws {
    let folder = try TemporaryFolder()
    func type(of name: String) throws -> TensorType? {
      try ModelConverter.convert(from: fixture(name), to: folder("a.gguf"), overwrite: true)
      return try GGUFFile(path: folder("a.gguf")).header["blk.0.ffn_up.weight"]?.type
    }
    #expect(try type(of: "bitnet-packed-auto-tied") == .i2_S)
    #expect(try type(of: "llama-packed-bitlinear-untied") == .tq2_0)
  }

  @Test(arguments: Fixture.all, GGUFTernaryType.allCases)
  func aConvertedModelComesBackBitForBit(_ fixture: Fixture, _ type: GGUFTernaryType) throws {
    let folder = try TemporaryFolder()
    let before = try fixture.load().weights
    guard type == .i2_S || before.configuration.hiddenSize % 256 == 0 else {
      expectRefusal("the q, k, v matrix", "has 128 columns", expected: "a multiple of 256") {
        try ModelConverter.convert(from: fixture.path, to: folder("a.gguf"), type: type)
      }
      return
    }
    try ModelConverter.convert(from: fixture.path, to: folder("a.gguf"), type: type, tokenizer: { _ in "tokens" })
    let loaded = try ModelLoader.load(path: folder("a.gguf"))
    #expect(loaded.tokenizer == .serialized("tokens"))
    #expect(WeightBits(loaded.weights, architecture: "") == WeightBits(before, architecture: ""))
    // Through the converted form, and back.
    try ModelConverter.convert(from: folder("a.gguf"), to: folder("b.safetensors"))
    try ModelConverter.convert(from: folder("b.safetensors"), to: folder("c.gguf"), type: .i2_S)
    let again = try ModelLoader.load(path: folder("c.gguf"))
    #expect(WeightBits(again.weights, architecture: "") == WeightBits(before, architecture: ""))
  }

  enum Oracle {
    static let folder: String? = {
      let environment = ProcessInfo.processInfo.environment
      let folders = [
        environment["BITNET_ORACLE"], Repository.path("../shared/oracle"), Repository.path("../../shared/oracle"),
      ]
      return folders.compactMap { $0.map { $0 + "/fixtures/gguf-i2s" } }
        .first { FileManager.default.fileExists(atPath: $0) }
    }()
  }

  @Test(
    .enabled(if: Oracle.folder != nil, "the oracle's folder is not there; set BITNET_ORACLE to it"),
    arguments: [("ggml-model-i2_s.gguf", TilePacker.I2SBlock.x86), ("ggml-model-i2_s-arm.gguf", .arm)])
  func filesOfOthersHaveTheWeightsOfTheFolder(_ name: String, _ block: TilePacker.I2SBlock) throws {
    let path = try #require(Oracle.folder) + "/" + name
    let loaded = try ModelLoader.load(path: path, options: LoadOptions(i2sBlock: block)).weights
    let folder = try ModelLoader.load(path: fixture("bitnet-packed-auto-tied")).weights
    var (found, expected) = (WeightBits(loaded, architecture: ""), WeightBits(folder, architecture: ""))
    // The file has the embedding in half precision, in which one value has fewer bits.
    let different = zip(found.tables[0], expected.tables[0]).count { $0 != $1 }
    #expect(different <= 2 && found.tables[0].count == expected.tables[0].count)
    (found.tables, expected.tables) = ([], [])
    #expect(found == expected)
  }

  @Test func inspectionKnowsTheTypes() throws {
    let folder = try TemporaryFolder()
    let path = try folder.write("a.gguf", TinyGGUF().builder.file())
    let found = try ModelInspection(path: path, verify: true)
    #expect(found.format == .gguf)
    #expect(found.storage == "I2_S, blocks of 128")
    #expect(found.bitsPerTernaryWeight == 2)
    #expect(found.scales == .some(ModelInspection.Scales(count: 7, smallest: 0.75, largest: 0.75)))
    #expect(found.bytes.total + found.scaleBytes + found.otherBytes == found.files[0].byteCount)
    #expect(found.codesVerified)
  }

  @Test func itsOwnSourceIsNotOverwritten() throws {
    let folder = try TemporaryFolder()
    let path = try folder.write("a.gguf", TinyGGUF().builder.file())
    expectRefusal("the file", "is the model that is being converted") {
      try ModelConverter.convert(from: path, to: path, overwrite: true, type: .i2_S)
    }
  }
}

extension WeightBits {
  /// The bits of weights under another architecture's name.
  init(_ weights: ModelWeights, architecture: String) {
    self.init(weights)
    configuration.architecture = architecture
  }
}

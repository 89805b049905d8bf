import BitNetInference
import BitNetModelFiles
import Foundation
import ModelFilesSupport
import TestSupport
import Testing

@Suite("The files of an embedding model")
struct EmbeddingConfigurationTests {
  private static let modules = """
    [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
     {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    """

  /// The configuration of a tiny model with these files beside it.
  private func embedding(_ files: [String: String]) throws -> EmbeddingConfiguration? {
    let folder = try TemporaryFolder()
    try TinyModel().write(to: folder)
    try FileManager.default.createDirectory(atPath: folder("1_Pooling"), withIntermediateDirectories: true)
    for (name, text) in files { try folder.write(name, Array(text.utf8)) }
    return try ModelLoader.load(path: folder.path).embedding
  }

  @Test("say how hidden states become a vector, and which prompts there are")
  func readsFolders() throws {
    #expect(try embedding([:]) == nil)
    let pooling = "1_Pooling/config.json"
    #expect(
      try embedding(["modules.json": Self.modules, pooling: #"{"pooling_mode_mean_tokens": true}"#])
        == EmbeddingConfiguration(pooling: .mean, isNormalized: false))
    #expect(
      try embedding(["modules.json": Self.modules, pooling: #"{"pooling_mode": "cls", "include_prompt": false}"#])
        == EmbeddingConfiguration(pooling: .firstToken, includesPrompt: false, isNormalized: false))
    let loaded = try ModelLoader.load(path: Fixture.embedding[0].path).embedding
    #expect(loaded == EmbeddingConfiguration(prompts: ["query": "query: ", "document": ""]))
  }

  @Test("are refused by name where they ask for something else")
  func refusals() throws {
    let pooling = "1_Pooling/config.json"
    func refuse(
      _ subject: String, _ finding: String, modules: String = Self.modules, _ files: [String: String] = [:]
    ) {
      expectRefusal(subject, finding) {
        _ = try embedding(files.merging(["modules.json": modules]) { $1 })
      }
    }
    refuse("the file", "is missing")
    refuse("the pooling", "is missing", [pooling: "{}"])
    refuse("the pooling", "is pooling_mode_max_tokens", [pooling: #"{"pooling_mode_max_tokens": true}"#])
    refuse(
      "the pooling", "is pooling_mode_lasttoken and pooling_mode_mean_tokens",
      [pooling: #"{"pooling_mode_mean_tokens": true, "pooling_mode_lasttoken": true}"#])
    refuse("type", "is a.Dense", modules: #"[{"path": "2_Dense", "type": "a.Dense"}]"#)
    refuse("path", "is \"../other\"", modules: #"[{"path": "../other", "type": "a.Pooling"}]"#)
    refuse("path", "is \"..\"", modules: #"[{"path": "..", "type": "a.Pooling"}]"#)
    refuse("the list", "has no Pooling", modules: "[]")
    refuse(
      "default_prompt_name", "is query",
      [
        pooling: #"{"pooling_mode_mean_tokens": true}"#,
        "config_sentence_transformers.json": #"{"prompts": {}, "default_prompt_name": "query"}"#,
      ])
  }

  @Test("and everything else of the model stay the same in converted files and in GGUF", arguments: Fixture.embedding)
  func conversions(fixture: Fixture) throws {
    let folder = try TemporaryFolder()
    let loaded = try fixture.load()
    for name in ["model.safetensors", "model.gguf"] {
      try ModelConverter.convert(from: fixture.path, to: folder(name), type: .i2_S)
      let again = try ModelLoader.load(path: folder(name))
      var bits = WeightBits(again.weights)
      // GGUF has names of its own.
      bits.configuration.architecture = loaded.weights.configuration.architecture
      #expect(bits.configuration == loaded.weights.configuration, "\(name)")
      let same = bits == WeightBits(loaded.weights)
      #expect(same, "\(name)")
      #expect(again.embedding == loaded.embedding, "\(name)")
      #expect(try ModelInspection(path: folder(name)).embedding == loaded.embedding)
    }
  }

  @Test("use_rms_norm and YaRN stay in a converted file, and GGUF has no place for such norms")
  func normedLlama() throws {
    let folder = try TemporaryFolder()
    let loaded = try Fixture.normedLlama.load().weights
    try ModelConverter.convert(from: Fixture.normedLlama.path, to: folder("model.safetensors"))
    let again = try ModelLoader.load(path: folder("model.safetensors")).weights
    #expect(WeightBits(again) == WeightBits(loaded) && again.configuration == loaded.configuration)
    expectRefusal("the architecture", "is LlamaForCausalLM") {
      try ModelConverter.convert(from: Fixture.normedLlama.path, to: folder("model.gguf"))
    }
  }

  @Test("of Gemma 3 give windows, bases and scales")
  func gemma() throws {
    let causal = try Fixture.embedding[1].load().weights.configuration
    let local = ModelConfiguration.Attention(window: 24, ropeTheta: 10000)
    #expect(causal.attention == [local, local, .causal])
    #expect(causal.embeddingScale == 8 && causal.attentionScale == 1 / 48.0.squareRoot())
    #expect(causal.activation == .geluTanh && causal.tiedEmbedding)
    let both = try Fixture.embedding[2].load().weights.configuration
    let wide = ModelConfiguration.Attention(window: 13, isBidirectional: true, ropeTheta: 10000)
    #expect(both.attention == [wide, .init(isBidirectional: true), wide])
    let gguf = try ModelLoader.load(path: Fixture.embedding[1].ggufPath).weights.configuration
    #expect(gguf.attention == [.init(window: 512, ropeTheta: 10000)])
    #expect(gguf.optionalNorms == causal.optionalNorms && gguf.attentionScale == nil)
  }

  @Test("A plain Qwen 3 is refused")
  func plain() throws {
    var tiny = TinyModel()
    tiny.config["architectures"] = "[\"Qwen3ForCausalLM\"]"
    tiny.config["hidden_act"] = "\"silu\""
    tiny.config["quantization_config"] = nil
    let folder = try TemporaryFolder()
    try tiny.write(to: folder)
    expectRefusal("quantization_config", "this is not a BitNet model") { _ = try ModelLoader.load(path: folder.path) }
  }
}

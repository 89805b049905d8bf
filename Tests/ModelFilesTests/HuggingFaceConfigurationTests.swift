import BitNetInference
import BitNetModelFiles
import ModelFilesSupport
import Testing

@Suite("config.json")
struct HuggingFaceConfigurationTests {
  /// The tiny model's configuration with members replaced, or removed where the value is nil.
  func configuration(_ changes: [String: String?] = [:], generation: String? = nil) throws -> HuggingFaceConfiguration {
    var members = TinyModel().config
    for (name, value) in changes { members[name] = value }
    return try HuggingFaceConfiguration(
      config: shared(TinyModel.object(members)),
      generation: generation.map { try GenerationConfiguration(json: shared($0), file: "generation_config.json") },
      file: "config.json")
  }

  let llama: [String: String?] = [
    "architectures": "[\"LlamaForCausalLM\"]", "model_type": "\"llama\"", "hidden_act": "\"silu\"",
    "quantization_config": "{\"quant_method\":\"bitnet\",\"modules_to_not_convert\":null}",
  ]
  let old: [String: String?] = [
    "architectures": "[\"BitnetForCausalLM\"]", "model_type": "\"llama\"", "hidden_act": "\"silu\"",
    "quantization_config": nil, "weight_bits": "1", "input_bits": "8",
  ]

  @Test func bitNet() throws {
    let found = try configuration()
    #expect(found.scaleMeaning == .multiply)
    #expect(
      found.model
        == ModelConfiguration(
          architecture: "BitNetForCausalLM", vocabularySize: 21, hiddenSize: 24, feedForwardSize: 40, layerCount: 2,
          headCount: 2,
          keyValueHeadCount: 1, headSize: 6, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 10000,
          activation: .squaredReLU,
          optionalNorms: .subNorms, tiedEmbedding: true, beginToken: 1, endTokens: [2]))
  }

  @Test func llamaWithBitLinear() throws {
    let found = try configuration(llama)
    #expect(found.scaleMeaning == .divide)
    #expect(!found.model.hasSubNorms)
    #expect(found.model.activation == .silu)
  }

  @Test func oldMasters() throws {
    let found = try configuration(old)
    #expect(found.scaleMeaning == nil)
    #expect(found.model.hasSubNorms)
    expectRefusal("weight_bits", "is 2", expected: "1") {
      _ = try configuration(old.merging(["weight_bits": "2"]) { $1 })
    }
    expectRefusal("input_bits", "is 4", expected: "8") {
      _ = try configuration(old.merging(["input_bits": "4"]) { $1 })
    }
  }

  /// The sizes of published models: layers, hidden, feed-forward, heads, key/value heads, head size, vocabulary, theta.
  @Test(arguments: [
    ("1bitLLM/bitnet_b1_58-large", "old", [24, 1536, 4096, 16, 16, 96, 32002], 10000.0),
    ("1bitLLM/bitnet_b1_58-3B", "old", [26, 3200, 8640, 32, 32, 100, 32002], 10000),
    ("HF1BitLLM/Llama3-8B-1.58-100B-tokens", "llama", [32, 4096, 14336, 32, 8, 128, 128256], 500000),
    ("tiiuae/Falcon3-1B-1.58bit", "llama", [18, 2048, 8192, 8, 4, 256, 131072], 1_000_042),
    ("tiiuae/Falcon3-10B-1.58bit", "llama", [40, 3072, 23040, 12, 4, 256, 131072], 1_000_042),
  ])
  func publishedShapes(_ name: String, _ kind: String, _ sizes: [Int], _ theta: Double) throws {
    let isOld = kind == "old"
    var changes: [String: String?] = [
      "num_hidden_layers": "\(sizes[0])", "hidden_size": "\(sizes[1])", "intermediate_size": "\(sizes[2])",
      "num_attention_heads": "\(sizes[3])", "num_key_value_heads": "\(sizes[4])", "vocab_size": "\(sizes[6])",
      "rope_theta": "\(theta)", "tie_word_embeddings": isOld ? "true" : "false",
    ]
    // The older files have no head_dim.
    changes["head_dim"] = sizes[1] / sizes[3] == sizes[5] ? .some(nil) : "\(sizes[5])"
    let found = try configuration((isOld ? old : llama).merging(changes) { $1 })
    let model = found.model
    #expect(found.scaleMeaning == (isOld ? nil : .divide))
    #expect(model.hasSubNorms == isOld && model.tiedEmbedding == isOld && model.activation == .silu)
    #expect(
      [
        model.layerCount, model.hiddenSize, model.feedForwardSize, model.headCount, model.keyValueHeadCount,
        model.headSize, model.vocabularySize,
      ] == sizes)
    #expect(model.ropeTheta == theta)
  }

  @Test func defaults() throws {
    let found = try configuration(["num_key_value_heads": nil, "head_dim": "null", "tie_word_embeddings": nil]).model
    #expect(found.keyValueHeadCount == 2)
    #expect(found.headSize == 12)
    #expect(!found.tiedEmbedding)
    expectRefusal("num_attention_heads", "is 5", expected: "divisor of hidden_size, 24") {
      _ = try configuration(["head_dim": nil, "num_attention_heads": "5"])
    }
    expectRefusal("num_attention_heads", "is 0") {
      _ = try configuration(["head_dim": nil, "num_attention_heads": "0"])
    }
  }

  @Test(arguments: [
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings",
    "rms_norm_eps", "rope_theta", "hidden_act",
  ])
  func namesMissingFields(_ field: String) {
    expectRefusal(field, "is missing") { _ = try configuration([field: nil]) }
    expectRefusal(field, "is missing") { _ = try configuration([field: "null"]) }
    expectRefusal(field, "is an array") { _ = try configuration([field: "[]"]) }
  }

  @Test(arguments: [
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim",
  ])
  func refusesImpossibleNumbers(_ field: String) {
    for number in ["0", "-1", "2147483648", "9223372036854775807", "-9223372036854775808"] {
      expectRefusal(field, "is \(number)") { _ = try configuration([field: number]) }
    }
    for number in ["1e308", "9223372036854775808", "0.5", "1" + String(repeating: "9", count: 5000)] {
      expectRefusal(field, "") { _ = try configuration([field: number]) }
    }
  }

  @Test func refusesOtherArchitectures() {
    let supported = "BitNetForCausalLM, BitnetForCausalLM, LlamaForCausalLM, Qwen3ForCausalLM, Qwen3Model"
    expectRefusal("architectures", "is MistralForCausalLM", expected: supported) {
      _ = try configuration(["architectures": "[\"MistralForCausalLM\"]", "model_type": "\"mistral\""])
    }
    expectRefusal("architectures", "is missing, and model_type is gpt2", expected: supported) {
      _ = try configuration(["architectures": nil, "model_type": "\"gpt2\""])
    }
    #expect(throws: Never.self) { try configuration(["architectures": nil]) }
  }

  @Test func refusesAPlainLlama() {
    expectRefusal("quantization_config", "this is not a BitNet model") {
      _ = try configuration(llama.merging(["quantization_config": nil]) { $1 })
    }
  }

  @Test func readsTheQuantizationConfig() throws {
    func meaning(_ fields: String) throws -> HuggingFaceConfiguration.ScaleMeaning? {
      try configuration(["quantization_config": "{\"quant_method\":\"bitnet\"\(fields)}"]).scaleMeaning
    }
    #expect(try meaning("") == .divide)
    #expect(try meaning(",\"linear_class\":\"bitlinear\"") == .divide)
    #expect(try meaning(",\"linear_class\":\"autobitlinear\",\"quantization_mode\":\"online\"") == .multiply)
    expectRefusal("quantization_config.linear_class", "is linear") { _ = try meaning(",\"linear_class\":\"linear\"") }
    expectRefusal("quantization_config.quantization_mode", "is later") {
      _ = try meaning(",\"quantization_mode\":\"later\"")
    }
    let normed = try configuration([
      "quantization_config": "{\"quant_method\":\"bitnet\",\"use_rms_norm\":true,\"rms_norm_eps\":1e-3}"
    ])
    #expect(normed.model.optionalNorms == Set.subNorms.union(Set.projectionNorms))
    #expect(normed.model.projectionNormEpsilon == 1e-3)
    #expect(normed.names.norms[.upInput] == ["mlp.up_proj.rms_norm"])
    #expect(try meaning(",\"modules_to_not_convert\":[\"lm_head\"]") == .divide)
    expectRefusal("quantization_config.modules_to_not_convert", "names model.layers.0.mlp") {
      _ = try meaning(",\"modules_to_not_convert\":[\"lm_head\",\"model.layers.0.mlp\"]")
    }
    expectRefusal("quantization_config.quant_method", "is gptq", expected: "bitnet") {
      _ = try configuration(["quantization_config": "{\"quant_method\":\"gptq\"}"])
    }
    expectRefusal("quantization_config.quant_method", "is missing", expected: "bitnet") {
      _ = try configuration(["quantization_config": "{}"])
    }
  }

  @Test func refusesWhatTheArithmeticDoesNotHave() {
    expectRefusal("attention_bias", "is true") { _ = try configuration(["attention_bias": "true"]) }
    expectRefusal("mlp_bias", "is true") { _ = try configuration(["mlp_bias": "true"]) }
    expectRefusal("hidden_act", "is gelu", expected: "relu2, silu or gelu_pytorch_tanh") {
      _ = try configuration(["hidden_act": "\"gelu\""])
    }
    expectRefusal("partial_rotary_factor", "is 0.5") { _ = try configuration(["partial_rotary_factor": "0.5"]) }
    #expect(throws: Never.self) { try configuration(["attention_bias": "false", "mlp_bias": "null"]) }
  }

  @Test func readsBothPlacesOfRope() throws {
    let five = try configuration([
      "rope_theta": nil, "rope_parameters": "{\"rope_theta\":500000,\"rope_type\":\"default\"}",
    ])
    #expect(five.model.ropeTheta == 500_000)
    #expect(five.model.ropeScaling == nil)
    #expect(try configuration(["rope_scaling": "null"]).model.ropeScaling == nil)
    #expect(try configuration(["rope_scaling": "{\"type\":\"default\"}"]).model.ropeScaling == nil)
  }

  @Test func readsLlama3Scaling() throws {
    let fields =
      "\"factor\":8.0,\"low_freq_factor\":1,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192"
    let expected = ModelConfiguration.RotaryScaling(
      factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContextLength: 8192)
    for spelling in ["rope_type", "type"] {
      #expect(
        try configuration(["rope_scaling": "{\"\(spelling)\":\"llama3\",\(fields)}"]).model.ropeScaling == expected)
    }
    let five = "{\"rope_theta\":500000.0,\"rope_type\":\"llama3\",\(fields)}"
    #expect(try configuration(["rope_theta": nil, "rope_parameters": five]).model.ropeScaling == expected)
    expectRefusal("rope_scaling.low_freq_factor", "is missing") {
      _ = try configuration(["rope_scaling": "{\"rope_type\":\"llama3\",\"factor\":8.0}"])
    }
    expectRefusal("rope_parameters.factor", "is missing") {
      _ = try configuration(["rope_parameters": "{\"rope_type\":\"llama3\"}"])
    }
  }

  @Test(arguments: ["linear", "dynamic", "longrope", "su"])
  func refusesOtherScaling(_ type: String) {
    expectRefusal("rope_scaling.rope_type", "is \(type)", expected: "default, llama3 or yarn") {
      _ = try configuration(["rope_scaling": "{\"type\":\"\(type)\",\"factor\":2.0}"])
    }
  }

  @Test func mergesEndTokens() throws {
    func ends(_ config: String?, _ generation: String?) throws -> [Int32] {
      try configuration(["eos_token_id": config], generation: generation).model.endTokens
    }
    #expect(try ends("[3,4]", nil) == [3, 4])
    #expect(try ends("2", "{\"eos_token_id\":[2,5]}") == [2, 5])
    #expect(try ends(nil, "{\"eos_token_id\":6}") == [6])
    #expect(try ends("null", nil) == [])
    #expect(try configuration(["bos_token_id": nil], generation: "{\"bos_token_id\":3}").model.beginToken == 3)
    expectRefusal("bos_token_id or eos_token_id", "is 21", expected: "below vocab_size, 21") { _ = try ends("21", nil) }
    expectRefusal("eos_token_id", "") { _ = try ends("\"two\"", nil) }
    expectRefusal("eos_token_id", "") { _ = try ends("4294967296", nil) }
  }

  @Test func readsGenerationDefaults() throws {
    func defaults(_ json: String) throws -> GenerationDefaults {
      try GenerationConfiguration(json: shared(json), file: "generation_config.json").defaults
    }
    #expect(
      try defaults("{\"do_sample\":true,\"temperature\":0.6,\"top_p\":0.9,\"top_k\":50}")
        == GenerationDefaults(temperature: 0.6, topP: 0.9, topK: 50))
    #expect(try defaults("{\"do_sample\":false,\"temperature\":0.6}") == GenerationDefaults(temperature: 0))
    #expect(try defaults("{}") == GenerationDefaults())
    expectRefusal("temperature", "is -1.0") { _ = try defaults("{\"temperature\":-1}") }
    expectRefusal("top_p", "is 1.5") { _ = try defaults("{\"top_p\":1.5}") }
    expectRefusal("top_k", "is -2", expected: "0 to 16777216") { _ = try defaults("{\"top_k\":-2}") }
  }

  @Test func refusesHostileJSON() {
    func parse(_ text: String) throws { _ = try HuggingFaceConfiguration(config: shared(text), file: "config.json") }
    expectRefusal("the file", "nested more than 64 deep") { try parse(String(repeating: "{\"a\":", count: 100_000)) }
    expectRefusal("the file", "nested more than 64 deep") {
      try parse("{\"a\":" + String(repeating: "[", count: 100_000) + String(repeating: "]", count: 100_000) + "}")
    }
    expectRefusal("the file", "is 1048577 bytes long", expected: "at most 1048576") {
      try parse("{}" + String(repeating: " ", count: (1 << 20) - 1))
    }
    expectRefusal("hidden_size", "is given twice") {
      try parse(TinyModel().configJSON.dropLast() + ",\"hidden_size\":48}")
    }
    expectRefusal("the file at line 1, column 1", "is the end of the text") { try parse("") }
    expectRefusal("the file at line 1, column 1", "is a byte order mark") { try parse("\u{FEFF}{}") }
  }

  @Test func everyTruncationIsAnError() {
    let text = Array(TinyModel().configJSON.utf8)
    for count in 0..<text.count {
      #expect(throws: ModelFileError.self) {
        try HuggingFaceConfiguration(config: shared(Array(text.prefix(count))), file: "config.json")
      }
    }
  }
}

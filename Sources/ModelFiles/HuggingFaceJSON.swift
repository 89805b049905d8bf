package import BitNetTernary

/// The fields of `config.json` that mean something to a BitNet model, as they are spelt there.
struct RawConfiguration: Decodable {
  struct Quantization: Decodable {
    let quantMethod: String?
    let linearClass: String?
    let quantizationMode: String?
    let useRMSNorm: Bool?
    let modulesToNotConvert: [String]?

    enum CodingKeys: String, CodingKey {
      case quantMethod = "quant_method"
      case linearClass = "linear_class"
      case quantizationMode = "quantization_mode"
      case useRMSNorm = "use_rms_norm"
      case modulesToNotConvert = "modules_to_not_convert"
    }
  }

  struct Rope: Decodable {
    let ropeType: String?
    let type: String?
    let ropeTheta: JSONNumber<Double>?
    let partialRotaryFactor: JSONNumber<Double>?
    let factor: JSONNumber<Double>?
    let lowFreqFactor: JSONNumber<Double>?
    let highFreqFactor: JSONNumber<Double>?
    let originalMaxPositionEmbeddings: JSONNumber<Int>?

    /// The scaling's name, in either spelling.
    var kind: String? { ropeType ?? type }

    enum CodingKeys: String, CodingKey {
      case ropeType = "rope_type"
      case type
      case ropeTheta = "rope_theta"
      case partialRotaryFactor = "partial_rotary_factor"
      case factor
      case lowFreqFactor = "low_freq_factor"
      case highFreqFactor = "high_freq_factor"
      case originalMaxPositionEmbeddings = "original_max_position_embeddings"
    }
  }

  let architectures: [String]?
  let modelType: String?
  let vocabSize: JSONNumber<Int>?
  let hiddenSize: JSONNumber<Int>?
  let intermediateSize: JSONNumber<Int>?
  let numHiddenLayers: JSONNumber<Int>?
  let numAttentionHeads: JSONNumber<Int>?
  let numKeyValueHeads: JSONNumber<Int>?
  let headDim: JSONNumber<Int>?
  let maxPositionEmbeddings: JSONNumber<Int>?
  let rmsNormEps: JSONNumber<Double>?
  let ropeTheta: JSONNumber<Double>?
  let ropeScaling: Rope?
  let ropeParameters: Rope?
  let partialRotaryFactor: JSONNumber<Double>?
  let hiddenAct: String?
  let tieWordEmbeddings: Bool?
  let attentionBias: Bool?
  let mlpBias: Bool?
  let weightBits: JSONNumber<Int>?
  let inputBits: JSONNumber<Int>?
  let bosTokenID: TokenIDs?
  let eosTokenID: TokenIDs?
  let quantizationConfig: Quantization?

  enum CodingKeys: String, CodingKey {
    case architectures
    case modelType = "model_type"
    case vocabSize = "vocab_size"
    case hiddenSize = "hidden_size"
    case intermediateSize = "intermediate_size"
    case numHiddenLayers = "num_hidden_layers"
    case numAttentionHeads = "num_attention_heads"
    case numKeyValueHeads = "num_key_value_heads"
    case headDim = "head_dim"
    case maxPositionEmbeddings = "max_position_embeddings"
    case rmsNormEps = "rms_norm_eps"
    case ropeTheta = "rope_theta"
    case ropeScaling = "rope_scaling"
    case ropeParameters = "rope_parameters"
    case partialRotaryFactor = "partial_rotary_factor"
    case hiddenAct = "hidden_act"
    case tieWordEmbeddings = "tie_word_embeddings"
    case attentionBias = "attention_bias"
    case mlpBias = "mlp_bias"
    case weightBits = "weight_bits"
    case inputBits = "input_bits"
    case bosTokenID = "bos_token_id"
    case eosTokenID = "eos_token_id"
    case quantizationConfig = "quantization_config"
  }
}

/// A token id or a list of them: checkpoints write both.
struct TokenIDs: Decodable {
  let ids: [Int32]

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if let list = try? container.decode([JSONNumber<Int32>].self) {
      ids = list.map(\.value)
    } else {
      ids = [try container.decode(JSONNumber<Int32>.self).value]
    }
  }
}

/// How a model's authors sample from it.
package struct GenerationDefaults: Sendable, Equatable, Codable {
  /// 0 where they ask for greedy decoding.
  package var temperature: Double?
  package var topP: Double?
  package var topK: Int?

  package init(temperature: Double? = nil, topP: Double? = nil, topK: Int? = nil) {
    self.temperature = temperature
    self.topP = topP
    self.topK = topK
  }
}

/// What a `generation_config.json` adds to a model: sampling defaults and tokens.
package struct GenerationConfiguration: Sendable, Equatable {
  package let defaults: GenerationDefaults
  package let beginToken: Int32?
  package let endTokens: [Int32]

  /// - Throws: `ModelFileError` when the JSON is not sound or a default is out of range.
  package init(json: SharedBytes, file: String) throws(ModelFileError) {
    let raw = try json.withUnsafeBytes { (bytes) throws(ModelFileError) in
      try StrictJSON.decode(
        Raw.self, from: bytes, file: file, subject: "the file", limit: HuggingFaceConfiguration.largestFile)
    }
    defaults = GenerationDefaults(
      temperature: raw.doSample == false ? 0 : raw.temperature?.value, topP: raw.topP?.value, topK: raw.topK?.value)
    beginToken = raw.bosTokenID?.ids.first
    endTokens = raw.eosTokenID?.ids ?? []
    try defaults.validate(file: file)
  }

  private struct Raw: Decodable {
    let doSample: Bool?
    let temperature: JSONNumber<Double>?
    let topP: JSONNumber<Double>?
    let topK: JSONNumber<Int>?
    let bosTokenID: TokenIDs?
    let eosTokenID: TokenIDs?

    enum CodingKeys: String, CodingKey {
      case doSample = "do_sample"
      case temperature
      case topP = "top_p"
      case topK = "top_k"
      case bosTokenID = "bos_token_id"
      case eosTokenID = "eos_token_id"
    }
  }
}

extension GenerationDefaults {
  /// - Throws: `ModelFileError` naming the first value with which no sampler could work.
  func validate(file: String) throws(ModelFileError) {
    func check(_ field: String, _ value: Double?, _ range: ClosedRange<Double>) throws(ModelFileError) {
      guard let value, !range.contains(value) else { return }
      throw ModelFileError(
        .configuration, file: file, subject: field, finding: "is \(value)",
        expected: "a number from \(range.lowerBound) to \(range.upperBound)")
    }
    try check("temperature", temperature, 0...100)
    try check("top_p", topP, 0...1)
    try check("top_k", topK.map(Double.init), 0...Double(1 << 24))
  }
}

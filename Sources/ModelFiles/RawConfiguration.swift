import BitNetJSON

/// The fields of `config.json` that mean something to a BitNet model.
struct RawConfiguration {
  struct Quantization {
    let quantMethod: String?
    let linearClass: String?
    let quantizationMode: String?
    let useRMSNorm: Bool?
    let rmsNormEps: Double?
    let modulesToNotConvert: [String]?

    init(_ json: JSONValue) throws(JSONError) {
      var fields = try json.fields()
      quantMethod = try fields["quant_method"].ifPresent?.string()
      linearClass = try fields["linear_class"].ifPresent?.string()
      quantizationMode = try fields["quantization_mode"].ifPresent?.string()
      useRMSNorm = try fields["use_rms_norm"].ifPresent?.bool()
      rmsNormEps = try fields["rms_norm_eps"].ifPresent?.number()
      modulesToNotConvert = try fields["modules_to_not_convert"].ifPresent?.strings()
    }
  }

  struct Rope {
    /// The scaling's name, in either spelling.
    let kind: String?
    let ropeTheta: Double?
    let partialRotaryFactor: Double?
    let factor: Double?
    let lowFreqFactor: Double?
    let highFreqFactor: Double?
    let originalMaxPositionEmbeddings: Int?
    let attentionFactor: Double?
    let mscale: Double?
    let mscaleAllDim: Double?
    let betaFast: Double?
    let betaSlow: Double?
    let truncate: Bool?
    /// The base of sliding layers, where they have parameters of their own.
    let slidingTheta: Double?

    init(_ json: JSONValue) throws(JSONError) {
      var outer = try json.fields()
      // Parameters of layers with and without a window, each with its own.
      let full = outer["full_attention"].ifPresent
      var sliding = try outer["sliding_attention"].ifPresent?.fields()
      slidingTheta = try sliding?["rope_theta"].ifPresent?.number()
      var fields = outer
      if let full { fields = try full.fields() }
      let type = try fields["type"].ifPresent?.string()
      kind = try fields["rope_type"].ifPresent?.string() ?? type
      ropeTheta = try fields["rope_theta"].ifPresent?.number()
      partialRotaryFactor = try fields["partial_rotary_factor"].ifPresent?.number()
      factor = try fields["factor"].ifPresent?.number()
      lowFreqFactor = try fields["low_freq_factor"].ifPresent?.number()
      highFreqFactor = try fields["high_freq_factor"].ifPresent?.number()
      originalMaxPositionEmbeddings = try fields["original_max_position_embeddings"].ifPresent?.integer()
      attentionFactor = try fields["attention_factor"].ifPresent?.number()
      mscale = try fields["mscale"].ifPresent?.number()
      mscaleAllDim = try fields["mscale_all_dim"].ifPresent?.number()
      betaFast = try fields["beta_fast"].ifPresent?.number()
      betaSlow = try fields["beta_slow"].ifPresent?.number()
      truncate = try fields["truncate"].ifPresent?.bool()
    }
  }

  let architectures: [String]?
  let modelType: String?
  let vocabSize: Int?
  let hiddenSize: Int?
  let intermediateSize: Int?
  let numHiddenLayers: Int?
  let numAttentionHeads: Int?
  let numKeyValueHeads: Int?
  let headDim: Int?
  let maxPositionEmbeddings: Int?
  let rmsNormEps: Double?
  let ropeTheta: Double?
  let ropeScaling: Rope?
  let ropeParameters: Rope?
  let partialRotaryFactor: Double?
  let hiddenAct: String?
  let tieWordEmbeddings: Bool?
  let attentionBias: Bool?
  let mlpBias: Bool?
  let weightBits: Int?
  let inputBits: Int?
  let bosTokenIDs: [Int32]?
  let eosTokenIDs: [Int32]?
  let quantizationConfig: Quantization?

  init(_ json: JSONValue) throws(JSONError) {
    var fields = try json.fields()
    architectures = try fields["architectures"].ifPresent?.strings()
    modelType = try fields["model_type"].ifPresent?.string()
    vocabSize = try fields["vocab_size"].ifPresent?.integer()
    hiddenSize = try fields["hidden_size"].ifPresent?.integer()
    intermediateSize = try fields["intermediate_size"].ifPresent?.integer()
    numHiddenLayers = try fields["num_hidden_layers"].ifPresent?.integer()
    numAttentionHeads = try fields["num_attention_heads"].ifPresent?.integer()
    numKeyValueHeads = try fields["num_key_value_heads"].ifPresent?.integer()
    headDim = try fields["head_dim"].ifPresent?.integer()
    maxPositionEmbeddings = try fields["max_position_embeddings"].ifPresent?.integer()
    rmsNormEps = try fields["rms_norm_eps"].ifPresent?.number()
    ropeTheta = try fields["rope_theta"].ifPresent?.number()
    ropeScaling = try fields["rope_scaling"].ifPresent.map(Rope.init)
    ropeParameters = try fields["rope_parameters"].ifPresent.map(Rope.init)
    partialRotaryFactor = try fields["partial_rotary_factor"].ifPresent?.number()
    let activation = try fields["hidden_act"].ifPresent?.string()
    hiddenAct = try fields["hidden_activation"].ifPresent?.string() ?? activation
    tieWordEmbeddings = try fields["tie_word_embeddings"].ifPresent?.bool()
    attentionBias = try fields["attention_bias"].ifPresent?.bool()
    mlpBias = try fields["mlp_bias"].ifPresent?.bool()
    weightBits = try fields["weight_bits"].ifPresent?.integer()
    inputBits = try fields["input_bits"].ifPresent?.integer()
    bosTokenIDs = try fields["bos_token_id"].ifPresent?.tokenIDs()
    eosTokenIDs = try fields["eos_token_id"].ifPresent?.tokenIDs()
    quantizationConfig = try fields["quantization_config"].ifPresent.map(Quantization.init)
  }
}

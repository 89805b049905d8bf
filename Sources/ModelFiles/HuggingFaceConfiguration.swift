package import BitNetInference
import BitNetJSON
package import BitNetTernary

/// The meaning of a Hugging Face `config.json`: the model's shape and the storage of its ternary weights.
package struct HuggingFaceConfiguration: Sendable, Equatable {
  /// The meaning of a stored `weight_scale`.
  package enum ScaleMeaning: String, Sendable, Codable {
    /// The mean of |w|: weights are code · scale (`autobitlinear`).
    case multiply
    /// Its reciprocal: weights are code / scale (`bitlinear`, and where `linear_class` is absent).
    case divide
  }

  package let model: ModelConfiguration
  /// Nil if the checkpoint has no quantization_config: its weights are then float masters.
  package let scaleMeaning: ScaleMeaning?
  package let names: TensorNames

  static let largestFile = 1 << 20

  /// - Parameters:
  ///   - config: the JSON of config.json.
  ///   - generation: the contents of generation_config.json; its end tokens are added.
  ///   - file: config.json's path, for errors.
  ///   - families: the known families.
  /// - Throws: `ModelFileError` naming the first field that is missing, out of range or not supported.
  package init(
    config: SharedBytes, generation: GenerationConfiguration? = nil, file: String,
    families: [ModelFamily] = ModelFamily.all
  ) throws(ModelFileError) {
    let (raw, fields) = try config.withUnsafeBytes { (bytes) throws(ModelFileError) in
      try JSONDocument.read(bytes, file: file, limit: Self.largestFile) { (json) throws(JSONError) in
        let raw = try RawConfiguration(json)
        return (raw, ConfigurationFields(json, file: file, slidingTheta: raw.ropeParameters?.slidingTheta))
      }
    }
    let family = try ModelFamily.find(raw.architectures ?? [], modelType: raw.modelType, in: families, file: file)
    try self.init(raw, fields, family, generation: generation, file: file)
  }

  private init(
    _ raw: RawConfiguration, _ fields: ConfigurationFields, _ family: ModelFamily, generation: GenerationConfiguration?,
    file: String
  ) throws(ModelFileError) {
    func required<Value>(_ value: Value?, _ field: String) throws(ModelFileError) -> Value {
      guard let value else { throw ModelFileError(.configuration, file: file, subject: field, finding: "is missing") }
      return value
    }
    func unsupported(_ field: String, _ found: some CustomStringConvertible, _ expected: String) -> ModelFileError {
      ModelFileError(.unsupported, file: file, subject: field, finding: "is \(found)", expected: expected)
    }
    if raw.quantizationConfig?.useRMSNorm == true {
      names = family.names.normingProjections(".rms_norm")
    } else if family.normsProjections, raw.quantizationConfig == nil {
      names = family.names.normingProjections(".norm")
    } else {
      names = family.names
    }
    scaleMeaning = try Self.scaleMeaning(raw, family, file: file)

    for (field, bias) in [("attention_bias", raw.attentionBias), ("mlp_bias", raw.mlpBias)] where bias == true {
      throw unsupported(field, "true", "false: BitNet layers have no biases")
    }
    for (field, bits, expected) in [("weight_bits", raw.weightBits, 1), ("input_bits", raw.inputBits, 8)] {
      if let bits, bits != expected { throw unsupported(field, bits, "\(expected)") }
    }
    let activationName = try required(raw.hiddenAct, "hidden_act")
    guard let activation = ModelConfiguration.Activation(rawValue: activationName) else {
      throw unsupported("hidden_act", activationName, ModelConfiguration.activationNames)
    }
    let hiddenSize = try required(raw.hiddenSize, "hidden_size")
    let headCount = try required(raw.numAttentionHeads, "num_attention_heads")
    let rope = try RotaryFields(raw, file: file)
    var model = ModelConfiguration(
      architecture: family.architecture,
      vocabularySize: try required(raw.vocabSize, "vocab_size"),
      hiddenSize: hiddenSize,
      feedForwardSize: try required(raw.intermediateSize, "intermediate_size"),
      layerCount: try required(raw.numHiddenLayers, "num_hidden_layers"),
      headCount: headCount,
      keyValueHeadCount: raw.numKeyValueHeads ?? headCount,
      headSize: try Self.headSize(raw, hiddenSize: hiddenSize, headCount: headCount, file: file),
      contextLength: try required(raw.maxPositionEmbeddings, "max_position_embeddings"),
      normEpsilon: try required(raw.rmsNormEps, "rms_norm_eps"),
      projectionNormEpsilon: raw.quantizationConfig.flatMap { $0.useRMSNorm == true ? $0.rmsNormEps ?? 1e-6 : nil },
      ropeTheta: rope.theta,
      ropeScaling: rope.scaling,
      yarnScaling: rope.yarn,
      activation: activation,
      optionalNorms: Set(names.norms.keys.filter(\.isOptional)),
      // The default of both BitNetConfig and LlamaConfig; a tied checkpoint says so.
      tiedEmbedding: raw.tieWordEmbeddings ?? false,
      beginToken: raw.bosTokenIDs?.first ?? generation?.beginToken,
      endTokens: (raw.eosTokenIDs ?? []).merging(generation?.endTokens ?? []))
    try family.configure(fields, &model)
    do throws(ConfigurationError) {
      try model.validate()
    } catch {
      throw ModelFileError(error, file: file)
    }
    self.model = model
  }

  private static func headSize(
    _ raw: RawConfiguration, hiddenSize: Int, headCount: Int, file: String
  ) throws(ModelFileError) -> Int {
    if let headSize = raw.headDim { return headSize }
    guard headCount > 0, hiddenSize % headCount == 0 else {
      throw ModelFileError(
        .configuration, file: file, subject: "num_attention_heads", finding: "is \(headCount)",
        expected: "a divisor of hidden_size, \(hiddenSize), where there is no head_dim")
    }
    return hiddenSize / headCount
  }

  /// The meaning of the quantization_config, which must fit the architecture.
  private static func scaleMeaning(
    _ raw: RawConfiguration, _ family: ModelFamily, file: String
  ) throws(ModelFileError) -> ScaleMeaning? {
    func unsupported(_ field: String, _ found: String, _ expected: String) -> ModelFileError {
      ModelFileError(
        .unsupported, file: file, subject: "quantization_config.\(field)", finding: found, expected: expected)
    }
    guard let quantization = raw.quantizationConfig else {
      guard family.hasMasters else {
        throw ModelFileError(
          .unsupported, file: file, subject: "quantization_config", finding: "is missing: this is not a BitNet model",
          expected: "quant_method bitnet in a \(family.architecture)")
      }
      return nil
    }
    guard quantization.quantMethod == "bitnet" else {
      throw unsupported("quant_method", "is \(quantization.quantMethod ?? "missing")", "bitnet")
    }
    if let mode = quantization.quantizationMode, mode != "offline", mode != "online" {
      throw unsupported("quantization_mode", "is \(mode)", "offline or online")
    }
    // The float weights of a projection that is named here are not masters: quantising them would silently change the
    // model.
    let unquantized = ["lm_head", "embed_tokens", "norm"]
    if let module = quantization.modulesToNotConvert?.first(where: { name in
      !unquantized.contains { name.hasSuffix($0) }
    }) {
      throw unsupported("modules_to_not_convert", "names \(module)", "null or lm_head: every projection is ternary")
    }
    switch quantization.linearClass {
    case "autobitlinear": return .multiply
    case "bitlinear", nil: return .divide
    case let other?: throw unsupported("linear_class", "is \(other)", "autobitlinear or bitlinear")
    }
  }
}

/// Rotary embedding fields, which transformers 5 moved into `rope_parameters`.
private struct RotaryFields {
  let theta: Double
  let scaling: ModelConfiguration.RotaryScaling?
  let yarn: ModelConfiguration.YarnScaling?

  init(_ raw: RawConfiguration, file: String) throws(ModelFileError) {
    let (name, parameters) = raw.ropeParameters.map { ("rope_parameters", $0) } ?? ("rope_scaling", raw.ropeScaling)
    guard let theta = parameters?.ropeTheta ?? raw.ropeTheta else {
      throw ModelFileError(.configuration, file: file, subject: "rope_theta", finding: "is missing")
    }
    self.theta = theta
    func required<Value>(_ number: Value?, _ field: String) throws(ModelFileError) -> Value {
      guard let number else {
        throw ModelFileError(.configuration, file: file, subject: "\(name).\(field)", finding: "is missing")
      }
      return number
    }
    if let part = parameters?.partialRotaryFactor ?? raw.partialRotaryFactor, part != 1 {
      throw ModelFileError(
        .unsupported, file: file, subject: "partial_rotary_factor", finding: "is \(part)",
        expected: "1: whole heads are rotated")
    }
    switch parameters?.kind {
    case nil, "default": (scaling, yarn) = (nil, nil)
    case "yarn":
      let factor = try required(parameters?.factor, "factor")
      scaling = nil
      yarn = ModelConfiguration.YarnScaling(
        factor: factor,
        originalContextLength: try required(
          parameters?.originalMaxPositionEmbeddings ?? raw.maxPositionEmbeddings, "original_max_position_embeddings"),
        attentionFactor: parameters?.attentionFactor ?? Self.attentionFactor(factor, parameters),
        fastRotations: parameters?.betaFast ?? 32, slowRotations: parameters?.betaSlow ?? 1,
        truncates: parameters?.truncate ?? true)
    case "llama3":
      yarn = nil
      scaling = ModelConfiguration.RotaryScaling(
        factor: try required(parameters?.factor, "factor"),
        lowFrequencyFactor: try required(parameters?.lowFreqFactor, "low_freq_factor"),
        highFrequencyFactor: try required(parameters?.highFreqFactor, "high_freq_factor"),
        originalContextLength: try required(
          parameters?.originalMaxPositionEmbeddings, "original_max_position_embeddings"))
    case let other?:
      throw ModelFileError(
        .unsupported, file: file, subject: "\(name).rope_type", finding: "is \(other)",
        expected: "default, llama3 or yarn")
    }
  }

  /// The quotient of two factors where both scales are given; nil for the usual one.
  private static func attentionFactor(_ factor: Double, _ parameters: RawConfiguration.Rope?) -> Double? {
    guard let scale = parameters?.mscale, let all = parameters?.mscaleAllDim, scale != 0, all != 0 else { return nil }
    return ModelConfiguration.YarnScaling.attentionFactor(factor, scale: scale)
      / ModelConfiguration.YarnScaling.attentionFactor(factor, scale: all)
  }
}

extension [Int32] {
  /// These tokens, followed by those of `others` that are not among them.
  func merging(_ others: [Int32]) -> [Int32] {
    others.reduce(into: self) { if !$0.contains($1) { $0.append($1) } }
  }
}

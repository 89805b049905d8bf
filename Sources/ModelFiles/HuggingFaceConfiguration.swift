package import BitNetInference
package import BitNetTernary

/// A Hugging Face `config.json`, understood: the model's shape and how its ternary weights are stored.
package struct HuggingFaceConfiguration: Sendable, Equatable {
  /// What a stored `weight_scale` means.
  package enum ScaleMeaning: String, Sendable, Codable {
    /// The mean of |w|: weights are code · scale (`autobitlinear`).
    case multiply
    /// Its reciprocal: weights are code / scale (`bitlinear`, and where `linear_class` is absent).
    case divide
  }

  package let model: ModelConfiguration
  /// Nil where the checkpoint has no quantization_config: its weights are then float masters.
  package let scaleMeaning: ScaleMeaning?
  package let names: TensorNames

  static let largestFile = 1 << 20

  /// - Parameters:
  ///   - config: the JSON of config.json.
  ///   - generation: what generation_config.json says; its end tokens are added.
  ///   - file: config.json's path, for errors.
  ///   - families: the families that are known.
  /// - Throws: `ModelFileError` naming the first field that is missing, out of range, or asks for something not
  ///   supported.
  package init(
    config: SharedBytes, generation: GenerationConfiguration? = nil, file: String,
    families: [ModelFamily] = ModelFamily.all
  ) throws(ModelFileError) {
    let contents = try config.withUnsafeBytes { (bytes) throws(ModelFileError) in
      try StrictJSON.decode(Contents.self, from: bytes, file: file, subject: "the file", limit: Self.largestFile)
    }
    let raw = contents.raw
    let family = try ModelFamily.find(raw.architectures ?? [], modelType: raw.modelType, in: families, file: file)
    try self.init(raw, contents.fields.named(file), family, generation: generation, file: file)
  }

  /// The fields that every family has, and all of them by name.
  private struct Contents: Decodable {
    let raw: RawConfiguration
    let fields: ConfigurationFields

    init(from decoder: any Decoder) throws {
      raw = try RawConfiguration(from: decoder)
      fields = try ConfigurationFields(from: decoder)
    }
  }

  private init(
    _ raw: RawConfiguration, _ fields: ConfigurationFields, _ family: ModelFamily, generation: GenerationConfiguration?,
    file: String
  ) throws(ModelFileError) {
    func required<Value>(_ value: Value?, _ field: String) throws(ModelFileError) -> Value {
      guard let value else { throw ModelFileError(.configuration, file: file, subject: field, finding: "is missing") }
      return value
    }
    func number<Value>(_ number: JSONNumber<Value>?, _ field: String) throws(ModelFileError) -> Value {
      try required(number, field).value
    }
    func unsupported(_ field: String, _ found: some CustomStringConvertible, _ expected: String) -> ModelFileError {
      ModelFileError(.unsupported, file: file, subject: field, finding: "is \(found)", expected: expected)
    }
    names = family.names
    scaleMeaning = try Self.scaleMeaning(raw, family, file: file)

    for (field, bias) in [("attention_bias", raw.attentionBias), ("mlp_bias", raw.mlpBias)] where bias == true {
      throw unsupported(field, "true", "false: BitNet layers have no biases")
    }
    for (field, bits, expected) in [("weight_bits", raw.weightBits, 1), ("input_bits", raw.inputBits, 8)] {
      if let bits = bits?.value, bits != expected { throw unsupported(field, bits, "\(expected)") }
    }
    let activationName = try required(raw.hiddenAct, "hidden_act")
    guard let activation = ModelConfiguration.Activation(rawValue: activationName) else {
      throw unsupported("hidden_act", activationName, "relu2, silu or gelu_pytorch_tanh")
    }
    let hiddenSize = try number(raw.hiddenSize, "hidden_size")
    let headCount = try number(raw.numAttentionHeads, "num_attention_heads")
    let rope = try RotaryFields(raw, file: file)
    var model = ModelConfiguration(
      architecture: family.architecture,
      vocabularySize: try number(raw.vocabSize, "vocab_size"),
      hiddenSize: hiddenSize,
      feedForwardSize: try number(raw.intermediateSize, "intermediate_size"),
      layerCount: try number(raw.numHiddenLayers, "num_hidden_layers"),
      headCount: headCount,
      keyValueHeadCount: raw.numKeyValueHeads?.value ?? headCount,
      headSize: try Self.headSize(raw, hiddenSize: hiddenSize, headCount: headCount, file: file),
      contextLength: try number(raw.maxPositionEmbeddings, "max_position_embeddings"),
      normEpsilon: try number(raw.rmsNormEps, "rms_norm_eps"),
      ropeTheta: rope.theta,
      ropeScaling: rope.scaling,
      activation: activation,
      optionalNorms: family.optionalNorms,
      // The default of both BitNetConfig and LlamaConfig; a tied checkpoint says so.
      tiedEmbedding: raw.tieWordEmbeddings ?? false,
      beginToken: raw.bosTokenID?.ids.first ?? generation?.beginToken,
      endTokens: (raw.eosTokenID?.ids ?? []).merging(generation?.endTokens ?? []))
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
    if let headSize = raw.headDim?.value { return headSize }
    guard headCount > 0, hiddenSize % headCount == 0 else {
      throw ModelFileError(
        .configuration, file: file, subject: "num_attention_heads", finding: "is \(headCount)",
        expected: "a divisor of hidden_size, \(hiddenSize), where there is no head_dim")
    }
    return hiddenSize / headCount
  }

  /// What the quantization_config says, if the architecture and it go together.
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
    if quantization.useRMSNorm == true {
      throw unsupported("use_rms_norm", "is true", "false: norms before each projection are not supported yet")
    }
    if let mode = quantization.quantizationMode, mode != "offline", mode != "online" {
      throw unsupported("quantization_mode", "is \(mode)", "offline or online")
    }
    // Float weights of a projection named here are no masters: quantising them would change the model silently.
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

  init(_ raw: RawConfiguration, file: String) throws(ModelFileError) {
    let (name, parameters) = raw.ropeParameters.map { ("rope_parameters", $0) } ?? ("rope_scaling", raw.ropeScaling)
    guard let theta = (parameters?.ropeTheta ?? raw.ropeTheta)?.value else {
      throw ModelFileError(.configuration, file: file, subject: "rope_theta", finding: "is missing")
    }
    self.theta = theta
    func required<Value>(_ number: JSONNumber<Value>?, _ field: String) throws(ModelFileError) -> Value {
      guard let number else {
        throw ModelFileError(.configuration, file: file, subject: "\(name).\(field)", finding: "is missing")
      }
      return number.value
    }
    if let part = (parameters?.partialRotaryFactor ?? raw.partialRotaryFactor)?.value, part != 1 {
      throw ModelFileError(
        .unsupported, file: file, subject: "partial_rotary_factor", finding: "is \(part)",
        expected: "1: whole heads are rotated")
    }
    switch parameters?.kind {
    case nil, "default": scaling = nil
    case "llama3":
      scaling = ModelConfiguration.RotaryScaling(
        factor: try required(parameters?.factor, "factor"),
        lowFrequencyFactor: try required(parameters?.lowFreqFactor, "low_freq_factor"),
        highFrequencyFactor: try required(parameters?.highFreqFactor, "high_freq_factor"),
        originalContextLength: try required(
          parameters?.originalMaxPositionEmbeddings, "original_max_position_embeddings"))
    case let other?:
      throw ModelFileError(
        .unsupported, file: file, subject: "\(name).rope_type", finding: "is \(other)", expected: "default or llama3")
    }
  }
}

extension [Int32] {
  /// These tokens, then those of `others` that are not among them.
  func merging(_ others: [Int32]) -> [Int32] {
    others.reduce(into: self) { if !$0.contains($1) { $0.append($1) } }
  }
}

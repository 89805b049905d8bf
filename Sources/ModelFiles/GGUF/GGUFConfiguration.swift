import BitNetInference
import BitNetTernary

/// The meaning of a GGUF file's metadata: the model's shape and family.
struct GGUFConfiguration: Sendable {
  let family: GGUFFamily
  let model: ModelConfiguration
  let generation: GenerationDefaults?

  /// - Throws: `ModelFileError` naming the first key that is missing, out of range or not supported.
  init(_ parts: GGUFParts) throws(ModelFileError) {
    let metadata = parts.metadata
    let architecture = try metadata.required(GGUFName.architecture, metadata.string(GGUFName.architecture))
    let family = try GGUFFamily.find(architecture, file: metadata.file)
    let fields = GGUFModelFields(metadata, prefix: architecture + ".")
    guard let embedding = parts[GGUFName.embedding] else {
      throw ModelFileError(tensor: GGUFName.embedding, file: parts.name, finding: "is missing")
    }
    guard embedding.shape.count == 2 else {
      throw embedding.refusal("has shape \(embedding.shape)", expected: "[vocabulary, hidden size]")
    }
    let hiddenSize = try fields.required("embedding_length")
    let headCount = try fields.required("attention.head_count")
    let headSize = try fields.headSize(hiddenSize: hiddenSize, headCount: headCount)
    try fields.requireSupported(headSize: headSize, of: family)
    try fields.requireVocabulary(rows: embedding.shape[0])
    let theta = try fields.decimal("rope.freq_base") ?? 10000
    let layerCount = try fields.required("block_count")
    var norms = family.optionalNorms
    if parts[GGUFFamily.firstProjectionNorm] == nil { norms.subtract(Set.projectionNorms) }
    var model = ModelConfiguration(
      architecture: architecture,
      // The tensor says how many rows there are; vocab_size is missing in some files and rounded up in others.
      vocabularySize: embedding.shape[0],
      hiddenSize: hiddenSize,
      feedForwardSize: try fields.required("feed_forward_length"),
      layerCount: layerCount,
      headCount: headCount,
      keyValueHeadCount: try fields.integer("attention.head_count_kv") ?? headCount,
      headSize: headSize,
      contextLength: try fields.required("context_length"),
      normEpsilon: try metadata.required(
        fields.key("attention.layer_norm_rms_epsilon"), fields.decimal("attention.layer_norm_rms_epsilon")),
      ropeTheta: theta,
      activation: family.activation,
      optionalNorms: norms,
      attention: family.isEmbedding ? try fields.attention(of: family, layerCount: layerCount) : [.causal],
      attentionScale: family.isEmbedding ? try fields.attentionScale(headSize: headSize) : nil,
      embeddingScale: family.scalesEmbedding ? Double(max(hiddenSize, 0)).squareRoot() : 1,
      tiedEmbedding: parts[GGUFName.head] == nil,
      beginToken: try fields.token(GGUFName.beginToken),
      endTokens: try fields.endTokens())
    try Self.validate(model, metadata)
    model.ropeScaling = try Self.rotaryScaling(parts, of: model)
    model.yarnScaling = try fields.yarnScaling(contextLength: model.contextLength)
    try Self.validate(model, metadata)
    self.family = family
    self.model = model
    generation = try Self.generation(metadata)
  }

  private static func validate(_ model: ModelConfiguration, _ metadata: GGUFMetadata) throws(ModelFileError) {
    do throws(ConfigurationError) {
      try model.validate()
    } catch {
      throw ModelFileError(error, file: metadata.file)
    }
  }

  /// The sampling that the authors suggest; nil if they do not.
  private static func generation(_ metadata: GGUFMetadata) throws(ModelFileError) -> GenerationDefaults? {
    let defaults = GenerationDefaults(
      temperature: try metadata.decimal("general.sampling.temp"), topP: try metadata.decimal("general.sampling.top_p"),
      topK: try metadata.integer("general.sampling.top_k"))
    try defaults.validate(file: metadata.file)
    return defaults == GenerationDefaults() ? nil : defaults
  }
}

// MARK: - Rotary scaling

extension GGUFConfiguration {
  /// Llama 3.1's scaling, which files store as divisors of the frequencies; nil for none.
  ///
  /// - Parameter model: the configuration without scaling.
  private static func rotaryScaling(
    _ parts: GGUFParts, of model: ModelConfiguration
  ) throws(ModelFileError) -> ModelConfiguration.RotaryScaling? {
    guard let tensor = parts[GGUFName.rotaryDivisors] else { return nil }
    try tensor.require([.f32], shape: [model.headSize / 2])
    let divisors = try tensor.floats()
    if divisors.allSatisfy({ $0 == 1 }) { return nil }
    for candidate in try candidates(parts.metadata, factor: Double(divisors.max() ?? 1)) {
      var scaled = model
      scaled.ropeScaling = candidate
      let found = Self.divisors(of: scaled)
      if zip(found, divisors).allSatisfy({ abs($0 / $1 - 1) < 1e-4 }) { return candidate }
    }
    throw ModelFileError(
      .unsupported, file: tensor.file.name, subject: "tensor \(tensor.name)",
      finding: "holds divisors of rotary frequencies that are not those of Llama 3.1",
      expected: "a scaling with low_freq_factor 1 and high_freq_factor 4")
  }

  /// The scalings that divisors may come from: the one that this library wrote down, or those with the usual factors.
  private static func candidates(
    _ metadata: GGUFMetadata, factor: Double
  ) throws(ModelFileError) -> [ModelConfiguration.RotaryScaling] {
    if let own = try metadata.numbers(GGUFName.Own.rotaryScaling) {
      guard own.count == 4, let original = Int(exactly: own[3]) else {
        throw metadata.refusal(
          GGUFName.Own.rotaryScaling, "holds \(own.count) numbers", expected: "4, the last one whole")
      }
      return [
        .init(
          factor: own[0], lowFrequencyFactor: own[1], highFrequencyFactor: own[2], originalContextLength: original)
      ]
    }
    return (9...20).map { power in
      .init(factor: factor, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContextLength: 1 << power)
    }
  }

  /// The divisors of the frequencies of a model with a scaling.
  static func divisors(of model: ModelConfiguration) -> [Float] {
    var plain = model
    plain.ropeScaling = nil
    return zip(RotaryTable.frequencies(plain), RotaryTable.frequencies(model)).map { $0 / $1 }
  }
}

extension GGUFMetadata {
  /// A number; of type f32 the decimal number with the fewest digits that rounds to it, which is the one that the
  /// authors wrote in config.json.
  func decimal(_ key: String) throws(ModelFileError) -> Double? {
    guard let number = try number(key) else { return nil }
    return self[key]?.type == .f32 && number.isFinite ? Double(Float(number).description) : number
  }
}

/// The keys of a model, which begin with its architecture.
struct GGUFModelFields {
  let metadata: GGUFMetadata
  let prefix: String

  init(_ metadata: GGUFMetadata, prefix: String) {
    self.metadata = metadata
    self.prefix = prefix
  }

  func key(_ name: String) -> String { prefix + name }

  func integer(_ name: String) throws(ModelFileError) -> Int? { try metadata.integer(key(name)) }

  func required(_ name: String) throws(ModelFileError) -> Int {
    try metadata.required(key(name), metadata.integer(key(name)))
  }

  func decimal(_ name: String) throws(ModelFileError) -> Double? { try metadata.decimal(key(name)) }

  func unsupported(_ name: String, _ found: some CustomStringConvertible, _ expected: String) -> ModelFileError {
    ModelFileError(
      .unsupported, file: metadata.file, subject: "key \(key(name))", finding: "is \(found)", expected: expected)
  }

  func headSize(hiddenSize: Int, headCount: Int) throws(ModelFileError) -> Int {
    if let length = try integer("attention.key_length") { return length }
    guard headCount > 0, hiddenSize % headCount == 0 else {
      throw metadata.refusal(
        key("attention.head_count"), "is \(headCount)",
        expected: "a divisor of embedding_length, \(hiddenSize), where there is no attention.key_length")
    }
    return hiddenSize / headCount
  }

  /// - Throws: `ModelFileError` for a key that would change the model's output and that engines cannot follow.
  func requireSupported(headSize: Int, of family: GGUFFamily) throws(ModelFileError) {
    for name in ["attention.value_length", "rope.dimension_count"] {
      if let size = try integer(name), size != headSize {
        throw unsupported(name, size, "\(headSize), the size of a head")
      }
    }
    for name in ["expert_count"] + (family.isEmbedding ? [] : ["attention.sliding_window"]) {
      if let count = try integer(name), count > 0 { throw unsupported(name, count, "0") }
    }
    if let scaling = try metadata.string(key("rope.scaling.type")), scaling != "none", scaling != "yarn" {
      guard scaling == "linear", try decimal("rope.scaling.factor") ?? 1 == 1 else {
        throw unsupported("rope.scaling.type", scaling, "none, yarn, or rope_freqs.weight for the scaling of Llama 3.1")
      }
    }
    let scales = ["logit_scale", "residual_scale", "embedding_scale"] + (family.isEmbedding ? [] : ["attention.scale"])
    for name in scales {
      if let factor = try decimal(name), factor != 1 { throw unsupported(name, factor, "1") }
    }
  }

  /// - Throws: `ModelFileError` for a vocabulary that the embedding contradicts. `vocab_size` is rounded up in some files.
  func requireVocabulary(rows: Int) throws(ModelFileError) {
    if let size = try integer("vocab_size"), size < 1 {
      throw metadata.refusal(key("vocab_size"), "is \(size)", expected: "\(rows), the rows of the embedding")
    }
    if let tokens = metadata[GGUFName.tokens], tokens.count > rows {
      throw metadata.refusal(
        GGUFName.tokens, "holds \(tokens.count) tokens", expected: "at most \(rows), the rows of the embedding")
    }
  }

  /// A token's id.
  func token(_ key: String) throws(ModelFileError) -> Int32? {
    guard let id = try metadata.integer(key) else { return nil }
    guard let token = Int32(exactly: id), token >= 0 else {
      throw metadata.refusal(key, "is \(id)", expected: "a token id")
    }
    return token
  }

  func endTokens() throws(ModelFileError) -> [Int32] {
    if let own = try metadata.integers(GGUFName.Own.endTokens) { return own.map { Int32(clamping: $0) } }
    var tokens: [Int32] = []
    for key in GGUFName.endTokens {
      if let token = try token(key), !tokens.contains(token) { tokens.append(token) }
    }
    return tokens
  }
}

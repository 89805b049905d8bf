/// The configuration of a BitNet b1.58 model: everything except its weights.
package struct ModelConfiguration: Sendable, Equatable {
  /// The gate's activation function.
  package enum Activation: String, Sendable, Codable {
    /// `max(x, 0)²`, as in BitNet b1.58 2B-4T.
    case squaredReLU = "relu2"
    /// `x / (1 + e^-x)`, as in Llama-shaped models.
    case silu
    /// `x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³)))`, as in Gemma.
    case geluTanh = "gelu_pytorch_tanh"
  }

  /// The attention of a layer: the positions that a token attends to, and the encoding of positions.
  package struct Attention: Sendable, Equatable {
    /// How many positions a token attends to backwards, itself included, and in a bidirectional layer also forwards,
    /// itself included: 1 to 2^24. Nil: all positions.
    package var window: Int?
    /// Whether a token also attends to later tokens of its text. A model with a bidirectional layer runs a text in one
    /// step.
    package var isBidirectional: Bool
    /// The rotary embedding's base in this layer, 1 to 10^9, used without `ropeScaling` and `yarnScaling`.
    /// Nil: `ropeTheta` with these.
    package var ropeTheta: Double?

    package init(window: Int? = nil, isBidirectional: Bool = false, ropeTheta: Double? = nil) {
      self.window = window
      self.isBidirectional = isBidirectional
      self.ropeTheta = ropeTheta
    }

    /// All positions up to the token's own.
    package static let causal = Attention()
  }

  /// The frequency scaling of Llama 3.1, which stretches long wavelengths by `factor`, keeps short ones and blends in
  /// between.
  package struct RotaryScaling: Sendable, Equatable, Codable {
    package var factor: Double
    package var lowFrequencyFactor: Double
    package var highFrequencyFactor: Double
    package var originalContextLength: Int

    package init(factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalContextLength: Int) {
      self.factor = factor
      self.lowFrequencyFactor = lowFrequencyFactor
      self.highFrequencyFactor = highFrequencyFactor
      self.originalContextLength = originalContextLength
    }
  }

  /// The frequency scaling of YaRN: fast rotations keep their frequency, slow ones are divided by `factor`, and a ramp
  /// over the pairs lies in between; cosines and sines are multiplied by `attentionFactor`.
  package struct YarnScaling: Sendable, Equatable, Codable {
    /// How often longer texts are than those of `originalContextLength`: 1 or more.
    package var factor: Double
    package var originalContextLength: Int
    /// The factor of cosines and sines.
    package var attentionFactor: Double
    /// Pairs that turn at least this often within the original context keep their frequency.
    package var fastRotations: Double
    /// Pairs that turn at most this often within the original context are stretched by the whole factor.
    package var slowRotations: Double
    /// Whether the ramp starts and ends at whole pairs.
    package var truncates: Bool

    /// - Parameter attentionFactor: nil for the usual one, 0.1·ln(factor) + 1.
    package init(
      factor: Double, originalContextLength: Int, attentionFactor: Double? = nil, fastRotations: Double = 32,
      slowRotations: Double = 1, truncates: Bool = true
    ) {
      self.factor = factor
      self.originalContextLength = originalContextLength
      self.attentionFactor = attentionFactor ?? Self.attentionFactor(factor)
      self.fastRotations = fastRotations
      self.slowRotations = slowRotations
      self.truncates = truncates
    }

    /// 0.1·scale·ln(factor) + 1, and 1 for a factor of at most 1.
    package static func attentionFactor(_ factor: Double, scale: Double = 1) -> Double {
      factor <= 1 ? 1 : 0.1 * scale * naturalLogarithm(factor) + 1
    }
  }

  /// The architecture's name in its checkpoint, for display.
  package var architecture: String
  /// Tokens in the vocabulary, which are the rows of the embedding and of the LM head.
  package var vocabularySize: Int
  /// Elements of a hidden state.
  package var hiddenSize: Int
  /// Elements between a block's gate and up projections and its down projection.
  package var feedForwardSize: Int
  /// Transformer blocks.
  package var layerCount: Int
  /// Query heads.
  package var headCount: Int
  /// Key/value heads; `headCount` is a multiple of it.
  package var keyValueHeadCount: Int
  /// Elements of one head: even.
  package var headSize: Int
  /// Positions the model was trained for.
  package var contextLength: Int
  /// The constant that RMSNorm adds to the mean square.
  package var normEpsilon: Double
  /// That constant in the norms of projections' own inputs (`NormRole.queryInput` to `downInput`); nil: `normEpsilon`.
  package var projectionNormEpsilon: Double?
  /// The base of the rotary position embedding.
  package var ropeTheta: Double
  /// The scaling of rotary frequencies; nil for none.
  package var ropeScaling: RotaryScaling?
  /// The scaling of rotary frequencies by YaRN; nil for none, and where `ropeScaling` is not.
  package var yarnScaling: YarnScaling?
  /// The gate's activation function.
  package var activation: Activation
  /// The norms that the model's blocks have besides those before the attention and the feed-forward part.
  package var optionalNorms: Set<NormRole>
  /// The layers' attention: layer i has entry `i % attention.count`. 1 to `layerCount` entries.
  package var attention: [Attention]
  /// The factor of the scores of queries and keys; nil: 1 / √headSize.
  package var attentionScale: Double?
  /// The factor of a token's embedding.
  package var embeddingScale: Double
  /// The factor of the attention's and the feed-forward part's outputs, after their post-norms, when they are added to
  /// the residual stream.
  package var residualScale: Double
  /// The factor of the normalised hidden state before the LM head.
  package var outputScale: Double
  /// Whether the LM head is the embedding.
  package var tiedEmbedding: Bool
  /// The beginning-of-sequence token; nil if the model has none.
  package var beginToken: Int32?
  /// The end-of-sequence tokens, from config.json and generation_config.json.
  package var endTokens: [Int32]

  package init(
    architecture: String, vocabularySize: Int, hiddenSize: Int, feedForwardSize: Int, layerCount: Int, headCount: Int,
    keyValueHeadCount: Int, headSize: Int, contextLength: Int, normEpsilon: Double,
    projectionNormEpsilon: Double? = nil, ropeTheta: Double, ropeScaling: RotaryScaling? = nil,
    yarnScaling: YarnScaling? = nil, activation: Activation, optionalNorms: Set<NormRole> = [],
    attention: [Attention] = [.causal],
    attentionScale: Double? = nil, embeddingScale: Double = 1, residualScale: Double = 1, outputScale: Double = 1,
    tiedEmbedding: Bool, beginToken: Int32? = nil, endTokens: [Int32] = []
  ) {
    self.architecture = architecture
    self.vocabularySize = vocabularySize
    self.hiddenSize = hiddenSize
    self.feedForwardSize = feedForwardSize
    self.layerCount = layerCount
    self.headCount = headCount
    self.keyValueHeadCount = keyValueHeadCount
    self.headSize = headSize
    self.contextLength = contextLength
    self.normEpsilon = normEpsilon
    self.projectionNormEpsilon = projectionNormEpsilon
    self.ropeTheta = ropeTheta
    self.ropeScaling = ropeScaling
    self.yarnScaling = yarnScaling
    self.activation = activation
    self.optionalNorms = optionalNorms
    self.attention = attention
    self.attentionScale = attentionScale
    self.embeddingScale = embeddingScale
    self.residualScale = residualScale
    self.outputScale = outputScale
    self.tiedEmbedding = tiedEmbedding
    self.beginToken = beginToken
    self.endTokens = endTokens
  }

  /// Whether there are norms before the attention's output projection and before the down projection (SubLN).
  package var hasSubNorms: Bool { optionalNorms.isSuperset(of: Set.subNorms) }
  /// Whether a token attends to later tokens in some layer.
  package var isBidirectional: Bool { attention.contains(where: \.isBidirectional) }
  /// The attention of a layer: `index` in `0..<layerCount`.
  package func attention(ofLayer index: Int) -> Attention { attention[index % attention.count] }

  /// Elements of all query heads: the attention's width before its output projection.
  package var queryWidth: Int { headCount * headSize }
  /// Elements of all key (or value) heads.
  package var keyValueWidth: Int { keyValueHeadCount * headSize }
  /// Ternary weights of all layers.
  package var ternaryWeightCount: Int {
    layerCount
      * MatrixRole.allCases.map(shape(of:)).reduce(0) { $0 + $1.rows.reduce(0, +) * $1.columns }
  }
  /// All parameters: ternary weights, embedding, untied LM head, norms.
  package var parameterCount: Int {
    let embeddings = vocabularySize * hiddenSize * (tiedEmbedding ? 1 : 2)
    return ternaryWeightCount + embeddings + hiddenSize + layerCount * norms.reduce(0) { $0 + $1.width }
  }

  /// Checks that every field is in a range in which arithmetic on it cannot overflow and a model can work.
  /// - Throws: `ConfigurationError` naming the first field out of range.
  package func validate() throws(ConfigurationError) {
    func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws(ConfigurationError) {
      guard range.contains(value) else {
        throw ConfigurationError(
          field: name, found: "\(value)", expected: "a number from \(range.lowerBound) to \(range.upperBound)")
      }
    }
    func check(_ name: String, _ value: Double, _ range: ClosedRange<Double>) throws(ConfigurationError) {
      guard range.contains(value) else {
        throw ConfigurationError(
          field: name, found: "\(value)", expected: "a number from \(range.lowerBound) to \(range.upperBound)")
      }
    }
    try check("vocab_size", vocabularySize, 1...(1 << 24))
    try check("hidden_size", hiddenSize, 1...(1 << 18))
    try check("intermediate_size", feedForwardSize, 1...(1 << 20))
    try check("num_hidden_layers", layerCount, 1...4096)
    try check("num_attention_heads", headCount, 1...4096)
    try check("num_key_value_heads", keyValueHeadCount, 1...headCount)
    try check("head_dim", headSize, 2...4096)
    try check("max_position_embeddings", contextLength, 1...(1 << 24))
    try check("rms_norm_eps", normEpsilon, 1e-12...1)
    try check("rope_theta", ropeTheta, 1...1e9)
    if let epsilon = projectionNormEpsilon { try check("projectionNormEpsilon", epsilon, 1e-12...1) }
    guard headCount % keyValueHeadCount == 0 else {
      throw ConfigurationError(
        field: "num_key_value_heads", found: "\(keyValueHeadCount)",
        expected: "a divisor of num_attention_heads, \(headCount)")
    }
    guard headSize % 2 == 0 else {
      throw ConfigurationError(field: "head_dim", found: "\(headSize)", expected: "an even number")
    }
    if let scaling = ropeScaling {
      try check("rope_scaling.factor", scaling.factor, 1e-3...1e6)
      try check("rope_scaling.low_freq_factor", scaling.lowFrequencyFactor, 1e-3...1e6)
      try check("rope_scaling.high_freq_factor", scaling.highFrequencyFactor, 1e-3...1e6)
      try check("rope_scaling.original_max_position_embeddings", scaling.originalContextLength, 1...(1 << 24))
      guard scaling.highFrequencyFactor > scaling.lowFrequencyFactor else {
        throw ConfigurationError(
          field: "rope_scaling.high_freq_factor", found: "\(scaling.highFrequencyFactor)",
          expected: "more than low_freq_factor, \(scaling.lowFrequencyFactor)")
      }
    }
    if let scaling = yarnScaling {
      guard ropeScaling == nil else {
        throw ConfigurationError(field: "yarnScaling", found: "beside ropeScaling", expected: "one scaling")
      }
      try check("rope_theta", ropeTheta, 1.001...1e9)
      try check("yarnScaling.factor", scaling.factor, 1...1e6)
      try check("yarnScaling.originalContextLength", scaling.originalContextLength, 1...(1 << 24))
      try check("yarnScaling.attentionFactor", scaling.attentionFactor, 1e-3...1e3)
      try check("yarnScaling.slowRotations", scaling.slowRotations, 1e-6...1e6)
      try check("yarnScaling.fastRotations", scaling.fastRotations, scaling.slowRotations...1e6)
    }
    guard 1...layerCount ~= attention.count else {
      throw ConfigurationError(
        field: "attention", found: "a list of length \(attention.count)",
        expected: "1 to \(layerCount) entries, repeated across the layers")
    }
    for entry in attention {
      if let window = entry.window { try check("attention.window", window, 1...(1 << 24)) }
      if let theta = entry.ropeTheta { try check("attention.ropeTheta", theta, 1...1e9) }
    }
    let scales = [
      ("attentionScale", attentionScale ?? 1), ("embeddingScale", embeddingScale), ("residualScale", residualScale),
      ("outputScale", outputScale),
    ]
    for (name, scale) in scales { try check(name, scale, 1e-6...1e6) }
    for norm in optionalNorms where !norm.isOptional {
      throw ConfigurationError(field: "norms", found: "\(norm.rawValue)", expected: "only optional norms")
    }
    for token in endTokens + [beginToken].compactMap({ $0 }) where token < 0 || token >= vocabularySize {
      throw ConfigurationError(
        field: "bos_token_id or eos_token_id", found: "\(token)",
        expected: "a token id below vocab_size, \(vocabularySize)")
    }
  }
}

/// An unusable field of a model's configuration.
package struct ConfigurationError: Error, Equatable, CustomStringConvertible {
  package let field: String
  package let found: String
  package let expected: String

  package init(field: String, found: String, expected: String) {
    self.field = field
    self.found = found
    self.expected = expected
  }

  package var description: String { "\(field) is \(found); expected \(expected)" }
}

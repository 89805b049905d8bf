/// The shape of a BitNet b1.58 model: everything about it that is not a weight.
public struct ModelConfiguration: Sendable, Equatable, Codable {
  /// The gate's activation function.
  public enum Activation: String, Sendable, Codable {
    /// `max(x, 0)²`, as in BitNet b1.58 2B-4T.
    case squaredReLU = "relu2"
    /// `x / (1 + e^-x)`, as in Llama-shaped models.
    case silu
  }

  /// The frequency scaling of Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between blended.
  public struct RotaryScaling: Sendable, Equatable, Codable {
    public var factor: Double
    public var lowFrequencyFactor: Double
    public var highFrequencyFactor: Double
    public var originalContextLength: Int

    public init(factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalContextLength: Int) {
      self.factor = factor
      self.lowFrequencyFactor = lowFrequencyFactor
      self.highFrequencyFactor = highFrequencyFactor
      self.originalContextLength = originalContextLength
    }
  }

  /// The architecture's name as its checkpoint gives it, for people.
  public var architecture: String
  public var vocabularySize: Int
  public var hiddenSize: Int
  public var feedForwardSize: Int
  public var layerCount: Int
  /// Query heads.
  public var headCount: Int
  /// Key/value heads; `headCount` is a multiple of it.
  public var keyValueHeadCount: Int
  /// Elements of one head: even.
  public var headSize: Int
  /// Positions the model was trained for.
  public var contextLength: Int
  public var normEpsilon: Double
  public var ropeTheta: Double
  public var ropeScaling: RotaryScaling?
  public var activation: Activation
  /// Whether a norm stands before the attention's output projection and before the down projection (SubLN).
  public var hasSubNorms: Bool
  /// Whether the output head is the embedding.
  public var tiedEmbedding: Bool
  public var beginToken: Int32?
  /// Tokens that end a text, from config.json and generation_config.json.
  public var endTokens: [Int32]

  public init(
    architecture: String, vocabularySize: Int, hiddenSize: Int, feedForwardSize: Int, layerCount: Int, headCount: Int,
    keyValueHeadCount: Int, headSize: Int, contextLength: Int, normEpsilon: Double, ropeTheta: Double,
    ropeScaling: RotaryScaling? = nil, activation: Activation, hasSubNorms: Bool, tiedEmbedding: Bool,
    beginToken: Int32? = nil, endTokens: [Int32] = []
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
    self.ropeTheta = ropeTheta
    self.ropeScaling = ropeScaling
    self.activation = activation
    self.hasSubNorms = hasSubNorms
    self.tiedEmbedding = tiedEmbedding
    self.beginToken = beginToken
    self.endTokens = endTokens
  }

  /// Elements of all query heads: the attention's width before its output projection.
  public var queryWidth: Int { headCount * headSize }
  /// Elements of all key (or value) heads.
  public var keyValueWidth: Int { keyValueHeadCount * headSize }
  /// Ternary weights of all layers.
  public var ternaryWeightCount: Int {
    layerCount * (hiddenSize * (2 * queryWidth + 2 * keyValueWidth) + 3 * hiddenSize * feedForwardSize)
  }
  /// All parameters: ternary weights, embedding, untied head, norms.
  public var parameterCount: Int {
    let embeddings = vocabularySize * hiddenSize * (tiedEmbedding ? 1 : 2)
    let norms = hiddenSize + layerCount * (2 * hiddenSize + (hasSubNorms ? queryWidth + feedForwardSize : 0))
    return ternaryWeightCount + embeddings + norms
  }

  /// Checks every field against the ranges in which arithmetic on it cannot overflow and a model can work.
  /// - Throws: `ConfigurationError` naming the first field out of range.
  package func validate() throws(ConfigurationError) {
    func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws(ConfigurationError) {
      guard range.contains(value) else {
        throw ConfigurationError(field: name, found: "\(value)", expected: "a number from \(range.lowerBound) to \(range.upperBound)")
      }
    }
    func check(_ name: String, _ value: Double, _ range: ClosedRange<Double>) throws(ConfigurationError) {
      guard range.contains(value) else {
        throw ConfigurationError(field: name, found: "\(value)", expected: "a number from \(range.lowerBound) to \(range.upperBound)")
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
    guard headCount % keyValueHeadCount == 0 else {
      throw ConfigurationError(
        field: "num_key_value_heads", found: "\(keyValueHeadCount)", expected: "a divisor of num_attention_heads, \(headCount)")
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
    for token in endTokens + [beginToken].compactMap({ $0 }) where token < 0 || token >= vocabularySize {
      throw ConfigurationError(
        field: "bos_token_id or eos_token_id", found: "\(token)", expected: "a token id below vocab_size, \(vocabularySize)")
    }
  }
}

/// A field of a model's configuration that cannot be used.
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

/// A sampled token, with natural logarithms of probabilities under the model's own distribution (temperature 1, no
/// filter).
public struct SampledToken: Sendable, Equatable {
  /// One of the most likely tokens.
  public struct Alternative: Sendable, Equatable {
    /// 0 up to the vocabulary's size.
    public var token: Int32
    /// At most 0.
    public var logProbability: Float

    /// Makes an alternative.
    package init(token: Int32, logProbability: Float) {
      self.token = token
      self.logProbability = logProbability
    }
  }
  /// 0 up to the vocabulary's size.
  public var token: Int32
  /// At most 0; nil when log probabilities were not asked for. They need all logits, which choosing a token may not.
  public var logProbability: Float?
  /// The most likely tokens, in descending order, as many as were asked for.
  public var alternatives: [Alternative]

  /// Makes a sampled token.
  package init(token: Int32, logProbability: Float? = nil, alternatives: [Alternative] = []) {
    self.token = token
    self.logProbability = logProbability
    self.alternatives = alternatives
  }
}

/// A sampled token. Its log probabilities are natural logarithms under the model's own distribution (temperature 1, no
/// filters).
public struct SampledToken: Sendable, Equatable {
  /// One of the most likely tokens.
  public struct Alternative: Sendable, Equatable {
    /// The token's id, 0 up to the vocabulary's size.
    public var token: Int32
    /// The token's log probability, at most 0.
    public var logProbability: Float

    /// Makes an alternative.
    package init(token: Int32, logProbability: Float) {
      self.token = token
      self.logProbability = logProbability
    }
  }
  /// The token's id, 0 up to the vocabulary's size.
  public var token: Int32
  /// The token's log probability, at most 0; nil unless requested, because it needs all logits and sampling may not.
  public var logProbability: Float?
  /// The requested number of most likely tokens, most likely first.
  public var alternatives: [Alternative]

  /// Makes a sampled token.
  package init(token: Int32, logProbability: Float? = nil, alternatives: [Alternative] = []) {
    self.token = token
    self.logProbability = logProbability
    self.alternatives = alternatives
  }
}

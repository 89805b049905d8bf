package import BitNetInference

/// How to generate text.
public struct GenerationOptions: Sendable, Equatable {
  /// How to choose tokens; greedy by default.
  public var sampling: SamplingParameters
  /// The largest number of tokens to generate: 1 or more. nil generates until the context is full.
  public var maximumTokens: Int?
  /// Texts that stop the generation; they are not part of the result.
  public var stopTexts: [String]
  /// Tokens that stop the generation, besides the model's own end tokens.
  public var stopTokens: Set<TokenID>
  /// Whether the model's end tokens are generated like other tokens instead of stopping.
  public var ignoresEndTokens: Bool
  /// How many of the most likely alternatives to report log probabilities for, 0 to the vocabulary's size. 0 reports
  /// only the chosen token's; nil reports none.
  public var logProbabilities: Int?
  /// Numbers from -100 to 100 that are added to the logits of tokens, by their ids, before everything else.
  public var logitBias: [TokenID: Float]
  /// What the text must look like.
  public var format: ResponseFormat

  /// Makes options; see the properties.
  public init(
    sampling: SamplingParameters = .greedy, maximumTokens: Int? = nil, stopTexts: [String] = [],
    stopTokens: Set<TokenID> = [], ignoresEndTokens: Bool = false, logProbabilities: Int? = nil,
    logitBias: [TokenID: Float] = [:], format: ResponseFormat = .text
  ) {
    self.sampling = sampling
    self.maximumTokens = maximumTokens
    self.stopTexts = stopTexts
    self.stopTokens = stopTokens
    self.ignoresEndTokens = ignoresEndTokens
    self.logProbabilities = logProbabilities
    self.logitBias = logitBias
    self.format = format
  }
}

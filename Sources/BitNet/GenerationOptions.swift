package import BitNetInference

/// How text is generated.
public struct GenerationOptions: Sendable, Equatable {
  /// How tokens are chosen; the likeliest ones by default.
  public var sampling: SamplingParameters
  /// Tokens to generate at most: 1 or more. What the context has room for when nil.
  public var maximumTokens: Int?
  /// Texts at which generation stops; they are not part of the result.
  public var stopTexts: [String]
  /// Tokens at which generation stops, besides the model's own.
  public var stopTokens: Set<Int32>
  /// Whether the model's end tokens are generated like others instead of stopping.
  public var ignoresEndTokens: Bool
  /// For each token, of how many of the likeliest tokens to report the log probability, beside its own; nil for none at
  /// all.
  public var logProbabilities: Int?

  public init(
    sampling: SamplingParameters = .greedy, maximumTokens: Int? = nil, stopTexts: [String] = [],
    stopTokens: Set<Int32> = [],
    ignoresEndTokens: Bool = false, logProbabilities: Int? = nil
  ) {
    self.sampling = sampling
    self.maximumTokens = maximumTokens
    self.stopTexts = stopTexts
    self.stopTokens = stopTokens
    self.ignoresEndTokens = ignoresEndTokens
    self.logProbabilities = logProbabilities
  }
}

/// Why a generation ended.
public enum FinishReason: String, Sendable, Codable {
  /// The model ended its text, or a stop text or stop token came up.
  case stop
  /// The maximum number of tokens, or the end of the context, was reached.
  case length
}

/// What a generation did and how long it took.
public struct GenerationStatistics: Sendable, Equatable, Codable {
  /// Tokens of the prompt, those already in the cache included.
  public var promptTokens = 0
  /// Tokens of the prompt that the cache still held from an earlier turn.
  public var cachedTokens = 0
  /// Tokens generated, a final stop token included.
  public var generatedTokens = 0
  /// Seconds from the start to the first generated token.
  public var timeToFirstToken = 0.0
  /// Seconds from the first generated token to the last.
  public var decodeTime = 0.0

  public init() {}

  /// Prompt tokens a second, those that were cached left out; 0 before the first token.
  public var promptRate: Double { timeToFirstToken > 0 ? Double(promptTokens - cachedTokens) / timeToFirstToken : 0 }
  /// Generated tokens a second after the first; 0 with fewer than two.
  public var decodeRate: Double { decodeTime > 0 ? Double(generatedTokens - 1) / decodeTime : 0 }
}

/// A piece of generated text.
public struct GeneratedPiece: Sendable {
  /// Text that is complete: never half a character, never the beginning of a stop text. Empty when the tokens so far
  /// complete none.
  public var text: String
  /// The tokens generated since the piece before: one, or none in the last piece.
  public var tokens: [SampledToken]
  /// The generation up to this piece.
  public var statistics = GenerationStatistics()
  /// Why the generation ended: set in the last piece.
  public var finish: FinishReason?
}

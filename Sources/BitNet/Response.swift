package import BitNetInference

/// A generated text, complete.
public struct Response: Sendable {
  /// The text, without the stop text that ended it.
  public var text: String
  /// The generated tokens, a final stop token included.
  public var tokens: [SampledToken]
  /// Why the generation ended.
  public var finish: FinishReason
  /// What the generation took.
  public var statistics: GenerationStatistics
  package var record: GenerationRecord?

  /// What the generation depended on and gave, to be checked later; nil for a response without tokens. With
  /// ``GenerationOptions/logProbabilities``, it holds a digest for each token.
  public var receipt: Receipt? {
    guard let record, !tokens.isEmpty else { return nil }
    return Receipt(record, tokens: tokens, finish: finish)
  }
}

/// A piece of generated text: what one token adds.
public struct GeneratedPiece: Sendable {
  /// Text that is complete: never half a character, never the beginning of a stop text. Empty when the tokens so far
  /// complete none.
  public var text: String
  /// The token that was generated.
  public var token: SampledToken
  /// The generation up to this piece.
  public var statistics: GenerationStatistics
  /// Why the generation ended, in the last piece; nil in the others.
  public var finish: FinishReason?
  /// What the generation depends on.
  package var record: GenerationRecord
}

/// Why a generation ended. Later versions may add reasons, so handle the ones you do not know as well.
public struct FinishReason: Hashable, Sendable, CustomStringConvertible {
  /// The reason's name, such as `stop`.
  public let description: String

  /// The model ended its text, or a stop text or stop token came up.
  public static let stop = FinishReason(description: "stop")
  /// The generation reached the maximum number of tokens or the end of the context.
  public static let length = FinishReason(description: "length")
}

/// What a generation did and how long it took.
public struct GenerationStatistics: Sendable, Equatable {
  /// Tokens of the prompt, including those that the cache already held.
  public var promptTokens = 0
  /// Tokens of the prompt whose keys and values the cache held from earlier generations.
  public var cachedTokens = 0
  /// Tokens generated, including a final stop token.
  public var generatedTokens = 0
  /// Tokens that were guessed and run along with others; see ``Speculation``.
  public var draftedTokens = 0
  /// Guessed tokens that came true.
  public var acceptedTokens = 0
  /// Time from the start to the first generated token.
  public var timeToFirstToken = Duration.zero
  /// Time from the first generated token to the last.
  public var decodeTime = Duration.zero

  package init() {}

  /// Prompt tokens per second, without the cached ones; 0 before the first token.
  public var promptRate: Double {
    let seconds = timeToFirstToken / .seconds(1)
    return seconds > 0 ? Double(promptTokens - cachedTokens) / seconds : 0
  }
  /// Generated tokens per second after the first; 0 with fewer than two.
  public var decodeRate: Double {
    let seconds = decodeTime / .seconds(1)
    return seconds > 0 ? Double(generatedTokens - 1) / seconds : 0
  }
}

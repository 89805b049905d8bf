/// A sequence whose keys and values an engine keeps.
package struct SequenceID: Hashable, Sendable, CustomStringConvertible {
  package let value: Int
  package init(_ value: Int) { self.value = value }
  package var description: String { "sequence \(value)" }
}

/// One step's work: new tokens of any number of sequences, prompt chunks and single decode tokens mixed.
package struct Batch: Sendable {
  /// What a step returns for a sequence.
  package enum Output: Sendable {
    /// Nothing: the tokens are an earlier chunk of a prompt.
    case none
    /// A token sampled after the last of the new tokens. With `logProbabilities`, also its log probability and those of this many
    /// likeliest tokens: 0 to the vocabulary's size.
    case sample(SamplingParameters, logProbabilities: Int? = nil)
    /// The logits after the last new token, `[vocabulary]`.
    case lastLogits
    /// The logits after each new token, `[tokens][vocabulary]`.
    case allLogits
  }

  /// New tokens of one sequence; they continue what its cache holds.
  package struct Entry: Sendable {
    package var sequence: SequenceID
    /// One token or more.
    package var tokens: [Int32]
    package var output: Output

    package init(sequence: SequenceID, tokens: [Int32], output: Output) {
      self.sequence = sequence
      self.tokens = tokens
      self.output = output
    }
  }

  package var entries: [Entry]

  package init(_ entries: [Entry]) { self.entries = entries }

  /// The batch in which each entry's token is the one that was sampled for it.
  package func continued(by sampled: [SampledToken]) -> Batch {
    Batch(zip(entries, sampled).map { .init(sequence: $0.sequence, tokens: [$1.token], output: $0.output) })
  }
}

/// What a step gave for one entry of the batch.
package enum StepOutput: Sendable {
  case none
  case sampled(SampledToken)
  case logits([Float])
}

/// A sampled token, with natural logarithms of probabilities under the model's own distribution (temperature 1, no filter).
public struct SampledToken: Sendable, Equatable {
  public struct Alternative: Sendable, Equatable {
    public var token: Int32
    public var logProbability: Float

    public init(token: Int32, logProbability: Float) {
      self.token = token
      self.logProbability = logProbability
    }
  }
  public var token: Int32
  /// Nil when log probabilities were not asked for: they take all logits, which choosing a token may not need.
  public var logProbability: Float?
  /// The likeliest tokens, in descending order, as many as were asked for.
  public var alternatives: [Alternative]

  public init(token: Int32, logProbability: Float? = nil, alternatives: [Alternative] = []) {
    self.token = token
    self.logProbability = logProbability
    self.alternatives = alternatives
  }
}

/// A step an engine refuses, in which case nothing has changed, or one that its device failed at.
package enum EngineError: Error, Equatable, CustomStringConvertible {
  case unknownSequence(SequenceID)
  case repeatedSequence(SequenceID)
  case noTokens(SequenceID)
  case tokenOutOfRange(Int32, vocabulary: Int)
  case contextFull(length: Int, adding: Int, limit: Int)
  case truncation(length: Int, to: Int)
  case parameter(name: String, found: String, expected: String)
  /// The device failed, or has no memory for the cache, in its own words.
  case device(String)

  package var description: String {
    switch self {
    case .unknownSequence(let id): "\(id) does not exist"
    case .repeatedSequence(let id): "\(id) stands more than once in a batch; expected one entry for each sequence"
    case .noTokens(let id): "the batch has no tokens for \(id); expected one or more"
    case .tokenOutOfRange(let token, let vocabulary): "token id \(token) is out of range; expected 0 to \(vocabulary - 1)"
    case .contextFull(let length, let adding, let limit):
      length == 0
        ? "the prompt has \(adding) tokens; the context holds \(limit)"
        : "\(adding) more tokens after \(length) do not fit in the context of \(limit)"
    case .truncation(let length, let to): "a sequence of \(length) tokens cannot be cut to \(to)"
    case .parameter(let name, let found, let expected): "\(name) is \(found); expected \(expected)"
    case .device(let failure): failure
    }
  }
}

package import BitNetInference

/// A prompt to continue, and how.
package struct Request: Sendable {
  /// The prompt's tokens: at least one, and fewer than the context holds.
  package var prompt: [Int32]
  package var sampling: SamplingParameters
  /// How many of the most likely alternatives to report log probabilities for; nil reports none.
  package var logProbabilities: Int?
  /// Numbers that are added to logits; in ascending order of their tokens.
  package var biases: [TokenBias]
  /// Restricts the tokens; needs at least one stop token. Log probabilities stay those of all tokens.
  package var constraint: (any TokenConstraint)?
  /// The most tokens to generate: 1 or more.
  package var limit: Int
  /// Tokens that end the generation; the one that ends it is its last token.
  package var stops: Set<Int32>
  /// When to give up; nil if never.
  package var deadline: ContinuousClock.Instant?
  /// Whether the reader needs the tokens only at the end: after the first one, a waiting reader is woken for several at
  /// a time.
  package var readsInGroups: Bool

  package init(
    prompt: [Int32], sampling: SamplingParameters = .greedy, logProbabilities: Int? = nil,
    biases: [TokenBias] = [], constraint: (any TokenConstraint)? = nil, limit: Int, stops: Set<Int32> = [],
    deadline: ContinuousClock.Instant? = nil, readsInGroups: Bool = false
  ) {
    self.prompt = prompt
    self.sampling = sampling
    self.logProbabilities = logProbabilities
    self.biases = biases
    self.constraint = constraint
    self.limit = limit
    self.stops = stops
    self.deadline = deadline
    self.readsInGroups = readsInGroups
  }
}

/// A reason why a scheduler does not serve a request.
package enum SchedulerError: Error, Equatable, CustomStringConvertible {
  case queueFull(waiting: Int)
  case deadline
  /// The request's constraint left no token to choose.
  case nothingAllowed

  package var description: String {
    switch self {
    case .queueFull(let waiting): "the queue is full with \(plural(waiting, "request")); try again later"
    case .nothingAllowed:
      """
      no token goes on with the response format; expected a vocabulary with a token for each of its bytes, and none of \
      them among the tokens that end an answer
      """
    case .deadline: "the deadline passed before the generation ended"
    }
  }
}

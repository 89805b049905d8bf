package import BitNetInference

/// What one caller wants generated.
package struct Request: Sendable {
  /// At least one token, fewer than the context holds.
  package var prompt: [Int32]
  package var sampling: SamplingParameters
  /// How many of the most likely alternatives to report log probabilities for; nil reports none at all.
  package var logProbabilities: Int?
  /// Tokens to generate at most: 1 or more.
  package var limit: Int
  /// Tokens that end the generation; the one that does is its last.
  package var stops: Set<Int32>
  /// When to give up.
  package var deadline: ContinuousClock.Instant?

  package init(
    prompt: [Int32], sampling: SamplingParameters = .greedy, logProbabilities: Int? = nil, limit: Int,
    stops: Set<Int32> = [],
    deadline: ContinuousClock.Instant? = nil
  ) {
    self.prompt = prompt
    self.sampling = sampling
    self.logProbabilities = logProbabilities
    self.limit = limit
    self.stops = stops
    self.deadline = deadline
  }
}

/// Why a scheduler does not serve a request.
package enum SchedulerError: Error, Equatable, CustomStringConvertible {
  case queueFull(waiting: Int)
  case deadline

  package var description: String {
    switch self {
    case .queueFull(let waiting): "the queue has \(waiting) requests, its limit; try again later"
    case .deadline: "the deadline passed before the generation ended"
    }
  }
}

/// The presence and frequency penalties of a generation, as biases that grow with its tokens.
///
/// A token that was generated n > 0 times has its logit lowered by `presence + frequency · n`; the prompt's tokens do
/// not count. A request's own bias of the token and this number become one bias before either reaches a logit, in Float
/// and in this order: `bias - (presence + frequency · n)`. So the logit is changed by one addition, on the host and on
/// devices alike, before the repetition penalty and the temperature.
package struct TokenPenalties: Sendable {
  private let presence: Float
  private let frequency: Float
  /// The request's own; in ascending order of their tokens.
  private let base: [TokenBias]
  /// How often each token was generated; in ascending order of the tokens.
  private var counts: [(token: Int32, count: Int32)] = []

  /// - Parameter biases: the request's own, in ascending order of their tokens.
  /// - Returns: nil for parameters without these penalties.
  package init?(_ sampling: SamplingParameters, biases: [TokenBias]) {
    guard sampling.presencePenalty != 0 || sampling.frequencyPenalty != 0 else { return nil }
    (presence, frequency, base) = (sampling.presencePenalty, sampling.frequencyPenalty, biases)
  }

  /// Takes the next generated token.
  package mutating func append(_ token: Int32) {
    var (low, high) = (0, counts.count)
    while low < high {
      let middle = (low + high) / 2
      if counts[middle].token < token { low = middle + 1 } else { high = middle }
    }
    if low < counts.count, counts[low].token == token {
      counts[low].count += 1
    } else {
      counts.insert((token, 1), at: low)
    }
  }

  /// The biases of the next token; in ascending order of their tokens.
  package var biases: [TokenBias] {
    var merged: [TokenBias] = []
    merged.reserveCapacity(base.count + counts.count)
    var rest = base[...]
    for (token, count) in counts {
      while let bias = rest.first, bias.token < token { merged.append(rest.removeFirst()) }
      let own = rest.first?.token == token ? rest.removeFirst().value : 0
      merged.append(TokenBias(token: token, value: own - (presence + frequency * Float(count))))
    }
    return merged + rest
  }
}

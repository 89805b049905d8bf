import BitNetInference

extension Scheduler {
  /// A waiting or running request.
  final class Job {
    let request: Request
    let feed: TokenFeed
    /// The request's sequence; nil while it waits.
    var sequence: SequenceID?
    /// The prompt and the generated tokens.
    var tokens: [Int32]
    /// How many of the tokens the engine has.
    var given = 0
    /// How many running steps choose a token for the request.
    var underWay = 0
    /// Whether the engine has the whole prompt, so that each step continues from the last chosen token.
    var isDecoding = false
    /// Whether the engine has dropped tokens after the last one, so that it must be given that one.
    var mustGiveLast = false
    /// Decides about guesses; nil before the first token, and without speculation.
    var speculation: SequenceSpeculation?
    var generated = 0
    /// How far the request's constraint has come, and the tokens that it allows next.
    private(set) var constraint: (any TokenConstraintState)?
    private(set) var mask: TokenMask?
    /// The penalties of the tokens generated so far; nil without penalties.
    private(set) var penalties: TokenPenalties?
    /// The request's parameters without the penalties that are biases.
    fileprivate let stepSampling: SamplingParameters
    var isDone = false
    /// Wakes the scheduler at the request's deadline.
    var timer: Task<Void, Never>?

    init(_ request: Request, _ feed: TokenFeed) {
      self.request = request
      self.feed = feed
      tokens = request.prompt
      constraint = request.constraint?.begin(ends: request.stops)
      mask = constraint?.mask
      penalties = TokenPenalties(request.sampling, biases: request.biases)
      stepSampling = request.sampling.ofStep
    }

    func append(_ token: Int32) {
      tokens.append(token)
      generated += 1
      speculation?.append(token)
      penalties?.append(token)
      guard !isComplete else { return }
      constraint?.append(token)
      mask = constraint?.mask
    }

    var promptLeft: Int { tokens.count - given }
    /// The longest guess that can come true and leave room for the token after it.
    var longestDraft: Int { request.limit - generated - 1 }
    /// Whether the choice of the next token can only be prepared when the last one is known.
    var needsLast: Bool { mask != nil || penalties != nil }
  }
}

extension Scheduler.Job {
  /// The mask of a row after the last token; empty if all tokens are allowed.
  var nextMask: [TokenMask] { mask.map { [$0] } ?? [] }

  /// - Parameters:
  ///   - masks: of the entry's rows with a result; nil if there are none.
  ///   - draft: the guess whose tokens are the inputs of the rows after the first.
  func want(_ masks: [TokenMask]?, after draft: Draft? = nil) -> Batch.Want {
    var adjustment: TokenAdjustment?
    if let masks {
      let rows = penaltyRows(after: draft)
      if !masks.isEmpty || !request.biases.isEmpty || !rows.isEmpty {
        adjustment = TokenAdjustment(masks: masks, biases: rows.isEmpty ? request.biases : [], rowBiases: rows)
      }
    }
    return .token(stepSampling, logProbabilities: request.logProbabilities, adjustment: adjustment)
  }

  /// The biases of the rows of the last token and of a guess; empty if they are the request's own in all of them.
  private func penaltyRows(after draft: Draft?) -> [[TokenBias]] {
    guard var penalties else { return [] }
    var rows = [penalties.biases]
    for token in draft?.tokens ?? [] {
      penalties.append(token)
      rows.append(penalties.biases)
    }
    return rows
  }

  var isComplete: Bool { ends(at: generated, with: tokens[tokens.count - 1]) }

  /// Whether a token that is generated as the `count`-th ends the request.
  private func ends(at count: Int, with token: Int32) -> Bool {
    count == request.limit || request.stops.contains(token)
  }

  /// The results of a step's rows up to the one that ends the request, or after which the guess is wrong.
  func valid(_ results: [SampledToken], after draft: Draft?) -> [SampledToken] {
    let guessed = draft?.tokens ?? []
    let last = results.indices.first { place in
      let token = results[place].token
      return place == guessed.count || token != guessed[place] || ends(at: generated + place + 1, with: token)
    }
    return Array(results[...(last ?? results.count - 1)])
  }

  /// Cuts a guess before its first token that cannot come true, or that ends the request.
  ///
  /// - Returns: the masks of the rows of the last token and of the guess.
  func cut(_ draft: inout Draft) -> [TokenMask] {
    var state = constraint
    var masks = nextMask
    for (place, token) in draft.tokens.enumerated() {
      let isPossible = token >= 0 && (masks.isEmpty || Int(token) < masks[place].vocabulary && masks[place][Int(token)])
      if isPossible, !request.stops.contains(token) {
        state?.append(token)
        if let next = state?.mask { masks.append(next) }
        if masks.last?.count != 0 { continue }
        masks.removeLast()
      }
      draft.tokens.removeLast(draft.tokens.count - place)
      break
    }
    return masks
  }
}

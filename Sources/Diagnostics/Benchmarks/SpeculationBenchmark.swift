import BitNetInference
package import BitNetServing

/// Times generations with and without speculation, side by side.
package struct SpeculationBenchmark {
  /// A way to speculate. Reports in JSON have the names of these fields, in snake_case.
  package struct Rate: Encodable, Sendable {
    /// The median over the rounds.
    package let tokensPerSecond: Double
    /// The rate divided by the rate without speculation in the same round: the median over the rounds, and all.
    package let ratio: Double
    package let ratios: [Double]
    /// In the last round.
    package let drafted: Int
    package let accepted: Int
  }

  package struct Result: Encodable, Sendable {
    /// The probability that a guessed token is right, or the name of a task.
    package let acceptance: Double?
    package let task: String?
    /// The tokens of each generation.
    package let tokens: Int
    package let offTokensPerSecond: Double
    /// With guesses of four tokens, always.
    package let always4: Rate
    package let automatic: Rate
  }

  private let scheduler: Scheduler
  private let rounds: Int
  private let tokens: Int

  /// - Parameters:
  ///   - scheduler: serves nobody else meanwhile. Its speculation is off afterwards.
  ///   - rounds: 1 or more.
  ///   - tokens: of each generation, 2 or more.
  package init(_ scheduler: Scheduler, rounds: Int, tokens: Int) {
    self.scheduler = scheduler
    self.rounds = rounds
    self.tokens = tokens
  }

  /// A generation's tokens and the seconds from the first to the last.
  private func generate(
    _ prompt: [Int32], _ speculation: Speculation, _ drafter: any Drafter
  ) async throws -> (tokens: [Int32], seconds: Double, counts: SpeculationCounts) {
    await scheduler.speculate(speculation, drafter: drafter)
    let stream = try await scheduler.start(Request(prompt: prompt, limit: tokens))
    var found: [Int32] = []
    let clock = ContinuousClock()
    var first = clock.now
    while let token = try await stream.next() {
      if found.isEmpty { first = clock.now }
      found.append(token.token)
    }
    return (found, first.duration(to: clock.now) / .seconds(1), stream.speculation)
  }

  /// Times guesses that come true at a set rate.
  ///
  /// - Parameters:
  ///   - prompt: continued greedily.
  ///   - share: the probability that a guessed token is right, 0 to 1.
  package func measure(_ prompt: [Int32], acceptance share: Double) async throws -> Result {
    let known = prompt + (try await generate(prompt, .off, PromptLookup()).tokens)
    return try await measure(prompt, acceptance: share, task: nil, SetAcceptance(known: known, share: share))
  }

  /// Times guesses by prompt lookup.
  ///
  /// - Parameter task: the prompt's name.
  package func measure(_ prompt: [Int32], task: String) async throws -> Result {
    try await measure(prompt, acceptance: nil, task: task, PromptLookup())
  }

  private func measure(
    _ prompt: [Int32], acceptance: Double?, task: String?, _ drafter: any Drafter
  ) async throws -> Result {
    let options: [Speculation] = [.off, .always(4), .automatic]
    var seconds = [[Double]](repeating: [], count: options.count)
    var counts = [SpeculationCounts](repeating: .init(), count: options.count)
    // One additional round loads what is loaded on first use, and measures the time of rows.
    for round in 0...rounds {
      for (index, option) in options.enumerated() {
        let run = try await generate(prompt, option, drafter)
        if round > 0 { seconds[index].append(run.seconds) }
        counts[index] = run.counts
      }
    }
    await scheduler.speculate(.off, drafter: PromptLookup())
    func rate(_ index: Int) -> Rate {
      let ratios = zip(seconds[0], seconds[index]).map { $0 / $1 }
      return Rate(
        tokensPerSecond: Double(tokens - 1) / seconds[index].quantile(0.5), ratio: ratios.quantile(0.5), ratios: ratios,
        drafted: counts[index].drafted, accepted: counts[index].accepted)
    }
    return Result(
      acceptance: acceptance, task: task, tokens: tokens,
      offTokensPerSecond: Double(tokens - 1) / seconds[0].quantile(0.5), always4: rate(1), automatic: rate(2))
  }
}

import BitNetInference
package import BitNetServing

/// Times tasks that share a model through the scheduler, beside the engine alone with a batch of as many sequences.
package struct CallersBenchmark {
  /// The result for one number of tasks. Reports in JSON have the names of these fields, in snake_case.
  package struct Result: Encodable, Sendable {
    package let callers: Int
    /// Of each task.
    package let tokens: Int
    /// Of all sequences together, the median over the rounds.
    package let engineTokensPerSecond: Double
    package let schedulerTokensPerSecond: Double
    /// The scheduler's rate divided by the engine's in the same round, for each round; and their median.
    package let ratios: [Double]
    package let ratio: Double
  }

  private let scheduler: Scheduler
  private let vocabulary: Int
  private let rounds: Int
  private let tokens: Int

  /// - Parameters:
  ///   - scheduler: serves nobody else meanwhile.
  ///   - vocabulary: the model's.
  ///   - rounds: 1 or more.
  ///   - tokens: of each task, 1 to one less than the context length.
  package init(_ scheduler: Scheduler, vocabulary: Int, rounds: Int, tokens: Int) {
    self.scheduler = scheduler
    self.vocabulary = vocabulary
    self.rounds = rounds
    self.tokens = tokens
  }

  /// Decodes the same sequences in both ways in every round.
  ///
  /// - Parameter count: tasks, 1 or more.
  package func measure(_ count: Int) async throws -> Result {
    let clock = ContinuousClock()
    var (direct, scheduled): ([Double], [Double]) = ([], [])
    // One additional round loads what is loaded on first use.
    for round in 0...rounds {
      let first = (0..<count).map { Int32(($0 * 31 + round * 7) % vocabulary) }
      let limit = tokens
      let alone = try await scheduler.perform { engine in
        try clock.measure {
          let ids = first.map { _ in engine.makeSequence() }
          defer { for id in ids { engine.removeSequence(id) } }
          let entries = zip(ids, first).map { Batch.Entry(sequence: $0, tokens: [$1], want: .token(.greedy)) }
          try engine.generate(Batch(entries), limit: limit) { _ in true }
        }
      }
      let together = try await clock.measure {
        try await withThrowingTaskGroup { group in
          for token in first {
            group.addTask {
              let stream = try await scheduler.start(Request(prompt: [token], limit: limit))
              while try await stream.next() != nil {}
            }
          }
          try await group.waitForAll()
        }
      }
      guard round > 0 else { continue }
      direct.append(Double(count * tokens) / (alone / .seconds(1)))
      scheduled.append(Double(count * tokens) / (together / .seconds(1)))
    }
    let ratios = zip(scheduled, direct).map { $0 / $1 }
    return Result(
      callers: count, tokens: tokens, engineTokensPerSecond: direct.quantile(0.5),
      schedulerTokensPerSecond: scheduled.quantile(0.5), ratios: ratios, ratio: ratios.quantile(0.5))
  }
}

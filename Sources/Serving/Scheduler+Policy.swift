import BitNetInference

/// How many tokens steps had: of prompts, and new ones.
package struct StepTokens: Sendable {
  /// The largest numbers of the ranges, ascending; a last range takes the rest.
  package static let bounds = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]
  /// The steps of each range.
  package private(set) var counts = [Int](repeating: 0, count: bounds.count + 1)
  /// The tokens of all steps.
  package private(set) var sum = 0

  mutating func add(_ tokens: Int) {
    counts[Self.bounds.firstIndex { tokens <= $0 } ?? Self.bounds.count] += 1
    sum += tokens
  }

  mutating func add(_ other: Self) {
    for (range, count) in other.counts.enumerated() { counts[range] += count }
    sum += other.sum
  }
}

extension Scheduler {
  package struct Policy: Sendable {
    /// The most requests that run together.
    package var running: Int
    /// The most requests that wait for their turn; further ones are refused.
    package var waiting: Int
    /// The most tokens of a step while requests are generating; nil uses the engine's own number.
    package var stepTokens: Int?
    package var speculation: Speculation
    /// Guesses tokens, if there is speculation.
    package var drafter: any Drafter
    /// Whether later prompts may begin with a prompt and its answer, as those of a chat do. The cache keeps only prompts
    /// otherwise, so that answers use the same few pages again, which are in the processor's caches.
    package var answersAreContinued = true

    package init(
      running: Int = 256, waiting: Int = .max, stepTokens: Int? = nil, speculation: Speculation = .off,
      drafter: any Drafter = PromptLookup()
    ) {
      self.running = running
      self.waiting = waiting
      self.stepTokens = stepTokens
      self.speculation = speculation
      self.drafter = drafter
    }
  }

  /// What a scheduler does and did.
  package struct Load: Sendable {
    package var running = 0
    package var waiting = 0
    /// The share of the cache's pages that running requests fill, 0 to 1. A page that several share counts for each.
    package var cacheUse = 0.0
    /// The most pages of the cache.
    package var cachePages = 0
    /// Positions of a page.
    package var pageTokens = attentionChunkLength
    /// Prompt tokens that were looked up in the cache.
    package var prefixQueries = 0
    /// Prompt tokens that the cache held.
    package var prefixHits = 0
    /// How often a request gave up its pages.
    package var preemptions = 0
    /// Tokens of the steps that took prompt tokens or gave new ones.
    package var stepTokens = StepTokens()
    /// What speculation has done.
    package var speculation = SpeculationCounts()

    /// Adds the load of another engine of the same model.
    package mutating func add(_ other: Self) {
      let (own, others) = (cacheUse * Double(cachePages), other.cacheUse * Double(other.cachePages))
      running += other.running
      waiting += other.waiting
      cachePages += other.cachePages
      cacheUse = cachePages > 0 ? (own + others) / Double(cachePages) : 0
      prefixQueries += other.prefixQueries
      prefixHits += other.prefixHits
      preemptions += other.preemptions
      stepTokens.add(other.stepTokens)
      speculation.add(other.speculation)
    }
  }
}

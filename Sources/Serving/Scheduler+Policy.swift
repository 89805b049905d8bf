import BitNetInference

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
  }
}

/// Runs a model: takes ragged batches, keeps the sequences' keys and values, returns tokens, logits or hidden states.
///
/// Every engine returns the same bits for a sequence, regardless of the rest of the batch, the chunks its prompt came
/// in, how much of it the cache already held, and the number of threads. An engine is used by one caller at a time.
package protocol Engine: AnyObject {
  var configuration: ModelConfiguration { get }
  /// The most positions that a sequence can hold.
  var contextLength: Int { get }
  /// The device and configuration that the engine runs on, in a few words.
  var summary: String { get }
  var capacity: Capacity { get }
  var memory: MemoryUse { get }

  /// Starts a sequence that holds the longest prefix of the tokens that the cache still has, but never all of them, so
  /// that at least one token is left to run.
  ///
  /// - Returns: the sequence and how many tokens it holds.
  func makeSequence(startingWith tokens: [Int32]) -> (id: SequenceID, cached: Int)
  /// Ends a sequence; unknown ids are ignored. Its pages stay in the cache for sequences with a common prefix until
  /// their memory is needed, but not for long where they hold tokens after the first `count`.
  func removeSequence(_ id: SequenceID, keeping count: Int)
  /// The tokens that a sequence's cache holds. Waits for running steps.
  func tokens(of id: SequenceID) throws(EngineError) -> [Int32]
  /// Drops all but the first `length` tokens of a sequence. Waits for running steps.
  ///
  /// - Throws: `EngineError.truncation` when the sequence has fewer tokens, and `EngineError.cacheFull` when the last
  ///   page that stays is shared and the cache has no room for a copy.
  func truncate(_ id: SequenceID, to length: Int) throws(EngineError)

  /// Checks the whole batch and starts its step, which appends each entry's tokens to its sequence. An error leaves all
  /// sequences unchanged, unless a device failed.
  func submit(_ batch: Batch) throws(EngineError) -> StepTicket
  /// Waits for a step and returns each entry's results, in the order of the entries. Each step's results can be taken
  /// once.
  func wait(for ticket: StepTicket) throws(EngineError) -> [StepResult]
}

/// Identifies a submitted step.
package struct StepTicket: Hashable, Sendable {
  let number: Int
  package init(_ number: Int) { self.number = number }
}

/// How much work an engine accepts at a time.
package struct Capacity: Sendable, Equatable {
  /// The most steps that can run before the caller waits for the first of them; 1 if `submit` returns only when the
  /// step is done.
  package var stepsAhead: Int
  /// How many tokens a step can have without delaying other requests noticeably.
  package var stepTokens: Int
  /// The most pages, of `attentionChunkLength` positions each, that the cache holds.
  package var cachePages: Int

  package init(stepsAhead: Int, stepTokens: Int, cachePages: Int) {
    self.stepsAhead = stepsAhead
    self.stepTokens = stepTokens
    self.cachePages = cachePages
  }
}

/// The bytes of memory that an engine uses now, on its device if it has one.
package struct MemoryUse: Sendable, Equatable {
  /// Ternary weights, embedding and LM head. A mapped file's bytes count, whether or not they are resident.
  package var weights: Int
  /// The int8 copy of the LM head that screens the vocabulary; 0 without one.
  package var screen: Int
  /// Activations, logits and tables of a step.
  package var buffers: Int
  /// Keys and values of live sequences, and those kept for later sequences.
  package var cache: Int

  package init(weights: Int, screen: Int, buffers: Int, cache: Int) {
    self.weights = weights
    self.screen = screen
    self.buffers = buffers
    self.cache = cache
  }
}

extension Engine {
  /// Starts an empty sequence.
  package func makeSequence() -> SequenceID { makeSequence(startingWith: []).id }

  /// Ends a sequence whose pages are all worth keeping.
  package func removeSequence(_ id: SequenceID) { removeSequence(id, keeping: .max) }

  /// Runs a batch and returns each entry's results, in the order of the entries.
  package func step(_ batch: Batch) throws(EngineError) -> [StepResult] { try wait(for: submit(batch)) }

  /// Runs the batch, in which every entry requests a token after its last row, then appends each chosen token to its
  /// sequence and repeats, for `limit` steps (1 or more) or until `body` returns false. `body` receives each step's
  /// tokens in the order of the entries. Steps run ahead of `body` if the engine supports it.
  ///
  /// Afterwards every sequence holds the batch's tokens and all chosen tokens but the last, as after equally many calls
  /// of `step`.
  ///
  /// - Throws: the errors of `submit`, and `EngineError.contextFull`, before any step runs, when the context lacks room
  ///   for all steps.
  package func generate(_ batch: Batch, limit: Int, _ body: ([SampledToken]) -> Bool) throws(EngineError) {
    guard limit > 0, !batch.entries.isEmpty else { return }
    var lengths: [Int] = []
    for entry in batch.entries {
      guard case .token = entry.want, entry.rowCount > 0 else {
        throw .parameter(
          name: "the output requested of \(entry.sequence)", found: "not a token",
          expected: "a token after its last row")
      }
      let held = try tokens(of: entry.sequence).count
      let adding = entry.input.count + limit - 1
      guard held + adding <= contextLength else {
        throw .contextFull(length: held, adding: adding, limit: contextLength)
      }
      lengths.append(held)
    }
    var tickets = [try submit(batch)]
    var done = 0
    func finish() throws(EngineError) {
      guard tickets.count > done else { return }
      for ticket in tickets[done...] { _ = try wait(for: ticket) }
      for (entry, length) in zip(batch.entries, lengths) {
        try truncate(entry.sequence, to: done == 0 ? length : length + entry.input.count + done - 1)
      }
    }
    do throws(EngineError) {
      while done < limit {
        while tickets.count < limit, tickets.count - done < capacity.stepsAhead {
          tickets.append(try submit(batch.continued))
        }
        let results = try wait(for: tickets[done])
        done += 1
        guard body(results.map { $0.tokens.last! }), done < limit else { break }
        if tickets.count == done { tickets.append(try submit(batch.continued)) }
      }
    } catch {
      // Drop the tokens that `body` has not received, and report the first error.
      try? finish()
      throw error
    }
    try finish()
  }
}

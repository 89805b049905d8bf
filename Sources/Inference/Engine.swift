/// Runs a model: takes ragged batches, keeps the sequences' keys and values, gives tokens, logits or hidden states.
///
/// Every engine gives the same bits for a sequence whatever the batch around it, the chunks its prompt came in, what of
/// it was in the cache already, and the number of threads. An engine is used by one caller at a time.
package protocol Engine: AnyObject {
  var configuration: ModelConfiguration { get }
  /// Positions a sequence can hold.
  var contextLength: Int { get }
  /// What the engine runs on, in a few words.
  var summary: String { get }
  var capacity: Capacity { get }
  var memory: MemoryUse { get }

  /// Starts a sequence that holds as many of the tokens, from the first on, as the cache still has; never all of them,
  /// so that there is a token to run.
  ///
  /// - Returns: the sequence and how many tokens it holds.
  func makeSequence(startingWith tokens: [Int32]) -> (id: SequenceID, cached: Int)
  /// Ends a sequence; unknown ones are ignored. Its pages stay in the cache, for sequences that begin alike, until they
  /// are needed.
  func removeSequence(_ id: SequenceID)
  /// The tokens a sequence's cache holds. Waits for steps that are under way.
  func tokens(of id: SequenceID) throws(EngineError) -> [Int32]
  /// Forgets all but the first `length` tokens of a sequence. Waits for steps that are under way.
  func truncate(_ id: SequenceID, to length: Int) throws(EngineError)

  /// Checks the whole batch and starts its step: appends each entry's tokens to its sequence. What it throws leaves all
  /// sequences as they were, unless a device fails.
  func submit(_ batch: Batch) throws(EngineError) -> StepTicket
  /// Waits for a step and returns what each entry asked for, in order; once for each step.
  func wait(for ticket: StepTicket) throws(EngineError) -> [StepResult]
}

/// A step that was submitted.
package struct StepTicket: Hashable, Sendable {
  let number: Int
  package init(_ number: Int) { self.number = number }
}

/// What an engine takes at a time.
package struct Capacity: Sendable, Equatable {
  /// Steps that can be under way before the first of them is waited for: 1 where `submit` returns when the step is
  /// done.
  package var stepsAhead: Int
  /// Tokens of a step that keeps others waiting only briefly.
  package var stepTokens: Int
  /// Pages of `attentionChunkLength` positions that the cache holds at most.
  package var cachePages: Int

  package init(stepsAhead: Int, stepTokens: Int, cachePages: Int) {
    self.stepsAhead = stepsAhead
    self.stepTokens = stepTokens
    self.cachePages = cachePages
  }
}

/// The bytes of memory that an engine uses now, on its device if it has one.
package struct MemoryUse: Sendable, Equatable {
  /// Ternary weights, embedding and output head. A mapped file's bytes count, whether or not they are resident.
  package var weights: Int
  /// The int8 copy of the output head that screens the vocabulary; 0 without one.
  package var screen: Int
  /// Activations, logits and tables of a step.
  package var buffers: Int
  /// Keys and values of all sequences and of those kept for later ones.
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

  /// Runs a batch and returns what each entry asked for, in order.
  package func step(_ batch: Batch) throws(EngineError) -> [StepResult] { try wait(for: submit(batch)) }

  /// Runs the batch, in which every entry wants a token after its last row, and goes on: each chosen token is its
  /// sequence's next one, for `limit` steps (1 or more) or until `body` returns false. `body` gets each step's tokens
  /// in the order of the entries. Steps run ahead of `body` where the engine can.
  ///
  /// Afterwards every sequence holds the batch's tokens and the chosen ones but for the last, as after that many calls
  /// of `step`.
  /// - Throws: what `submit` throws; `EngineError.contextFull` before anything has run when not all steps have room.
  package func generate(_ batch: Batch, limit: Int, _ body: ([SampledToken]) -> Bool) throws(EngineError) {
    guard limit > 0, !batch.entries.isEmpty else { return }
    var lengths: [Int] = []
    for entry in batch.entries {
      guard case .token = entry.want, entry.rowCount > 0 else {
        throw .parameter(
          name: "what is wanted of \(entry.sequence)", found: "no token", expected: "a token after its last row")
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
      // Tokens that were not given do not count; what went wrong first is what is told.
      try? finish()
      throw error
    }
    try finish()
  }
}

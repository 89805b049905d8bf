/// Runs a model: takes ragged batches, keeps the sequences' keys and values, returns sampled tokens or logits.
///
/// Every engine gives the same bits for a sequence whatever the batch around it, the chunks its prompt came in and the number of
/// threads. An engine is used by one caller at a time.
package protocol Engine: AnyObject {
  var configuration: ModelConfiguration { get }
  /// Positions a sequence can hold.
  var contextLength: Int { get }
  /// What the engine runs on, in a few words.
  var summary: String { get }

  /// Starts an empty sequence.
  func makeSequence() -> SequenceID
  /// Frees a sequence; unknown ones are ignored.
  func removeSequence(_ id: SequenceID)
  /// The tokens a sequence's cache holds.
  func tokens(of id: SequenceID) throws(EngineError) -> [Int32]
  /// Forgets all but the first `length` tokens of a sequence.
  func truncate(_ id: SequenceID, to length: Int) throws(EngineError)
  /// Appends each entry's tokens to its sequence and returns what each entry asked for, in order.
  func step(_ batch: Batch) throws(EngineError) -> [StepOutput]

  /// Steps a caller does well to let `generate` take at once: 1 unless the engine runs ahead of its caller.
  var burstLength: Int { get }
  /// Runs the batch, in which every entry samples, and goes on: each sampled token is its sequence's next one, for `limit` steps (1 or
  /// more) or until `body` returns false. `body` gets each step's tokens in the order of the entries.
  ///
  /// Afterwards every sequence holds the batch's tokens and the sampled ones but for the last, as after that many calls of `step`.
  /// - Throws: what `step` throws; `EngineError.contextFull` before anything has run when not all steps have room.
  func generate(_ batch: Batch, limit: Int, _ body: ([SampledToken]) -> Bool) throws(EngineError)
}

extension Engine {
  package var burstLength: Int { 1 }

  package func generate(_ batch: Batch, limit: Int, _ body: ([SampledToken]) -> Bool) throws(EngineError) {
    try requireRoom(for: batch, steps: limit)
    try generateStepByStep(batch, limit: limit, body)
  }

  /// `generate` by calls of `step`.
  package func generateStepByStep(_ batch: Batch, limit: Int, _ body: ([SampledToken]) -> Bool) throws(EngineError) {
    var batch = batch
    for _ in 0..<limit {
      let sampled = try sample(batch)
      guard body(sampled) else { return }
      batch = batch.continued(by: sampled)
    }
  }

  /// - Throws: `EngineError` when a sequence of the batch does not exist, or cannot hold its new tokens and those of the steps after the first.
  package func requireRoom(for batch: Batch, steps: Int) throws(EngineError) {
    for entry in batch.entries {
      let held = try tokens(of: entry.sequence).count
      let adding = entry.tokens.count + max(steps, 1) - 1
      guard held + adding <= contextLength else { throw .contextFull(length: held, adding: adding, limit: contextLength) }
    }
  }

  /// One step of a batch in which every entry samples.
  package func sample(_ batch: Batch) throws(EngineError) -> [SampledToken] {
    var result: [SampledToken] = []
    for (entry, output) in zip(batch.entries, try step(batch)) {
      guard case .sampled(let token) = output else {
        throw .parameter(name: "the output of \(entry.sequence)", found: "not sampled", expected: "a sampled token for each entry")
      }
      result.append(token)
    }
    return result
  }
}

/// Which tokens each sequence holds, and the pages its cache occupies: the bookkeeping that engines share.
///
/// A page belongs to one sequence and covers `attentionChunkLength` positions of all layers.
package struct SequenceStore<Page> {
  package struct Sequence {
    package internal(set) var tokens: [Int32] = []
    package internal(set) var pages: [Page] = []
  }

  /// A batch entry that has been checked and has its pages.
  package struct Admitted {
    package let entry: Batch.Entry
    /// The position of the entry's first token.
    package let start: Int
    /// Pages that cover positions 0 up to the entry's last token.
    package let pages: [Page]
  }

  private var sequences: [SequenceID: Sequence] = [:]
  private var next = 0

  package init() {}

  package mutating func make() -> SequenceID {
    defer { next += 1 }
    sequences[SequenceID(next)] = Sequence()
    return SequenceID(next)
  }

  package mutating func remove(_ id: SequenceID) { sequences[id] = nil }

  package func tokens(of id: SequenceID) throws(EngineError) -> [Int32] {
    guard let sequence = sequences[id] else { throw .unknownSequence(id) }
    return sequence.tokens
  }

  package mutating func truncate(_ id: SequenceID, to length: Int) throws(EngineError) {
    guard var sequence = sequences.removeValue(forKey: id) else { throw .unknownSequence(id) }
    defer { sequences[id] = sequence }
    guard length >= 0, length <= sequence.tokens.count else { throw .truncation(length: sequence.tokens.count, to: length) }
    sequence.tokens.removeLast(sequence.tokens.count - length)
    let pages = (length + attentionChunkLength - 1) / attentionChunkLength
    sequence.pages.removeLast(sequence.pages.count - pages)
  }

  /// Gives a sequence pages for its first `positions` positions, beyond the tokens it holds. Unknown sequences are ignored.
  package mutating func extend(_ id: SequenceID, to positions: Int, makePage: () -> Page) {
    while let count = sequences[id]?.pages.count, count * attentionChunkLength < positions { sequences[id]!.pages.append(makePage()) }
  }

  /// The pages of a sequence.
  package func pages(of id: SequenceID) -> [Page] { sequences[id]?.pages ?? [] }

  /// Appends a token whose position has a page, after a check that `admit` has made before.
  package mutating func append(_ token: Int32, to id: SequenceID) { sequences[id]?.tokens.append(token) }

  /// Checks a whole batch, and only then appends its tokens and the pages they need.
  package mutating func admit(
    _ batch: Batch, vocabulary: Int, contextLength: Int, makePage: () -> Page
  ) throws(EngineError) -> [Admitted] {
    var seen: Set<SequenceID> = []
    for entry in batch.entries {
      guard let sequence = sequences[entry.sequence] else { throw .unknownSequence(entry.sequence) }
      guard seen.insert(entry.sequence).inserted else { throw .repeatedSequence(entry.sequence) }
      guard !entry.tokens.isEmpty else { throw .noTokens(entry.sequence) }
      for token in entry.tokens where token < 0 || token >= vocabulary {
        throw .tokenOutOfRange(token, vocabulary: vocabulary)
      }
      guard sequence.tokens.count + entry.tokens.count <= contextLength else {
        throw .contextFull(length: sequence.tokens.count, adding: entry.tokens.count, limit: contextLength)
      }
      if case .sample(let parameters, let logProbabilities) = entry.output {
        try parameters.validate()
        if let logProbabilities, !(0...vocabulary ~= logProbabilities) {
          throw .parameter(name: "the number of log probabilities", found: "\(logProbabilities)", expected: "0 to \(vocabulary)")
        }
      }
    }
    return batch.entries.map { entry in
      var sequence = sequences.removeValue(forKey: entry.sequence)!  // present: checked above
      let start = sequence.tokens.count
      sequence.tokens += entry.tokens
      while sequence.pages.count * attentionChunkLength < sequence.tokens.count { sequence.pages.append(makePage()) }
      sequences[entry.sequence] = sequence
      return Admitted(entry: entry, start: start, pages: sequence.pages)
    }
  }
}

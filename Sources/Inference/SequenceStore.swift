/// Keeps each sequence's tokens and cache pages, for every engine.
///
/// A page covers `attentionChunkLength` positions of all layers. A tree finds full pages, and the last pages of ended
/// sequences, by their tokens. A new sequence refers to the pages of its prefix in the tree, and gets a copy of a page
/// that it shares in part. When the budget is used up, the store drops the least recently used pages that no sequence
/// holds.
///
/// Pages are objects of the engine's own class, all from one `Source`. The store is not generic over that class,
/// because each step would then look up types at run time for every sequence.
package struct SequenceStore {
  private typealias Node = PrefixTree.Node

  private struct Sequence {
    /// The sequence's tokens; `StepPlan.pending` where a running step chooses the token.
    var tokens: [Int32] = []
    var pages: [AnyObject] = []
    /// The tree's nodes for the first pages. A page can differ from its node's page, if another sequence filled a page
    /// with the same tokens first.
    var path: [Node] = []
    /// The token that the last step chose after its last row.
    var next = Next.none

    enum Next { case none, known(Int32), pending }

    /// How many pages belong to no other sequence and no node.
    func ownPageCount(from first: Int = 0) -> Int {
      pages.indices.dropFirst(first).count { $0 >= path.count || pages[$0] !== path[$0].page }
    }
  }

  /// Makes a page, or one with the first positions of another. Both throw when there is no memory.
  package struct Source {
    let make: () throws(EngineError) -> AnyObject
    let copy: (AnyObject, Int) throws(EngineError) -> AnyObject

    package init<Page: AnyObject>(
      make: @escaping () throws(EngineError) -> Page,
      copy: @escaping (_ page: Page, _ positions: Int) throws(EngineError) -> Page
    ) {
      self.make = make
      self.copy = { (page, positions) throws(EngineError) in
        try copy(unsafeDowncast(page, to: Page.self), positions)
      }
    }
  }

  /// The most pages that the store holds, 1 or more.
  package let limit: Int
  /// Whether a sequence may start with pages of others, and leaves its own to later ones.
  private let sharesPages: Bool
  private var sequences: [SequenceID: Sequence] = [:]
  private var next = 0
  private var tree = PrefixTree()
  /// False after a step has failed, whose pages may hold anything, until all sequences have ended: until then no page
  /// is shared.
  private var isTrusted = true
  /// How many pages sequences hold outside the tree.
  private var ownPages = 0

  package init(limit: Int, sharesPages: Bool = true) {
    self.limit = limit
    self.sharesPages = sharesPages
  }

  /// How many pages are held by sequences or kept for later ones.
  package var pageCount: Int { ownPages + tree.count }
  /// How many pages are held by sequences.
  package var heldPageCount: Int { ownPages + tree.count - tree.unused }

  // MARK: Sequences

  /// - Returns: a sequence with the longest prefix of the tokens that pages hold, but never all of them, and the
  ///   prefix's length.
  package mutating func make(startingWith tokens: [Int32], from source: Source) -> (id: SequenceID, cached: Int) {
    let id = SequenceID(next)
    next += 1
    var sequence = Sequence()
    let usable = isTrusted && sharesPages ? tokens.dropLast() : []
    while usable.count >= sequence.tokens.count + attentionChunkLength {
      let chunk = usable[sequence.tokens.count..<sequence.tokens.count + attentionChunkLength]
      guard let node = tree.child(of: sequence.path.last, chunk) else { break }
      sequence.path.append(node)
      sequence.pages.append(node.page)
      sequence.tokens += chunk
    }
    for node in sequence.path.reversed() { tree.hold(node) }
    let rest = usable[sequence.tokens.count...]
    if let (page, count) = closest(to: rest, after: sequence.path), count > 0, (try? makeRoom(for: 1)) != nil,
      let copy = try? source.copy(page, count)
    {
      sequence.pages.append(copy)
      sequence.tokens += rest.prefix(count)
      ownPages += 1
    }
    sequences[id] = sequence
    return (id, sequence.tokens.count)
  }

  /// The page after a path with the longest common prefix with these tokens, from the tree or from a sequence that is
  /// still filling the page, and the prefix's length.
  private func closest(to tokens: ArraySlice<Int32>, after path: [Node]) -> (AnyObject, Int)? {
    guard !tokens.isEmpty else { return nil }
    var best = tree.closestChild(of: path.last, tokens).map { ($0.page, $0.count) }
    let start = path.count * attentionChunkLength
    for other in sequences.values
    where other.path.count == path.count && other.path.last === path.last && other.tokens.count > start {
      let count = commonPrefix(other.tokens[start...].prefix(attentionChunkLength), tokens)
      if count > best?.1 ?? 0 { best = (other.pages[path.count], count) }
    }
    return best
  }

  /// Ends a sequence. Pages stay for later sequences until their memory is needed; those with tokens after the first
  /// `count`, not for long.
  package mutating func remove(_ id: SequenceID, keeping count: Int) {
    guard var sequence = sequences.removeValue(forKey: id) else { return }
    publish(&sequence)
    let start = sequence.path.count * attentionChunkLength
    let tail = sequence.tokens[min(start, sequence.tokens.count)...].prefix { $0 != StepPlan.pending }
    ownPages -= sequence.ownPageCount()
    if isTrusted, sharesPages, !tail.isEmpty, !tree.holds(tail, below: sequence.path.last) {
      let node = tree.add(tail, page: sequence.pages[sequence.path.count], to: sequence.path.last, isHeld: false)
      if start + tail.count > count { tree.spare(node) }
    }
    for (index, node) in sequence.path.enumerated().reversed() {
      tree.release(node)
      if (index + 1) * attentionChunkLength > count { tree.spare(node) }
    }
    if !isTrusted, sequences.isEmpty {
      tree = PrefixTree()
      isTrusted = true
    }
  }

  /// Says that a step failed after its tokens were appended. Its sequences can only be removed, and no later sequence
  /// starts with pages that may never have been computed.
  package mutating func distrust() { isTrusted = false }

  package func tokens(of id: SequenceID) throws(EngineError) -> [Int32] {
    guard let sequence = sequences[id] else { throw .unknownSequence(id) }
    return sequence.tokens
  }

  package mutating func truncate(_ id: SequenceID, to length: Int, from source: Source) throws(EngineError) {
    guard var sequence = sequences[id] else { throw .unknownSequence(id) }
    guard length >= 0, length <= sequence.tokens.count else {
      throw .truncation(length: sequence.tokens.count, to: length)
    }
    guard length < sequence.tokens.count else { return }
    let whole = length / attentionChunkLength
    let pages = (length + attentionChunkLength - 1) / attentionChunkLength
    // The page that the sequence will append to must be its own.
    if pages > whole, sequence.path.count > whole, sequence.pages[whole] === sequence.path[whole].page {
      if sequence.path.count == whole + 1, tree.takeBack(sequence.path[whole]) {
        sequence.path.removeLast()
      } else {
        try makeRoom(for: 1)
        sequence.pages[whole] = try makePage { () throws(EngineError) in
          try source.copy(sequence.pages[whole], length - whole * attentionChunkLength)
        }
      }
      ownPages += 1
    }
    ownPages -= sequence.ownPageCount(from: pages)
    sequence.pages.removeLast(sequence.pages.count - pages)
    while sequence.path.count > whole { tree.release(sequence.path.removeLast()) }
    sequence.tokens.removeLast(sequence.tokens.count - length)
    sequence.next = .none
    sequences[id] = sequence
  }

  /// The pages of a sequence.
  package func pages(of id: SequenceID) -> [AnyObject] { sequences[id]?.pages ?? [] }

  // MARK: Steps

  /// Checks a whole batch before it appends any tokens and the pages they need.
  package mutating func admit(
    _ batch: Batch, vocabulary: Int, contextLength: Int, from source: Source
  ) throws(EngineError) -> StepPlan {
    let needed = try check(batch, vocabulary: vocabulary, contextLength: contextLength)
    try makeRoom(for: needed)
    var made: [AnyObject] = []
    for _ in 0..<needed { made.append(try makePage(source.make)) }
    ownPages += needed
    var entries: [StepPlan.Entry] = []
    var rows: [StepPlan.Row] = []
    var outputs: [StepPlan.Output] = []
    for (index, entry) in batch.entries.enumerated() {
      var sequence = sequences.removeValue(forKey: entry.sequence)!  // present: checked above
      let start = sequence.tokens.count
      switch (entry.input, sequence.next) {
      case (.tokens(let tokens), _): sequence.tokens += tokens
      case (.sampled, .known(let token)): sequence.tokens.append(token)
      case (.sampled, _): sequence.tokens.append(StepPlan.pending)
      }
      while sequence.pages.count * attentionChunkLength < sequence.tokens.count {
        sequence.pages.append(made.removeLast())
      }
      let count = sequence.tokens.count - start
      for position in start..<start + count {
        let isWanted = entry.rows == .all || (entry.rows == .last && position == start + count - 1)
        if isWanted {
          let row = entry.rows == .all ? position - start : 0
          outputs.append(
            .init(row: rows.count, entry: index, position: position + 1, want: entry.want.ofRow(row)))
        }
        rows.append(
          .init(
            token: sequence.tokens[position], position: position, entry: index,
            output: isWanted ? outputs.count - 1 : nil))
      }
      let choosesNext = entry.rows != .none && entry.want.isToken
      sequence.next = choosesNext ? .pending : .none
      entries.append(
        .init(
          sequence: entry.sequence, start: start, count: count, pages: sequence.pages,
          history: entry.want.looksAtHistory ? sequence.tokens : [], choosesNext: choosesNext))
      publish(&sequence)
      sequences[entry.sequence] = sequence
    }
    return StepPlan(entries: entries, rows: rows, outputs: outputs)
  }

  /// Records the tokens that a step chose. Later steps may have appended them as pending already.
  package mutating func record(_ results: [StepResult], of plan: StepPlan) {
    for (entry, result) in zip(plan.entries, results) where entry.choosesNext {
      guard var sequence = sequences.removeValue(forKey: entry.sequence) else { continue }
      let (position, token) = (entry.start + entry.count, result.tokens.last!.token)
      if sequence.tokens.count == position {
        sequence.next = .known(token)
      } else if sequence.tokens.count > position, sequence.tokens[position] == StepPlan.pending {
        sequence.tokens[position] = token
        publish(&sequence)
      }
      sequences[entry.sequence] = sequence
    }
  }

  /// Attention in both directions makes a token's keys and values depend on the tokens after it, so nothing can be
  /// appended to a sequence later.
  ///
  /// - Throws: `EngineError.parameter` for an entry whose sequence is not empty.
  package func requireWholeTexts(_ batch: Batch) throws(EngineError) {
    for entry in batch.entries {
      let held = try tokens(of: entry.sequence).count
      guard held == 0 else {
        throw .parameter(
          name: "the length of \(entry.sequence)", found: "\(held)",
          expected: "0, because the model's attention is bidirectional: pass a text's tokens in one step")
      }
    }
  }

  /// - Returns: how many pages the batch needs besides those that its sequences have.
  private func check(_ batch: Batch, vocabulary: Int, contextLength: Int) throws(EngineError) -> Int {
    var seen: Set<SequenceID> = []
    var needed = 0
    for entry in batch.entries {
      guard let sequence = sequences[entry.sequence] else { throw .unknownSequence(entry.sequence) }
      guard seen.insert(entry.sequence).inserted else { throw .repeatedSequence(entry.sequence) }
      switch entry.input {
      case .sampled: if case .none = sequence.next { throw .nothingSampled(entry.sequence) }
      case .tokens(let tokens):
        guard !tokens.isEmpty else { throw .noTokens(entry.sequence) }
        try Self.check(tokens, vocabulary)
      }
      let length = sequence.tokens.count + entry.input.count
      guard length <= contextLength else {
        throw .contextFull(length: sequence.tokens.count, adding: entry.input.count, limit: contextLength)
      }
      needed += max(0, (length + attentionChunkLength - 1) / attentionChunkLength - sequence.pages.count)
      switch entry.want {
      case .token(let parameters, let logProbabilities, let adjustment):
        try parameters.validateOfStep()
        try adjustment?.validate(rows: entry.rowCount, vocabulary: vocabulary)
        if let logProbabilities, !(0...vocabulary ~= logProbabilities) {
          throw .parameter(
            name: "the number of log probabilities", found: "\(logProbabilities)", expected: "0 to \(vocabulary)")
        }
      case .surprise(let targets):
        try Self.check(targets, vocabulary)
        guard targets.count == entry.rowCount else {
          throw .parameter(
            name: "the number of surprise targets", found: "\(targets.count)",
            expected: "\(entry.rowCount), one for each row")
        }
      case .logits, .hidden: break
      }
    }
    return needed
  }

  private static func check(_ tokens: [Int32], _ vocabulary: Int) throws(EngineError) {
    for token in tokens where token < 0 || token >= vocabulary { throw .tokenOutOfRange(token, vocabulary: vocabulary) }
  }

  // MARK: Pages

  /// Drops pages that no sequence holds until there is room for `count` more.
  private func makeRoom(for count: Int) throws(EngineError) {
    while pageCount + count > limit {
      guard tree.evict() else { throw .cacheFull(needed: count, held: heldPageCount, limit: limit) }
    }
  }

  /// Makes a page. Drops pages that no sequence holds while there is no memory for it.
  private func makePage(_ make: () throws(EngineError) -> AnyObject) throws(EngineError) -> AnyObject {
    while true {
      do throws(EngineError) { return try make() } catch { guard tree.evict() else { throw error } }
    }
  }

  /// Puts the sequence's full pages into the tree.
  private mutating func publish(_ sequence: inout Sequence) {
    guard isTrusted, sharesPages else { return }
    while sequence.tokens.count >= (sequence.path.count + 1) * attentionChunkLength {
      let place = sequence.path.count
      let tokens = sequence.tokens[place * attentionChunkLength..<(place + 1) * attentionChunkLength]
      guard !tokens.contains(StepPlan.pending) else { return }
      if let node = tree.child(of: sequence.path.last, tokens) {
        tree.hold(node)
        sequence.path.append(node)
      } else {
        sequence.path.append(tree.add(tokens, page: sequence.pages[place], to: sequence.path.last, isHeld: true))
        ownPages -= 1
      }
    }
  }
}

extension Batch.Want {
  /// - Parameter row: among the entry's rows with a result.
  fileprivate func ofRow(_ row: Int) -> StepPlan.Output.Want {
    switch self {
    case .token(let parameters, let logProbabilities, let adjustment):
      .token(parameters, logProbabilities: logProbabilities, adjustment: adjustment?.row(row))
    case .surprise(let tokens): .surprise(tokens[row])
    case .logits: .logits
    case .hidden: .hidden
    }
  }

  fileprivate var isToken: Bool { if case .token = self { true } else { false } }

  fileprivate var looksAtHistory: Bool {
    if case .token(let parameters, _, _) = self { parameters.repetitionPenalty != 1 } else { false }
  }
}

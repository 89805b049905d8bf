/// Byte-pair encoding of one piece: starting from its bytes or characters, it joins the two neighbours of lowest rank,
/// the leftmost among equals, until no two neighbours merge. Its working memory is kept between pieces.
struct PieceMerger {
  /// The largest number of tokens for which each step searches all pairs for the lowest rank, which is quadratic but
  /// has little overhead. Longer pieces use a heap. Both take the same time at 100 to 200 random letters.
  private static let longestSearched = 96

  private enum Reader {
    case bytes([Int32])
    case characters(CharacterReader)
  }

  private let reader: Reader
  private let rule: MergeRule

  // The tokens of the piece, and for each token but the last its merge with the next one.
  private var symbols: [Symbol] = []
  private var ranks: [UInt64] = []
  private var results: [Int32] = []

  init(initial: InitialTokens, vocabulary: TokenTable, rule: MergeRule) {
    reader =
      switch initial {
      case .bytes(let tokens): .bytes(tokens)
      case .characters(let characters): .characters(CharacterReader(characters, vocabulary))
      }
    self.rule = rule
  }

  /// Appends the tokens of `text[start..<end]`, which is not empty.
  mutating func merge(_ text: Span<UInt8>, _ start: Int, _ end: Int, into ids: inout [Int32]) {
    symbols.removeAll(keepingCapacity: true)
    switch reader {
    case .bytes(let tokens):
      for at in start..<end where tokens[Int(text[at])] >= 0 {
        symbols.append(Symbol(token: tokens[Int(text[at])], start: at))
      }
    case .characters(let reader):
      reader.append(text, start, end, to: &symbols)
    }
    if symbols.count > Self.longestSearched { mergeMany(text, end) } else { mergeFew(text, end) }
    appendTokens(text, end, to: &ids)
  }

  @inline(__always)
  private func appendTokens(_ text: Span<UInt8>, _ end: Int, to ids: inout [Int32]) {
    if case .characters(let reader) = reader, reader.characters.replacesLate {
      var wasMissing = false
      for (position, symbol) in symbols.enumerated() {
        let isMissing = symbol.token == InitialTokens.missing
        if isMissing {
          let symbolEnd = position + 1 < symbols.count ? symbols[position + 1].start : end
          reader.appendMissing(text, symbol.start, symbolEnd, isRun: wasMissing, to: &ids)
        } else {
          ids.append(symbol.token)
        }
        wasMissing = isMissing
      }
    } else {
      for symbol in symbols { ids.append(symbol.token) }
    }
  }

  private mutating func mergeFew(_ text: Span<UInt8>, _ end: Int) {
    ranks.removeAll(keepingCapacity: true)
    results.removeAll(keepingCapacity: true)
    for at in 0..<max(0, symbols.count - 1) {
      let after = at + 2 < symbols.count ? symbols[at + 2].start : end
      let merge = rule.find(symbols[at].token, symbols[at + 1].token, text, symbols[at].start, after)
      ranks.append(merge.rank)
      results.append(merge.result)
    }
    while true {
      var lowest = MergeRule.never
      var at = 0
      for (pair, rank) in ranks.enumerated() where rank < lowest {
        lowest = rank
        at = pair
      }
      if lowest == MergeRule.never { break }
      symbols[at].token = results[at]
      symbols.remove(at: at + 1)
      ranks.remove(at: at)
      results.remove(at: at)
      if at > 0 { updatePair(at - 1, text, end) }
      if at < ranks.count { updatePair(at, text, end) }
    }
  }

  @inline(__always)
  private mutating func updatePair(_ pair: Int, _ text: Span<UInt8>, _ end: Int) {
    let after = pair + 2 < symbols.count ? symbols[pair + 2].start : end
    let merge = rule.find(symbols[pair].token, symbols[pair + 1].token, text, symbols[pair].start, after)
    ranks[pair] = merge.rank
    results[pair] = merge.result
  }

  /// A possible merge of a long piece, ordered by rank and then by position.
  private struct Candidate: Comparable {
    var rank: UInt64
    var result: Int32
    /// The left token, its right neighbour and the one after that, by their first positions.
    var position: Int32
    var right: Int32
    var after: Int32

    static func < (a: Candidate, b: Candidate) -> Bool {
      a.rank != b.rank ? a.rank < b.rank : a.position < b.position
    }
  }

  /// The same with a doubly linked list of tokens and a heap of candidates, in n log n steps. A candidate whose tokens
  /// have merged otherwise in the meantime is skipped when it is removed from the heap.
  private mutating func mergeMany(_ text: Span<UInt8>, _ end: Int) {
    let count = symbols.count
    var isGone = [Bool](repeating: false, count: count)
    var next = (1...count).map(Int32.init)
    var previous = (-1..<count - 1).map(Int32.init)
    var candidates = Heap<Candidate>()

    func propose(at position: Int) {
      let right = Int(next[position])
      let after = Int(next[right])
      let merge = rule.find(
        symbols[position].token, symbols[right].token, text, symbols[position].start,
        after < count ? symbols[after].start : end)
      if merge.rank == MergeRule.never { return }
      candidates.insert(
        Candidate(
          rank: merge.rank, result: merge.result, position: Int32(position), right: Int32(right), after: Int32(after)))
    }
    for position in 0..<count - 1 { propose(at: position) }
    while let best = candidates.removeFirst() {
      let position = Int(best.position)
      let right = Int(best.right)
      guard !isGone[position], next[position] == best.right, next[right] == best.after else { continue }
      symbols[position].token = best.result
      isGone[right] = true
      next[position] = best.after
      if best.after < count {
        previous[Int(best.after)] = best.position
        propose(at: position)
      }
      if previous[position] >= 0 { propose(at: Int(previous[position])) }
    }
    var kept = 0
    for position in 0..<count where !isGone[position] {
      symbols[kept] = symbols[position]
      kept += 1
    }
    symbols.removeSubrange(kept...)
  }
}

/// A binary heap, whose smallest element is removed first.
private struct Heap<Element: Comparable> {
  private var elements: [Element] = []

  mutating func insert(_ element: Element) {
    var at = elements.count
    elements.append(element)
    while at > 0 {
      let parent = (at - 1) / 2
      guard element < elements[parent] else { break }
      elements[at] = elements[parent]
      at = parent
    }
    elements[at] = element
  }

  mutating func removeFirst() -> Element? {
    guard let last = elements.popLast() else { return nil }
    guard let first = elements.first else { return last }
    var at = 0
    while true {
      var child = 2 * at + 1
      guard child < elements.count else { break }
      if child + 1 < elements.count, elements[child + 1] < elements[child] { child += 1 }
      guard elements[child] < last else { break }
      elements[at] = elements[child]
      at = child
    }
    elements[at] = last
    return first
  }
}

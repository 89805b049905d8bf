/// Byte-pair encoding of one piece: starting from its bytes, it joins the two neighbours of lowest rank, the leftmost
/// among equals, until no two neighbours merge. Its working memory is kept between pieces.
struct PieceMerger {
  /// The largest number of bytes for which each step searches all pairs for the lowest rank, which is quadratic but has
  /// little overhead. Longer pieces use a heap. Both take the same time at 100 to 200 random letters.
  private static let longestSearched = 96

  private let byteTokens: [Int32]
  private let rule: MergeRule

  // The tokens of the piece and their start, and for each token but the last its merge with the next one.
  private var tokens: [Int32] = []
  private var starts: [Int] = []
  private var ranks: [UInt64] = []
  private var results: [Int32] = []

  /// - Parameter byteTokens: the token of each byte value.
  init(byteTokens: [Int32], rule: MergeRule) {
    self.byteTokens = byteTokens
    self.rule = rule
  }

  /// Appends the tokens of `text[start..<end]`, which is not empty.
  mutating func merge(_ text: Span<UInt8>, _ start: Int, _ end: Int, into ids: inout [Int32]) {
    if end - start > Self.longestSearched {
      mergeLong(text, start, end, into: &ids)
    } else {
      mergeShort(text, start, end, into: &ids)
    }
  }

  private mutating func mergeShort(_ text: Span<UInt8>, _ start: Int, _ end: Int, into ids: inout [Int32]) {
    tokens.removeAll(keepingCapacity: true)
    starts.removeAll(keepingCapacity: true)
    ranks.removeAll(keepingCapacity: true)
    results.removeAll(keepingCapacity: true)
    for at in start..<end {
      let token = byteTokens[Int(text[at])]
      if let previous = tokens.last {
        let merge = rule.find(previous, token, text, at - 1, at + 1)
        ranks.append(merge.rank)
        results.append(merge.result)
      }
      tokens.append(token)
      starts.append(at)
    }
    starts.append(end)
    while true {
      var lowest = MergeRule.never
      var at = 0
      for (pair, rank) in ranks.enumerated() where rank < lowest {
        lowest = rank
        at = pair
      }
      if lowest == MergeRule.never { break }
      tokens[at] = results[at]
      tokens.remove(at: at + 1)
      starts.remove(at: at + 1)
      ranks.remove(at: at)
      results.remove(at: at)
      if at > 0 { updatePair(at - 1, text) }
      if at < ranks.count { updatePair(at, text) }
    }
    ids.append(contentsOf: tokens)
  }

  @inline(__always)
  private mutating func updatePair(_ pair: Int, _ text: Span<UInt8>) {
    let merge = rule.find(tokens[pair], tokens[pair + 1], text, starts[pair], starts[pair + 2])
    ranks[pair] = merge.rank
    results[pair] = merge.result
  }

  /// A possible merge of a long piece, ordered by rank and then by position.
  private struct Candidate: Comparable {
    var rank: UInt64
    var result: Int32
    var left: Int32
    var right: Int32
    var position: Int

    static func < (a: Candidate, b: Candidate) -> Bool {
      a.rank != b.rank ? a.rank < b.rank : a.position < b.position
    }
  }

  /// The same with a doubly linked list of tokens and a heap of candidates, in n log n steps. A candidate whose tokens
  /// have merged otherwise in the meantime is skipped when it is removed from the heap.
  private func mergeLong(_ text: Span<UInt8>, _ start: Int, _ end: Int, into ids: inout [Int32]) {
    let gone: Int32 = -1
    let count = end - start
    var tokens = [Int32](repeating: 0, count: count)
    for at in 0..<count { tokens[at] = byteTokens[Int(text[start + at])] }
    var next = Array(1...count)
    var previous = Array(-1..<count - 1)
    var candidates = Heap<Candidate>()

    func propose(at position: Int) {
      let left = tokens[position]
      let middle = next[position]
      let right = tokens[middle]
      let merge = rule.find(left, right, text, start + position, start + next[middle])
      if merge.rank == MergeRule.never { return }
      candidates.insert(
        Candidate(rank: merge.rank, result: merge.result, left: left, right: right, position: position))
    }
    for position in 0..<count - 1 { propose(at: position) }
    while let best = candidates.removeFirst() {
      let position = best.position
      guard tokens[position] == best.left, next[position] < count, tokens[next[position]] == best.right else {
        continue
      }
      let removed = next[position]
      tokens[position] = best.result
      tokens[removed] = gone
      next[position] = next[removed]
      if next[position] < count {
        previous[next[position]] = position
        propose(at: position)
      }
      if previous[position] >= 0 { propose(at: previous[position]) }
    }
    for token in tokens where token != gone { ids.append(token) }
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

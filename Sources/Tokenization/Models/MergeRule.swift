/// The pairs of tokens that may be joined and their order, as files specify them.
enum MergeOrder: String, Sendable {
  /// Every pair whose concatenation is a token, lower ids first. This is tiktoken's rule: ids are ranks.
  case byID = "by-id"
  /// The same pairs; those that give the same token are ordered by the id of their left half. Converters from tiktoken
  /// to tokenizer.json write this order.
  case byIDThenLeft = "by-id-then-left"
  /// Pairs in the order of a list, as trained.
  case listed
  /// Every pair whose concatenation is a token, in the order of the tokens' ranks; the leftmost of equal ones first.
  /// This is SentencePiece's rule: ranks order scores.
  case ranked
}

/// The rule that decides whether two neighbouring tokens merge, and with which rank.
enum MergeRule: Sendable {
  /// Any two tokens merge whose concatenation is a token. Only the vocabulary is needed: the bytes of both are adjacent
  /// in the text, and the id of the token that they spell is the result and the rank. (Lookups in a table of all pairs
  /// are no faster, and building it takes 60 of the 90 ms that loading 128,000 tokens then takes.)
  case vocabulary(TokenTable, thenByLeft: Bool)
  /// The pairs of a list merge; the rank is the position in it.
  case list(MergeTable)
  /// Any two tokens merge whose concatenation is a token. The rank is that token's in the list, by id.
  case ranked(TokenTable, [UInt32])

  /// The rank of tokens that do not merge.
  static let never = UInt64.max

  /// The merge of two neighbours.
  ///
  /// - Parameters:
  ///   - left: the left token; `right` is the right one.
  ///   - text: contains the bytes of both as `text[start..<end]`.
  /// - Returns: the rank, ``never`` if the two do not merge. Lower ranks merge first, and of equal ranks the leftmost
  ///   pair.
  @inline(__always)
  func find(_ left: Int32, _ right: Int32, _ text: Span<UInt8>, _ start: Int, _ end: Int) -> (
    rank: UInt64, result: Int32
  ) {
    switch self {
    case .vocabulary(let vocabulary, let thenByLeft):
      let result = vocabulary.find(text, start, end)
      if result < 0 { return (Self.never, result) }
      return (UInt64(result) << 32 | (thenByLeft ? UInt64(left) : 0), result)
    case .list(let table):
      return table.find(left, right)
    case .ranked(let vocabulary, let ranks):
      let result = vocabulary.find(text, start, end)
      return result < 0 ? (Self.never, result) : (UInt64(ranks[Int(result)]), result)
    }
  }

  /// Every split of every token into two tokens, by ascending id of the whole and then of the left half.
  static func splits(of vocabulary: TokenTable) -> [Merge] {
    var merges: [Merge] = []
    let text = vocabulary.list.bytes.span
    for id in 0..<vocabulary.list.indexEnd where vocabulary.list.hasString(at: id) {
      let start = Int(vocabulary.list.starts[id])
      let end = start + Int(vocabulary.list.lengths[id])
      let first = merges.count
      for cut in start + 1..<end {
        let left = vocabulary.find(text, start, cut)
        guard left >= 0 else { continue }
        let right = vocabulary.find(text, cut, end)
        guard right >= 0 else { continue }
        merges.append(Merge(left: left, right: right, result: Int32(id)))
      }
      merges[first...].sort { $0.left < $1.left }
    }
    return merges
  }
}

/// Finds added tokens in text: the leftmost, and of those that start there the longest.
struct AddedTokenFinder: Sendable {
  struct Match {
    var start: Int
    var end: Int
    var id: Int32
  }

  private let ids: [Int32]
  /// Their UTF-8, by position in `ids`.
  private let table: TokenTable
  /// Whether some token begins with a byte.
  private let beginsToken: [Bool]
  /// The lengths tokens have, longest first.
  private let lengths: [Int]

  /// - Throws: when two tokens have the same text, their positions.
  init(_ tokens: [Tokenizer.AddedToken]) throws(TokenTable.Duplicate) {
    var list = TokenList()
    var beginsToken = [Bool](repeating: false, count: 256)
    for (position, token) in tokens.enumerated() {
      list.insert(token.content.utf8, at: position)
      beginsToken[Int(list[position].first!)] = true
    }
    ids = tokens.map(\.id)
    lengths = Set(list.lengths.map(Int.init)).sorted(by: >)
    self.beginsToken = beginsToken
    table = try TokenTable(list)
  }

  /// The id of the token whose text has exactly these bytes.
  func id(of bytes: [UInt8]) -> Int32? {
    let position = table.find(bytes)
    return position < 0 ? nil : ids[Int(position)]
  }

  /// The first match that starts at `start` or later.
  func firstMatch(in text: Span<UInt8>, from start: Int) -> Match? {
    if ids.isEmpty { return nil }
    for at in start..<text.count where beginsToken[Int(text[at])] {
      for length in lengths where at + length <= text.count {
        let position = table.find(text, at, at + length)
        if position >= 0 { return Match(start: at, end: at + length, id: ids[Int(position)]) }
      }
    }
    return nil
  }
}

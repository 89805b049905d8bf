/// Finds added tokens in text: the leftmost, and the longest of those that begin there.
struct AddedTokenFinder: Sendable {
  struct Match {
    var start: Int
    var end: Int
    var id: Int32
  }

  private let tokens: [Tokenizer.AddedToken]
  /// Their UTF-8, by position in `tokens`.
  private let table: TokenTable
  /// For each byte value, whether some token begins with it.
  private let beginsToken: [Bool]
  /// The lengths of the tokens, longest first.
  private let lengths: [Int]

  /// - Throws: `TokenTable.Duplicate` with the positions of two tokens that have the same text.
  init(_ tokens: [Tokenizer.AddedToken]) throws(TokenTable.Duplicate) {
    var list = TokenList()
    var beginsToken = [Bool](repeating: false, count: 256)
    for (position, token) in tokens.enumerated() {
      list.insert(token.content.utf8, at: position)
      beginsToken[Int(list[position].first!)] = true
    }
    self.tokens = tokens
    lengths = Set(list.lengths.map(Int.init)).sorted(by: >)
    self.beginsToken = beginsToken
    table = try TokenTable(list)
  }

  /// The id of the token whose text has exactly these bytes.
  func id(of bytes: [UInt8]) -> Int32? {
    let position = table.find(bytes)
    return position < 0 ? nil : tokens[Int(position)].id
  }

  /// The first match that begins at `start` or later and that `accept` takes.
  func firstMatch(
    in text: Span<UInt8>, from start: Int, where accept: (_ match: Match, _ isSpecial: Bool) -> Bool = { _, _ in true }
  ) -> Match? {
    if tokens.isEmpty { return nil }
    for at in start..<text.count where beginsToken[Int(text[at])] {
      for length in lengths where at + length <= text.count {
        let position = table.find(text, at, at + length)
        guard position >= 0 else { continue }
        let token = tokens[Int(position)]
        let match = Match(start: at, end: at + length, id: token.id)
        if accept(match, token.isSpecial) { return match }
      }
    }
    return nil
  }
}

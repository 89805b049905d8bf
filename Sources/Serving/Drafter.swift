/// Guesses how sequences go on. Guesses cost or save time; what is generated never depends on them.
package protocol Drafter: Sendable {
  /// A drafter for one sequence.
  ///
  /// - Parameter tokens: the sequence's first tokens, 1 or more.
  func begin(with tokens: [Int32]) -> any SequenceDrafter
}

/// Guesses how one sequence goes on.
package protocol SequenceDrafter {
  /// Takes the sequence's next token.
  mutating func append(_ token: Int32)
  /// A guess of at most `count` tokens, 1 or more, that follow the sequence; nil without one.
  func draft(atMost count: Int) -> Draft?
}

/// A guess of the tokens that follow a sequence.
package struct Draft: Sendable, Equatable {
  /// 1 or more.
  package var tokens: [Int32]
  /// How many tokens of context spoke for it: 1 or more.
  package var match: Int

  package init(tokens: [Int32], match: Int) {
    self.tokens = tokens
    self.match = match
  }
}

/// Guesses that a sequence goes on as it did after the latest of the longest earlier occurrences of its last tokens
/// (prompt lookup, Saxena 2023). It needs no second model and finds what answers repeat: of a document, a text to edit,
/// a table, or themselves.
package struct PromptLookup: Drafter {
  package init() {}

  package func begin(with tokens: [Int32]) -> any SequenceDrafter {
    var index = TokenIndex()
    for token in tokens { index.append(token) }
    return index
  }
}

/// A sequence's tokens with, for each, the position of the previous occurrence of it and the token before it: the
/// chains of a Lempel-Ziv compressor.
struct TokenIndex: SequenceDrafter {
  /// The longest context that is compared, and the most occurrences.
  private static let (longest, occurrences) = (16, 16)
  private var tokens: [Int32] = []
  /// The position of the last occurrence of two tokens, which is that of the second.
  private var latest: [UInt64: Int32] = [:]
  /// The position of the previous occurrence of the two tokens that end at a position; -1 for none.
  private var previous: [Int32] = []

  mutating func append(_ token: Int32) {
    guard let last = tokens.last else {
      tokens.append(token)
      previous.append(-1)
      return
    }
    let pair = UInt64(UInt32(bitPattern: last)) << 32 | UInt64(UInt32(bitPattern: token))
    previous.append(latest.updateValue(Int32(tokens.count), forKey: pair) ?? -1)
    tokens.append(token)
  }

  func draft(atMost count: Int) -> Draft? {
    let end = tokens.count - 1
    guard count > 0, end > 0 else { return nil }
    var best = (position: -1, match: 0)
    var candidate = Int(previous[end])
    for _ in 0..<Self.occurrences where candidate >= 0 {
      var match = 2
      while match < Self.longest, match <= candidate, tokens[candidate - match] == tokens[end - match] { match += 1 }
      if match > best.match { best = (candidate, match) }
      if match == Self.longest { break }
      candidate = Int(previous[candidate])
    }
    guard best.match > 0 else { return nil }
    var draft: [Int32] = []
    for place in best.position + 1..<best.position + 1 + count {
      // The occurrence may reach into the draft itself: the sequence repeats with a period.
      draft.append(place <= end ? tokens[place] : draft[place - end - 1])
    }
    return Draft(tokens: draft, match: best.match)
  }
}

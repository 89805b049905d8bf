/// Finds what a step looks for.
enum PieceFinder: Sendable {
  case known(KnownPatternFinder)
  case expression(ExpressionMatcher)
  case literal(LiteralFinder)
  case scalars(ScalarFinder)

  init(_ pattern: Pattern, _ reading: ScalarReading) throws(ExpressionParser.Refusal) {
    switch pattern {
    case .literal(let text): self = .literal(LiteralFinder(text, reading))
    case .expression(let text):
      if reading == .utf8, let known = SplitPattern.allCases.first(where: { $0.expression == text }) {
        self = .known(KnownPatternFinder(splitter: PieceSplitter(known)))
      } else {
        self = .expression(try ExpressionMatcher(ExpressionParser.parse(text), reading))
      }
    }
  }
}

/// Finds matches in text.
protocol MatchFinder {
  /// Begins a text of that many bytes.
  mutating func begin(_ byteCount: Int)

  /// The first match in `text[start..<end]`. Expressions can match without consuming anything.
  ///
  /// - Parameter isFirst: whether there was no match before in this piece; after one, an empty match at `start` does
  ///   not count.
  mutating func firstMatch(in text: Span<UInt8>, from start: Int, to end: Int, isFirst: Bool) -> Range<Int>?
}

extension MatchFinder {
  mutating func begin(_ byteCount: Int) {}
}

/// Finds the pieces of a pattern of which every byte of a text is part.
struct KnownPatternFinder: MatchFinder, Sendable {
  let splitter: PieceSplitter

  @inline(__always)
  func firstMatch(in text: Span<UInt8>, from start: Int, to end: Int, isFirst: Bool) -> Range<Int>? {
    start < end ? start..<splitter.endOfPiece(in: text, from: start, to: end) : nil
  }
}

/// Finds a text, byte for byte.
struct LiteralFinder: MatchFinder, Sendable {
  /// The bytes that spell the text; empty if none do.
  private let bytes: [UInt8]

  init(_ text: String, _ reading: ScalarReading) {
    switch reading {
    case .utf8: bytes = Array(text.utf8)
    case .marked(let mark):
      let hasSpace = text.utf8.contains(UInt8(ascii: " "))
      bytes =
        hasSpace
        ? [] : text.unicodeScalars.flatMap { $0.value == mark ? [UInt8(ascii: " ")] : Array(UTF8.encode($0)!) }
    case .byteLevel:
      var spelled: [UInt8] = []
      let spelling = Array(text.utf8)
      bytes = ByteLevelAlphabet.decode(spelling, 0, spelling.count, into: &spelled) ? spelled : []
    }
  }

  func firstMatch(in text: Span<UInt8>, from start: Int, to end: Int, isFirst: Bool) -> Range<Int>? {
    guard let first = bytes.first, end - start >= bytes.count else { return nil }
    for at in start...end - bytes.count where text[at] == first {
      if (1..<bytes.count).allSatisfy({ text[at + $0] == bytes[$0] }) { return at..<at + bytes.count }
    }
    return nil
  }
}

/// Finds scalars of a class, one by one or in runs.
struct ScalarFinder: MatchFinder, Sendable {
  let set: ByteClassifier
  let inRuns: Bool

  @inline(__always)
  func firstMatch(in text: Span<UInt8>, from start: Int, to end: Int, isFirst: Bool) -> Range<Int>? {
    var at = start
    while at < end {
      let length = set.length(in: text, at: at, end: end)
      if length > 0 { return at..<(inRuns ? set.endOfRun(in: text, from: at + length, to: end) : at + length) }
      at += set.scalarLength(in: text, at: at, end: end)
    }
    return nil
  }
}

/// Finds what a step looks for.
enum PieceFinder: Sendable {
  /// A pattern of which every byte of a text is part.
  case known(PieceSplitter)
  case expression(ExpressionMatcher)
  case literal([UInt8])
  /// Scalars of a class, one by one or in runs.
  case scalars(ByteClassifier, inRuns: Bool)

  init(_ pattern: Pattern, _ reading: ScalarReading) throws(ExpressionParser.Refusal) {
    switch pattern {
    case .literal(let text): self = .literal(Self.bytes(of: text, reading))
    case .expression(let text):
      if reading == .utf8, let known = SplitPattern.allCases.first(where: { $0.expression == text }) {
        self = .known(PieceSplitter(known))
      } else {
        self = .expression(try ExpressionMatcher(ExpressionParser.parse(text), reading))
      }
    }
  }

  /// The bytes that spell a text; empty if none do.
  private static func bytes(of text: String, _ reading: ScalarReading) -> [UInt8] {
    switch reading {
    case .utf8: return Array(text.utf8)
    case .marked(let mark):
      let space = UInt32(UInt8(ascii: " "))
      if text.unicodeScalars.contains(where: { $0.value == space }) { return [] }
      return text.unicodeScalars.flatMap { $0.value == mark ? [UInt8(ascii: " ")] : Array(UTF8.encode($0)!) }
    case .byteLevel:
      var bytes: [UInt8] = []
      let spelling = Array(text.utf8)
      return ByteLevelAlphabet.decode(spelling, 0, spelling.count, into: &bytes) ? bytes : []
    }
  }

  /// Begins a text of that many bytes.
  mutating func begin(_ byteCount: Int) {
    guard case .expression(var matcher) = self else { return }
    matcher.begin(byteCount)
    self = .expression(matcher)
  }

  /// The first match in `text[start..<end]`. Expressions can match without consuming anything.
  ///
  /// - Parameter isFirst: whether there was no match before in this text; after one, an empty match at `start` does not
  ///   count.
  @inline(__always)
  mutating func firstMatch(in text: Span<UInt8>, from start: Int, to end: Int, isFirst: Bool) -> Range<Int>? {
    switch self {
    case .known(let splitter):
      return start < end ? start..<splitter.endOfPiece(in: text, from: start, to: end) : nil
    case .expression(var matcher):
      // Move the matcher out and back, so that its stack is not copied.
      self = .literal([])
      defer { self = .expression(matcher) }
      return matcher.firstMatch(in: text, from: start, to: end, mayBeEmptyAtStart: isFirst)
    case .literal(let bytes): return Self.firstMatch(of: bytes, in: text, start, end)
    case .scalars(let set, let inRuns):
      var at = start
      while at < end {
        let length = set.length(in: text, at: at, end: end)
        if length > 0 { return at..<(inRuns ? set.endOfRun(in: text, from: at + length, to: end) : at + length) }
        at += set.scalarLength(in: text, at: at, end: end)
      }
      return nil
    }
  }

  private static func firstMatch(of bytes: [UInt8], in text: Span<UInt8>, _ start: Int, _ end: Int) -> Range<Int>? {
    guard let first = bytes.first, end - start >= bytes.count else { return nil }
    for at in start...end - bytes.count where text[at] == first {
      if (1..<bytes.count).allSatisfy({ text[at + $0] == bytes[$0] }) { return at..<at + bytes.count }
    }
    return nil
  }
}

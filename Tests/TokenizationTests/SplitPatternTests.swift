import FoundationEssentials
import Testing
import BitNetTokenization

extension SplitPattern {
  /// The pieces of a text in order.
  fileprivate func pieces(of text: [UInt8]) -> [[UInt8]] {
    let splitter = PieceSplitter(self)
    var pieces: [[UInt8]] = []
    var start = 0
    while start < text.count {
      let end = splitter.endOfPiece(in: text.span, from: start, to: text.count)
      pieces.append(Array(text[start..<end]))
      start = end
    }
    return pieces
  }
}

@Suite struct SplitPatternTests {
  struct Case: Decodable {
    var text: String
    var llama3: [Int]
    var gpt2: [Int]
  }

  /// Texts with the lengths of their pieces, from Hugging Face tokenizers: see Scripts/make-split-cases.py.
  @Test func piecesAreThoseOfTheRegularExpressions() throws {
    let cases = try jsonLines(Case.self, in: Fixtures.folder.appending(path: "split-cases.jsonl"))
    #expect(cases.count > 2_000)
    for expected in cases {
      let text = Array(expected.text.utf8)
      #expect(SplitPattern.llama3.pieces(of: text).map(\.count) == expected.llama3, "\(expected.text.debugDescription)")
      #expect(SplitPattern.gpt2.pieces(of: text).map(\.count) == expected.gpt2, "\(expected.text.debugDescription)")
    }
  }

  @Test(arguments: [
    ("I'LL say'\u{17F} 'tis", ["I", "'LL", " say", "'\u{17F}", " '", "tis"]),
    ("12345 ½", ["123", "45", " ", "½"]),
    ("a  b   c", ["a", " ", " b", "  ", " c"]),
    ("a \r\n b\n", ["a", " \r\n", " b", "\n"]),
    ("x!\r\n\ny", ["x", "!\r\n\n", "y"]),
    ("\u{A0}\u{A0}a", ["\u{A0}", "\u{A0}a"]),
    ("\u{200B}a e\u{301}e", ["\u{200B}a", " e", "\u{301}e"]),
    ("end   ", ["end", "   "]),
    ("", []),
  ]) func llama3Pieces(text: String, pieces: [String]) {
    #expect(SplitPattern.llama3.pieces(of: Array(text.utf8)) == pieces.map { Array($0.utf8) })
  }

  @Test func brokenUTF8IsSplitAndKept() {
    var random = SeededGenerator(seed: 3)
    for _ in 0..<5_000 {
      let bytes = (0..<Int.random(in: 0...12, using: &random)).map { _ in
        [0x20, 0x61, 0x27, 0x80, 0xBF, 0xC3, 0xE2, 0xED, 0xF0, 0xF4, 0xFF, 0x0A].randomElement(using: &random)! as UInt8
      }
      for pattern in SplitPattern.allCases { #expect(pattern.pieces(of: bytes).flatMap(\.self) == bytes) }
    }
  }

  /// The table is that of Unicode 16. The standard library's may be newer; scalars of Unicode 16 must have the same
  /// class in both.
  @Test func classesAgreeWithTheStandardLibrary() {
    for value in UInt32(0)..<0x110000 {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let properties = scalar.properties
      let known = properties.age.map { $0.major <= 16 } ?? false
      let expected: ScalarClass =
        switch properties.generalCategory {
        case _ where value == 0x0A || value == 0x0D: .newline
        case _ where !known: .other
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: .letter
        case .decimalNumber, .letterNumber, .otherNumber: .number
        default: properties.isWhitespace ? .space : .other
        }
      let found = ScalarClassTable.shared[value]
      if found != expected { Issue.record("U+\(String(value, radix: 16)) is \(found), expected \(expected)") }
    }
  }
}

import BitNetJSON

/// Reads the lines of a serialized tokenizer, value by value.
struct SerializedReader {
  private let text: [UInt8]
  private var lineNumber = 0
  private var lineEnd = -1
  /// The start of the next value of the line.
  private var at = 0

  init(_ text: [UInt8]) { self.text = text }

  /// Moves to the next line that is not empty; false if there is none.
  mutating func nextLine() -> Bool {
    repeat {
      at = lineEnd + 1
      if at >= text.count { return false }
      lineNumber += 1
      lineEnd = text[at...].firstIndex(of: UInt8(ascii: "\n")) ?? text.count
    } while at == lineEnd
    return true
  }

  /// An error about a part of the line.
  func error(_ part: String = "the value", found: String, expected: String) -> TokenizerError {
    TokenizerError(subject: "\(part) in line \(lineNumber)", found: found, expected: expected)
  }

  func restOfLine() -> String { String(decoding: text[at..<lineEnd], as: UTF8.self) }

  /// The range of the next value; empty at the end of the line.
  private mutating func value() -> Range<Int> {
    let start = at
    while at < lineEnd && text[at] != UInt8(ascii: " ") { at += 1 }
    defer { if at < lineEnd { at += 1 } }
    return start..<at
  }

  /// The next value as text.
  mutating func word() -> String { String(decoding: text[value()], as: UTF8.self) }

  func checkEndOfLine() throws(TokenizerError) {
    if at < lineEnd { throw error(found: quoted(text[at..<lineEnd]), expected: "the end of the line") }
  }

  /// The next value, which must be one of a few words.
  mutating func choice<Value>(among choices: String, _ value: (String) -> Value?) throws(TokenizerError) -> Value {
    let word = word()
    guard let value = value(word) else { throw error(found: quoted(word), expected: choices) }
    return value
  }

  mutating func id() throws(TokenizerError) -> Int32 { try id(in: value()) }

  private func id(in range: Range<Int>) throws(TokenizerError) -> Int32 {
    guard let id = decimal(text.span, range.lowerBound, range.upperBound), id < Tokenizer.maximumVocabularySize else {
      throw error(found: quoted(text[range]), expected: "a token id below \(Tokenizer.maximumVocabularySize)")
    }
    return Int32(id)
  }

  mutating func base64() throws(TokenizerError) -> [UInt8] {
    var bytes: [UInt8] = []
    try base64(in: value(), into: &bytes)
    return bytes
  }

  private func base64(in range: Range<Int>, into bytes: inout [UInt8]) throws(TokenizerError) {
    guard !range.isEmpty, Base64.decode(text.span, range.lowerBound, range.upperBound, into: &bytes) else {
      throw error(found: quoted(text[range]), expected: "base64")
    }
  }

  var isAtEnd: Bool { at >= lineEnd }

  mutating func flag() throws(TokenizerError) -> Bool { try choice(among: "true or false", Bool.init) }

  /// The next value as an id; -1 for `-`.
  mutating func idOrNone() throws(TokenizerError) -> Int32 {
    let range = value()
    return text[range].elementsEqual("-".utf8) ? -1 : try id(in: range)
  }

  /// The next value as a number below 2²².
  mutating func count() throws(TokenizerError) -> Int { Int(try id()) }

  mutating func string() throws(TokenizerError) -> String {
    let bytes = try base64()
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw error(found: "not UTF-8", expected: "a text in base64")
    }
    return text
  }

  mutating func scalar() throws(TokenizerError) -> Unicode.Scalar {
    let text = try string()
    guard text.unicodeScalars.count == 1, let scalar = text.unicodeScalars.first else {
      throw error(found: quoted(text), expected: "one character")
    }
    return scalar
  }

  private mutating func pattern() throws(TokenizerError) -> Pattern {
    let kind = word()
    switch kind {
    case "literal": return .literal(try string())
    case "expression": return .expression(try string())
    default: throw error(found: quoted(kind), expected: "literal or expression")
    }
  }

  private mutating func behavior() throws(TokenizerError) -> SplitBehavior {
    try choice(among: SplitBehavior.allCases.map(\.rawValue).joined(separator: ", "), SplitBehavior.init(rawValue:))
  }

  mutating func normalizerStep() throws(TokenizerError) -> NormalizerStep {
    let kind = word()
    switch kind {
    case "nfc": return .nfc
    case "prepend": return .prepend(try string())
    case "replace": return .replace(try pattern(), with: isAtEnd ? "" : try string())
    case "mark": return .markSpaces(try scalar())
    case "prepend-space": return .prependSpace
    case "collapse-spaces": return .collapseSpaces
    default: throw error(found: quoted(kind), expected: "a step that normalizes")
    }
  }

  mutating func preTokenizerStep() throws(TokenizerError) -> PreTokenizerStep {
    let kind = word()
    switch kind {
    case "split": return .split(try pattern(), try behavior(), isInverted: try flag())
    case "digits": return .digits(isIndividual: try flag())
    case "punctuation": return .punctuation(try behavior())
    case "bytes": return .byteLevel(addsSpace: try flag(), usesPattern: try flag())
    case "metaspace":
      return .metaspace(
        mark: try scalar(), try choice(among: "always, first or never", MetaspacePrefix.init(rawValue:)),
        splits: try flag())
    default: throw error(found: quoted(kind), expected: "a step that splits")
    }
  }

  mutating func decoderStep() throws(TokenizerError) -> DecoderStep {
    let kind = word()
    switch kind {
    case "replace": return .replace(try string(), with: isAtEnd ? "" : try string())
    case "byte-fallback": return .byteFallback(keepsCharacters: try flag())
    case "fuse": return .fuse
    case "strip": return .strip(try scalar(), start: try count(), stop: try count())
    case "metaspace": return .metaspace(try scalar(), dropsFirst: try flag())
    case "drop": return .dropFirstMark(try scalar())
    default: throw error(found: quoted(kind), expected: "a step that decodes")
    }
  }

  /// The rest of the line as tokens in base64. Ids count up; `@` precedes the id of the next token.
  mutating func tokens() throws(TokenizerError) -> TokenList {
    var tokens = TokenList()
    var token: [UInt8] = []
    var id = 0
    while at < lineEnd {
      let range = value()
      if text[range].first == UInt8(ascii: "@") {
        id = Int(try self.id(in: range.dropFirst()))
        continue
      }
      token.removeAll(keepingCapacity: true)
      try base64(in: range, into: &token)
      if let (found, expected) = Tokenizer.fault(ofToken: token) {
        throw error("token \(id)", found: found, expected: expected)
      }
      if id >= Tokenizer.maximumVocabularySize {
        throw error("the id of a token", found: "\(id)", expected: "less than \(Tokenizer.maximumVocabularySize)")
      }
      if tokens.hasString(at: id) {
        throw error("the id of a token", found: "\(id), as of an earlier token", expected: "each id once")
      }
      tokens.insert(token, at: id)
      id += 1
    }
    return tokens
  }

  /// The rest of the line as pairs of ids that merge.
  mutating func merges(of vocabulary: TokenTable) throws(TokenizerError) -> [Merge] {
    var merges: [Merge] = []
    while at < lineEnd {
      let left = try id()
      let right = try id()
      let joined = Array(vocabulary.list[Int(left)] + vocabulary.list[Int(right)])
      let result = vocabulary.find(joined)
      guard vocabulary.list.hasString(at: Int(left)), vocabulary.list.hasString(at: Int(right)), result >= 0 else {
        throw error(
          "a merge", found: "\(left) \(right), which gives \(quoted(joined))",
          expected: "two tokens whose concatenation is a token")
      }
      merges.append(Merge(left: left, right: right, result: result))
    }
    return merges
  }
}

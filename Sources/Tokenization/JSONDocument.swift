/// A JSON text, parsed into a flat list of its values.
///
/// A tokenizer.json has hundreds of thousands of short strings. Llama 3's loads in 0.4 s this way, against 1.2 s with
/// JSONDecoder, which makes objects of them all and whose errors do not say where in the file they are.
final class JSONDocument: Sendable {
  enum Kind: UInt8 {
    case null, bool, number, string, array, object
  }

  /// A value. The values inside an array or object follow it in the list, an object's as key, value, key, value.
  struct Node {
    var kind: Kind
    var hasEscapes = false
    /// The bytes of the value; of a string, those between its quotes.
    var start: Int
    var end: Int
    /// The node after this one and all inside it.
    var next: Int
  }

  let bytes: [UInt8]
  let nodes: [Node]

  init(_ bytes: [UInt8]) throws(TokenizerError) {
    self.bytes = bytes
    var parser = Parser(bytes: bytes)
    try parser.parseAll()
    nodes = parser.nodes
  }

  /// Appends the content of a string or an object's key, escapes resolved. A lone surrogate becomes U+FFFD.
  func appendString(_ index: Int, to text: inout [UInt8]) {
    let node = nodes[index]
    if !node.hasEscapes {
      text.append(contentsOf: bytes[node.start..<node.end])
      return
    }
    var at = node.start
    func hexDigits() -> UInt32 {
      defer { at += 4 }
      return bytes[at..<at + 4].reduce(0) { $0 << 4 | UInt32(Character(Unicode.Scalar($1)).hexDigitValue!) }
    }
    while at < node.end {
      let byte = bytes[at]
      at += 1
      guard byte == UInt8(ascii: "\\") else {
        text.append(byte)
        continue
      }
      let escape = bytes[at]
      at += 1
      switch escape {
      case UInt8(ascii: "b"): text.append(0x08)
      case UInt8(ascii: "f"): text.append(0x0C)
      case UInt8(ascii: "n"): text.append(0x0A)
      case UInt8(ascii: "r"): text.append(0x0D)
      case UInt8(ascii: "t"): text.append(0x09)
      case UInt8(ascii: "u"):
        var value = hexDigits()
        if (0xD800..<0xDC00).contains(value), at + 6 <= node.end, bytes[at] == UInt8(ascii: "\\"),
          bytes[at + 1] == UInt8(ascii: "u")
        {
          let afterHigh = at
          at += 2
          let low = hexDigits()
          if (0xDC00..<0xE000).contains(low) {
            value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
          } else {
            at = afterHigh
          }
        }
        text.append(contentsOf: String(Unicode.Scalar(value) ?? "\u{FFFD}").utf8)
      default: text.append(escape)
      }
    }
  }

  private struct Parser {
    /// A tokenizer.json nests ten deep.
    static let deepest = 64

    let bytes: [UInt8]
    var nodes: [Node] = []
    var at = 0

    mutating func parseAll() throws(TokenizerError) {
      nodes.reserveCapacity(bytes.count / 16)
      try parseValue(depth: 0)
      skipWhitespace()
      if at < bytes.count { throw error(expected: "the end of the JSON text") }
    }

    func error(expected: String) -> TokenizerError {
      let before = bytes.prefix(at)
      let line = before.count { $0 == UInt8(ascii: "\n") } + 1
      let column = before.count - (before.lastIndex(of: UInt8(ascii: "\n")) ?? -1)
      let found = at < bytes.count ? quoted(bytes[at...].prefix(20)) : "the end of the file"
      return TokenizerError(place: "line \(line), column \(column)", found: found, expected: expected)
    }

    mutating func skipWhitespace() {
      while at < bytes.count, bytes[at] == 0x20 || bytes[at] == 0x0A || bytes[at] == 0x0D || bytes[at] == 0x09 {
        at += 1
      }
    }

    /// Steps over a byte if it comes next after whitespace.
    mutating func skip(_ byte: Unicode.Scalar) -> Bool {
      skipWhitespace()
      guard at < bytes.count, bytes[at] == UInt8(ascii: byte) else { return false }
      at += 1
      return true
    }

    mutating func parseValue(depth: Int) throws(TokenizerError) {
      skipWhitespace()
      let start = at
      guard at < bytes.count else { throw error(expected: "a JSON value") }
      switch bytes[at] {
      case UInt8(ascii: "\""): try parseString()
      case UInt8(ascii: "{"), UInt8(ascii: "["):
        guard depth < Self.deepest else { throw error(expected: "nesting of at most \(Self.deepest) levels") }
        try parseContainer(isObject: bytes[at] == UInt8(ascii: "{"), depth: depth)
      case UInt8(ascii: "t"): try parseLiteral("true", .bool)
      case UInt8(ascii: "f"): try parseLiteral("false", .bool)
      case UInt8(ascii: "n"): try parseLiteral("null", .null)
      default:
        while at < bytes.count, (0x30...0x39).contains(bytes[at]) || "+-.eE".utf8.contains(bytes[at]) { at += 1 }
        if at == start { throw error(expected: "a JSON value") }
        nodes.append(Node(kind: .number, start: start, end: at, next: nodes.count + 1))
      }
    }

    mutating func parseLiteral(_ literal: String, _ kind: Kind) throws(TokenizerError) {
      guard bytes[at...].starts(with: literal.utf8) else { throw error(expected: "a JSON value") }
      nodes.append(Node(kind: kind, start: at, end: at + literal.utf8.count, next: nodes.count + 1))
      at += literal.utf8.count
    }

    mutating func parseContainer(isObject: Bool, depth: Int) throws(TokenizerError) {
      let index = nodes.count
      let close: Unicode.Scalar = isObject ? "}" : "]"
      nodes.append(Node(kind: isObject ? .object : .array, start: at, end: at, next: index))
      at += 1
      if !skip(close) {
        repeat {
          if isObject {
            skipWhitespace()
            guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else { throw error(expected: "a key in quotes") }
            try parseString()
            guard skip(":") else { throw error(expected: "a colon") }
          }
          try parseValue(depth: depth + 1)
        } while skip(",")
        guard skip(close) else { throw error(expected: "a comma or \(quoted(String(close)))") }
      }
      nodes[index].end = at
      nodes[index].next = nodes.count
    }

    mutating func parseString() throws(TokenizerError) {
      at += 1
      let start = at
      var hasEscapes = false
      while at < bytes.count, bytes[at] != UInt8(ascii: "\"") {
        if bytes[at] < 0x20 { throw error(expected: "no control character in a string") }
        if bytes[at] == UInt8(ascii: "\\") {
          hasEscapes = true
          let isKnown =
            bytes[(at + 1)...].first.map { escape in
              escape == UInt8(ascii: "u")
                ? bytes[(at + 2)...].prefix(4).count { Character(Unicode.Scalar($0)).isHexDigit } == 4
                : "\"\\/bfnrt".utf8.contains(escape)
            } ?? false
          if !isKnown { throw error(expected: "an escape that JSON has") }
          at += 1
        }
        at += 1
      }
      if at >= bytes.count { throw error(expected: "a closing quote") }
      nodes.append(Node(kind: .string, hasEscapes: hasEscapes, start: start, end: at, next: nodes.count + 1))
      at += 1
    }
  }
}

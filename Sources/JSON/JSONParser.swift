/// Checks a JSON text and lists its values. The open arrays and objects are kept in a list, so that no nesting uses up
/// the stack.
struct JSONParser {
  typealias Node = JSONDocument.Node

  let bytes: [UInt8]
  let limits: JSONLimits
  var nodes: [Node] = []
  private var at = 0
  /// The nodes of the arrays and objects that are open, outermost first.
  private var open: [Int] = []
  private var names = JSONNameCheck()

  init(bytes: [UInt8], limits: JSONLimits) {
    self.bytes = bytes
    self.limits = limits
  }

  mutating func parse() throws(JSONError) {
    guard bytes.count <= limits.byteCount else {
      throw JSONError(
        kind: .limit, path: "", line: 1, column: 1, found: "\(bytes.count) bytes long",
        expected: "at most \(limits.byteCount)")
    }
    nodes.reserveCapacity(bytes.count / 16)
    repeat {
      try parseStart()
    } while try hasNext()
    skipWhitespace()
    if at < bytes.count { throw error(expected: "the end of the JSON text") }
  }

  // MARK: - Values

  /// Parses a value, or the beginning of an array or object up to its first value.
  private mutating func parseStart() throws(JSONError) {
    while true {
      skipWhitespace()
      guard at < bytes.count else { throw error(expected: "a JSON value") }
      switch bytes[at] {
      case UInt8(ascii: "\""): return try parseString()
      case UInt8(ascii: "{"):
        try openContainer(.object)
        if skip(UInt8(ascii: "}")) { return try closeContainer() }
        try parseName()
      case UInt8(ascii: "["):
        try openContainer(.array)
        if skip(UInt8(ascii: "]")) { return try closeContainer() }
      case UInt8(ascii: "t"): return try parseWord("true", .bool)
      case UInt8(ascii: "f"): return try parseWord("false", .bool)
      case UInt8(ascii: "n"): return try parseWord("null", .null)
      case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try parseNumber()
      default: throw error(expected: "a JSON value")
      }
    }
  }

  /// Closes the arrays and objects that end after a value. False when the outermost value has ended, true when another
  /// value follows.
  private mutating func hasNext() throws(JSONError) -> Bool {
    while let container = open.last {
      let isObject = nodes[container].kind == .object
      if skip(UInt8(ascii: ",")) {
        if isObject { try parseName() }
        return true
      }
      guard skip(isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) else {
        throw error(in: container, expected: isObject ? "a comma or \"}\"" : "a comma or \"]\"")
      }
      try closeContainer()
    }
    return false
  }

  private mutating func openContainer(_ kind: JSONDocument.Kind) throws(JSONError) {
    if open.count >= limits.depth {
      let (line, column) = JSONDocument.place(of: at, in: bytes)
      throw JSONError(
        kind: .limit, path: "", line: line, column: column,
        found: "nested more than \(limits.depth) deep at line \(line), column \(column)",
        expected: "at most \(limits.depth) levels")
    }
    open.append(nodes.count)
    nodes.append(Node(kind: kind, start: UInt32(at), end: 0, next: 0))
    at += 1
  }

  /// Closes the innermost array or object, whose bracket has just been read.
  private mutating func closeContainer() throws(JSONError) {
    let container = open.removeLast()
    nodes[container].end = UInt32(at)
    nodes[container].next = UInt32(nodes.count)
    if nodes[container].kind == .object, let name = names.firstRepeated(in: container, of: nodes, bytes) {
      let (line, column) = JSONDocument.place(of: Int(nodes[name].start) - 1, in: bytes)
      throw JSONError(
        kind: .value, path: JSONDocument.path(to: name, in: nodes, bytes), line: line, column: column,
        found: "given twice in one object (again at line \(line), column \(column))", expected: "each name once")
    }
  }

  private mutating func parseName() throws(JSONError) {
    skipWhitespace()
    guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else {
      throw error(in: open.last, expected: "a name in quotes")
    }
    try parseString()
    guard skip(UInt8(ascii: ":")) else { throw error(expected: "a colon") }
  }

  private mutating func parseWord(_ word: StaticString, _ kind: JSONDocument.Kind) throws(JSONError) {
    let end = at + word.utf8CodeUnitCount
    let isThere = word.withUTF8Buffer { bytes[at...].starts(with: $0) }
    guard isThere else { throw error(expected: "a JSON value") }
    append(kind, at, end)
    at = end
  }

  /// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`
  private mutating func parseNumber() throws(JSONError) {
    let start = at
    var hasFraction = false
    if bytes[at] == UInt8(ascii: "-") { at += 1 }
    if at < bytes.count, bytes[at] == UInt8(ascii: "0") {
      at += 1
      if at < bytes.count, Self.isDigit(bytes[at]) { throw error(expected: "a number without a leading zero") }
    } else {
      try skipDigits()
    }
    if at < bytes.count, bytes[at] == UInt8(ascii: ".") {
      hasFraction = true
      at += 1
      try skipDigits()
    }
    if at < bytes.count, bytes[at] | 0x20 == UInt8(ascii: "e") {
      hasFraction = true
      at += 1
      if at < bytes.count, bytes[at] == UInt8(ascii: "+") || bytes[at] == UInt8(ascii: "-") { at += 1 }
      try skipDigits()
    }
    append(.number, start, at, isMarked: hasFraction)
  }

  private mutating func skipDigits() throws(JSONError) {
    guard at < bytes.count, Self.isDigit(bytes[at]) else { throw error(expected: "a digit") }
    while at < bytes.count, Self.isDigit(bytes[at]) { at += 1 }
  }

  // MARK: - Strings

  private mutating func parseString() throws(JSONError) {
    let start = at + 1
    var hasEscapes = false
    at = start
    while true {
      at = Self.endOfPlainBytes(bytes.span, from: at)
      guard at < bytes.count else { throw error(expected: "a closing quote") }
      switch bytes[at] {
      case UInt8(ascii: "\""):
        append(.string, start, at, isMarked: hasEscapes)
        at += 1
        return
      case UInt8(ascii: "\\"):
        hasEscapes = true
        try parseEscape()
      case 0..<0x20: throw error(expected: "no control character in a string, but an escape")
      case 0x20..<0x80: at += 1
      default:
        let length = Self.lengthOfSequence(bytes.span, at)
        if length == 0 { throw error(expected: "UTF-8") }
        at += length
      }
    }
  }

  /// The place of the first byte that is a quote, a backslash, a control character or not ASCII, searched for eight
  /// bytes at a time; a place less than eight bytes before the end if none comes earlier.
  @inline(__always)
  private static func endOfPlainBytes(_ text: Span<UInt8>, from start: Int) -> Int {
    var at = start
    while at + 8 <= text.count {
      let word = UInt64(littleEndian: text.bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt64.self))
      let special = specialBytes(of: word)
      if special != 0 { return at + special.trailingZeroBitCount / 8 }
      at += 8
    }
    return at
  }

  /// The top bit of the first byte that is a quote, a backslash, a control character or not ASCII; 0 if there is none.
  /// Higher bits may be set for ordinary bytes.
  @inline(__always)
  private static func specialBytes(of word: UInt64) -> UInt64 {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let tops: UInt64 = ones << 7
    let quotes = word ^ ones &* UInt64(UInt8(ascii: "\""))
    let backslashes = word ^ ones &* UInt64(UInt8(ascii: "\\"))
    let controls = (word &- ones &* 0x20) & ~word
    return (word | controls | (quotes &- ones) & ~quotes | (backslashes &- ones) & ~backslashes) & tops
  }

  private mutating func parseEscape() throws(JSONError) {
    guard at + 1 < bytes.count else { throw error(expected: "a closing quote") }
    switch bytes[at + 1] {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
      UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
      at += 2
    case UInt8(ascii: "u"):
      guard let value = hexEscape(at) else {
        throw error(expected: "an escape of four hexadecimal digits, such as \\u00e9")
      }
      switch value {
      case 0xD800...0xDBFF:
        guard let low = hexEscape(at + 6), 0xDC00...0xDFFF ~= low else {
          throw error(expected: "a surrogate pair: \\udc00 to \\udfff after this escape")
        }
        at += 12
      case 0xDC00...0xDFFF: throw error(expected: "a surrogate pair: \\ud800 to \\udbff before this escape")
      default: at += 6
      }
    default: throw error(expected: "an escape that JSON has")
    }
  }

  /// The value of the escape `\uXXXX` at `start`; nil if there is none.
  private func hexEscape(_ start: Int) -> UInt32? {
    guard start + 6 <= bytes.count, bytes[start] == UInt8(ascii: "\\"), bytes[start + 1] == UInt8(ascii: "u") else {
      return nil
    }
    var value: UInt32 = 0
    for offset in start + 2..<start + 6 {
      guard let digit = Self.hexDigit(bytes[offset]) else { return nil }
      value = value << 4 | UInt32(digit)
    }
    return value
  }

  static func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }

  /// The length of the UTF-8 sequence of two to four bytes at `start`; 0 if there is no valid one.
  private static func lengthOfSequence(_ text: Span<UInt8>, _ start: Int) -> Int {
    let lead = text[start]
    let length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2
    guard 0xC2...0xF4 ~= lead, start + length <= text.count else { return 0 }
    // Some leads allow only some second bytes: the others give overlong forms, surrogates or values above U+10FFFF.
    let second: ClosedRange<UInt8> =
      switch lead {
      case 0xE0: 0xA0...0xBF
      case 0xED: 0x80...0x9F
      case 0xF0: 0x90...0xBF
      case 0xF4: 0x80...0x8F
      default: 0x80...0xBF
      }
    guard second.contains(text[start + 1]) else { return 0 }
    for offset in start + 2..<max(start + 2, start + length) where text[offset] & 0xC0 != 0x80 { return 0 }
    return length
  }

  // MARK: - Small parts

  private static func isDigit(_ byte: UInt8) -> Bool { UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte }

  @inline(__always)
  private mutating func append(_ kind: JSONDocument.Kind, _ start: Int, _ end: Int, isMarked: Bool = false) {
    nodes.append(
      Node(kind: kind, isMarked: isMarked, start: UInt32(start), end: UInt32(end), next: UInt32(nodes.count + 1)))
  }

  @inline(__always)
  private mutating func skipWhitespace() {
    while at < bytes.count, bytes[at] == 0x20 || bytes[at] == 0x0A || bytes[at] == 0x0D || bytes[at] == 0x09 { at += 1 }
  }

  /// Steps over `byte` if it is the next byte that is not whitespace.
  @inline(__always)
  private mutating func skip(_ byte: UInt8) -> Bool {
    skipWhitespace()
    guard at < bytes.count, bytes[at] == byte else { return false }
    at += 1
    return true
  }

  /// - Parameter container: the array or object that the error names as its place; nil for the value that comes next.
  private func error(in container: Int? = nil, expected: String) -> JSONError {
    let (line, column) = JSONDocument.place(of: at, in: bytes)
    let path = JSONDocument.path(to: container ?? nodes.count, in: nodes, bytes)
    let rest = bytes[min(at, bytes.count)...]
    let found: String =
      if rest.isEmpty {
        "the end of the text"
      } else if rest.starts(with: [0xEF, 0xBB, 0xBF]) {
        "a byte order mark"
      } else if rest.first! >= 0x80, Self.lengthOfSequence(bytes.span, at) == 0 {
        "the byte 0x\(String(rest.first!, radix: 16))"
      } else {
        quoted(rest.prefix(20))
      }
    return JSONError(kind: .syntax, path: path, line: line, column: column, found: found, expected: expected)
  }
}

/// Finds names that an object gives twice: the same Unicode scalars after their escapes are resolved.
struct JSONNameCheck {
  /// Nodes of names by hash, with open addressing; 0 in a free slot. Kept between objects for its memory.
  private var slots: [UInt32] = []
  /// Objects with fewer names are checked pair by pair.
  private static let fewNames = 9

  /// The node of the first name that occurred before in this object, which must be closed; nil if all names differ.
  mutating func firstRepeated(in object: Int, of nodes: [JSONDocument.Node], _ bytes: [UInt8]) -> Int? {
    let end = Int(nodes[object].next)
    var count = 0
    var name = object + 1
    while name < end {
      if count < Self.fewNames {
        var earlier = object + 1
        while earlier < name {
          if Self.areEqual(nodes[earlier], nodes[name], bytes) { return name }
          earlier = Int(nodes[earlier + 1].next)
        }
      }
      count += 1
      name = Int(nodes[name + 1].next)
    }
    return count <= Self.fewNames ? nil : firstRepeatedOfMany(in: object, count: count, of: nodes, bytes)
  }

  private mutating func firstRepeatedOfMany(
    in object: Int, count: Int, of nodes: [JSONDocument.Node], _ bytes: [UInt8]
  ) -> Int? {
    let capacity = 1 << (Int.bitWidth - (2 * count).leadingZeroBitCount)
    slots.removeAll(keepingCapacity: true)
    slots.append(contentsOf: repeatElement(0, count: capacity))
    var name = object + 1
    while name < nodes[object].next {
      var slot = Self.hash(nodes[name], bytes) & (capacity - 1)
      while slots[slot] > 0 {
        if Self.areEqual(nodes[Int(slots[slot])], nodes[name], bytes) { return name }
        slot = (slot + 1) & (capacity - 1)
      }
      slots[slot] = UInt32(name)
      name = Int(nodes[name + 1].next)
    }
    return nil
  }

  private static func areEqual(_ a: JSONDocument.Node, _ b: JSONDocument.Node, _ bytes: [UInt8]) -> Bool {
    if a.isMarked || b.isMarked { return content(a, bytes) == content(b, bytes) }
    guard a.end - a.start == b.end - b.start else { return false }
    for offset in 0..<Int(a.end - a.start) where bytes[Int(a.start) + offset] != bytes[Int(b.start) + offset] {
      return false
    }
    return true
  }

  /// Seeded anew for each process by the standard library, so that no text can be made to collide.
  private static func hash(_ node: JSONDocument.Node, _ bytes: [UInt8]) -> Int {
    var hasher = Hasher()
    if node.isMarked {
      content(node, bytes).withUnsafeBytes { hasher.combine(bytes: $0) }
    } else {
      bytes.withUnsafeBytes { hasher.combine(bytes: UnsafeRawBufferPointer(rebasing: $0[node.range])) }
    }
    return hasher.finalize()
  }

  private static func content(_ node: JSONDocument.Node, _ bytes: [UInt8]) -> [UInt8] {
    var content: [UInt8] = []
    JSONDocument.append(node, of: bytes, to: &content)
    return content
  }
}

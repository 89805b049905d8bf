/// A piece of a template.
struct JinjaToken: Equatable {
  enum Kind: Equatable {
    /// Text between tags.
    case data(JinjaLexer.Text)
    case variableBegin, variableEnd
    case blockBegin, blockEnd
    case name(String)
    case string(JinjaLexer.Text)
    case integer(Int128)
    case float(Double)
    /// `+`, `==`, `(` and so on.
    case symbol(String)
    case end
  }

  let kind: Kind
  let line: Int

  /// The token in an error.
  var description: String {
    switch kind {
    case .data: "text"
    case .variableBegin: "{{"
    case .variableEnd: "}}"
    case .blockBegin: "{%"
    case .blockEnd: "%}"
    case .name(let name): name
    case .string: "a string"
    case .integer(let value): "\(value)"
    case .float(let value): "\(value)"
    case .symbol(let symbol): symbol
    case .end: "the end of the template"
    }
  }
}

/// Cuts a template into tokens, as Jinja does with `trim_blocks` and `lstrip_blocks`: a tag takes the line break after
/// it along, and the white space before it on its line.
struct JinjaLexer {
  typealias Text = [UInt32]

  private let source: Text
  private var at = 0
  private var line = 1
  private var tokens: [JinjaToken] = []
  /// Whether the text before `at` ends a line.
  private var isLineStart = true

  /// - Throws: `JinjaError` for an unknown character, a string or tag without an end, a bracket without its partner.
  static func tokens(of source: String) throws(JinjaError) -> [JinjaToken] {
    var lexer = JinjaLexer(source)
    try lexer.run()
    return lexer.tokens
  }

  private init(_ source: String) {
    // All line ends become \n, also in strings; one at the very end goes.
    var text: Text = []
    text.reserveCapacity(source.utf8.count)
    var isAfterReturn = false
    for scalar in source.unicodeScalars {
      if scalar == "\r" {
        text.append(0x0A)
      } else if !(scalar == "\n" && isAfterReturn) {
        text.append(scalar.value)
      }
      isAfterReturn = scalar == "\r"
    }
    if text.last == 0x0A { text.removeLast() }
    self.source = text
  }

  private func error(_ message: String) -> JinjaError { JinjaError(.syntax, line: line, message) }

  private func has(_ ascii: String, at index: Int) -> Bool {
    index + ascii.utf8.count <= source.count && zip(source[index...], ascii.utf8).allSatisfy { $0 == UInt32($1) }
  }

  private mutating func add(_ kind: JinjaToken.Kind) { tokens.append(JinjaToken(kind: kind, line: line)) }

  /// Moves to `index` and counts the lines on the way.
  private mutating func advance(to index: Int) {
    for unit in source[at..<index] where unit == 0x0A { line += 1 }
    at = index
    isLineStart = index > 0 && source[index - 1] == 0x0A
  }

  private func skippingSpace(from index: Int) -> Int {
    var index = index
    while index < source.count, JinjaText.isSpace(source[index]) { index += 1 }
    return index
  }

  // MARK: - Text and tags

  private mutating func run() throws(JinjaError) {
    while at < source.count {
      let start = at
      let startsLine = at == 0 || isLineStart
      var open = start
      while open < source.count, !has("{{", at: open), !has("{%", at: open), !has("{#", at: open) { open += 1 }
      let sign: UInt32? = open + 2 < source.count ? source[open + 2] : nil
      let data = text(from: start, to: open, sign: sign, isVariable: has("{{", at: open), startsLine: startsLine)
      if !data.isEmpty { add(.data(data)) }
      guard open < source.count else { break }
      advance(to: open)
      let isSigned = sign == 0x2D || sign == 0x2B
      let inside = open + (isSigned ? 3 : 2)
      if has("{#", at: open) {
        try skipComment(from: inside)
      } else if has("{%", at: open), let body = rawBody(from: inside) {
        try readRaw(from: body)
      } else {
        let isBlock = has("{%", at: open)
        add(isBlock ? .blockBegin : .variableBegin)
        advance(to: inside)
        try readTag(isBlock: isBlock)
      }
    }
    line = source.reduce(1) { $1 == 0x0A ? $0 + 1 : $0 }
    add(.end)
  }

  /// The text before a tag, without the white space that the tag takes.
  private func text(from start: Int, to end: Int, sign: UInt32?, isVariable: Bool, startsLine: Bool) -> Text {
    var stop = end
    guard end < source.count else { return Text(source[start..<end]) }
    if sign == 0x2D {
      while stop > start, JinjaText.isSpace(source[stop - 1]) { stop -= 1 }
    } else if sign != 0x2B, !isVariable {
      var lineStart = end
      while lineStart > start, source[lineStart - 1] != 0x0A { lineStart -= 1 }
      if lineStart > start || startsLine, source[lineStart..<end].allSatisfy(JinjaText.isSpace) { stop = lineStart }
    }
    return Text(source[start..<stop])
  }

  /// The index after the end of a block or comment: `%}` takes a line break with it, `-%}` all white space.
  private func blockEnd(at index: Int, _ close: String) -> Int? {
    if has(close, at: index) {
      return index + 2 < source.count && source[index + 2] == 0x0A ? index + 3 : index + 2
    }
    if has("-" + close, at: index) { return skippingSpace(from: index + 3) }
    return has("+" + close, at: index) ? index + 3 : nil
  }

  private mutating func skipComment(from start: Int) throws(JinjaError) {
    // As in Jinja, one that begins at the very end needs none.
    if start == source.count { return advance(to: start) }
    var index = start
    while index < source.count {
      if let end = blockEnd(at: index, "#}") { return advance(to: end) }
      index += 1
    }
    throw error("the comment has no end; expected #}")
  }

  /// The index after `{% raw %}`; nil if the tag is another one.
  private func rawBody(from inside: Int) -> Int? {
    let name = skippingSpace(from: inside)
    guard has("raw", at: name) else { return nil }
    let close = skippingSpace(from: name + 3)
    if has("-%}", at: close) { return skippingSpace(from: close + 3) }
    return has("%}", at: close) ? close + 2 : nil
  }

  private mutating func readRaw(from body: Int) throws(JinjaError) {
    advance(to: body)
    let startsLine = isLineStart
    var open = body
    while open < source.count {
      if has("{%", at: open) {
        let sign: UInt32? = open + 2 < source.count ? source[open + 2] : nil
        let name = skippingSpace(from: open + (sign == 0x2D || sign == 0x2B ? 3 : 2))
        if has("endraw", at: name), let end = blockEnd(at: skippingSpace(from: name + 6), "%}") {
          let data = text(from: body, to: open, sign: sign, isVariable: false, startsLine: startsLine)
          if !data.isEmpty { add(.data(data)) }
          return advance(to: end)
        }
      }
      open += 1
    }
    throw error("the raw block has no end; expected {% endraw %}")
  }

  // MARK: - Inside a tag

  private static let symbols = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
  ]

  private mutating func readTag(isBlock: Bool) throws(JinjaError) {
    var open: [String] = []
    while true {
      advance(to: skippingSpace(from: at))
      guard at < source.count else { return }
      if open.isEmpty {
        if isBlock, let end = blockEnd(at: at, "%}") {
          add(.blockEnd)
          return advance(to: end)
        }
        if !isBlock, has("}}", at: at) || has("-}}", at: at) {
          add(.variableEnd)
          return advance(to: source[at] == 0x2D ? skippingSpace(from: at + 3) : at + 2)
        }
      }
      let unit = source[at]
      if 0x30...0x39 ~= unit {
        try readNumber()
      } else if unit == 0x22 || unit == 0x27 {
        try readString(quote: unit)
      } else if JinjaText.isWord(unit) {
        try readName()
      } else {
        try readSymbol(&open)
      }
    }
  }

  private mutating func readSymbol(_ open: inout [String]) throws(JinjaError) {
    guard let symbol = Self.symbols.first(where: { has($0, at: at) }) else {
      throw error("the character \(quotedUnits([source[at]])) is no part of an expression")
    }
    switch symbol {
    case "(": open.append(")")
    case "[": open.append("]")
    case "{": open.append("}")
    case ")", "]", "}":
      guard let expected = open.popLast() else { throw error("\(symbol) closes nothing") }
      if expected != symbol { throw error("the closing bracket is \(symbol); expected \(expected)") }
    default: break
    }
    add(.symbol(symbol))
    advance(to: at + symbol.utf8.count)
  }

  private mutating func readName() throws(JinjaError) {
    var end = at
    while end < source.count, JinjaText.isWord(source[end]) { end += 1 }
    add(.name(JinjaText.string(source[at..<end])))
    advance(to: end)
  }

  /// The digits from `index` on, with single underscores between them.
  private func digits(from index: Int, _ isDigit: (UInt32) -> Bool) -> Int {
    var end = index
    while end < source.count {
      if isDigit(source[end]) {
        end += 1
      } else if source[end] == 0x5F, end > index, end + 1 < source.count, isDigit(source[end + 1]) {
        end += 2
      } else {
        break
      }
    }
    return end
  }

  private mutating func readNumber() throws(JinjaError) {
    let isAttribute = tokens.last?.kind == .symbol(".")
    func isDecimal(_ unit: UInt32) -> Bool { 0x30...0x39 ~= unit }
    func text(_ range: Range<Int>) -> String { JinjaText.string(source[range].filter { $0 != 0x5F }[...]) }
    // 0x1F, 0o17 and 0b11; an underscore may follow the letter.
    if source[at] == 0x30, at + 1 < source.count, let radix = [0x78: 16, 0x6F: 8, 0x62: 2][source[at + 1] | 0x20] {
      func isDigit(_ unit: UInt32) -> Bool {
        Unicode.Scalar(unit).map { Int(String($0), radix: radix) != nil && $0.isASCII } ?? false
      }
      let first = at + 2 < source.count && source[at + 2] == 0x5F ? at + 3 : at + 2
      let end = digits(from: first, isDigit)
      if end > first {
        guard let value = Int128(text(first..<end), radix: radix) else { throw error("the number is too large") }
        add(.integer(value))
        return advance(to: end)
      }
    }
    let whole = digits(from: at, isDecimal)
    var end = whole
    if !isAttribute {
      if end + 1 < source.count, source[end] == 0x2E, isDecimal(source[end + 1]) {
        end = digits(from: end + 1, isDecimal)
      }
      if end < source.count, source[end] | 0x20 == 0x65 {
        let sign = end + 1 < source.count && (source[end + 1] == 0x2B || source[end + 1] == 0x2D) ? 2 : 1
        if end + sign < source.count, isDecimal(source[end + sign]) { end = digits(from: end + sign, isDecimal) }
      }
    }
    if end > whole {
      guard let value = Double(text(at..<end)) else { throw error("the number is not one") }
      add(.float(value))
      return advance(to: end)
    }
    // As in Python, only zero begins with a zero.
    if source[at] == 0x30, whole > at + 1 {
      let zeros = digits(from: at) { $0 == 0x30 }
      add(.integer(0))
      return advance(to: zeros)
    }
    guard let value = Int128(text(at..<whole)) else {
      throw error("the number \(quotedUnits(source[at..<whole])) is too large; expected less than 2^127")
    }
    add(.integer(value))
    advance(to: whole)
  }

  // MARK: - Strings

  private mutating func readString(quote: UInt32) throws(JinjaError) {
    var end = at + 1
    while end < source.count, source[end] != quote { end += source[end] == 0x5C ? 2 : 1 }
    guard end < source.count else { throw error("the string has no end; expected a quotation mark") }
    add(.string(try unescaped(source[at + 1..<end])))
    advance(to: end + 1)
  }

  /// The text of a string, with Python's escapes.
  private func unescaped(_ raw: ArraySlice<UInt32>) throws(JinjaError) -> Text {
    guard raw.contains(0x5C) else { return Text(raw) }
    var text: Text = []
    var index = raw.startIndex
    while index < raw.endIndex {
      let unit = raw[index]
      index += 1
      guard unit == 0x5C, index < raw.endIndex else {
        text.append(unit)
        continue
      }
      let escape = raw[index]
      index += 1
      switch Unicode.Scalar(escape) {
      case "\n": break
      case "a": text.append(0x07)
      case "b": text.append(0x08)
      case "f": text.append(0x0C)
      case "n": text.append(0x0A)
      case "r": text.append(0x0D)
      case "t": text.append(0x09)
      case "v": text.append(0x0B)
      case "\\", "'", "\"": text.append(escape)
      case "x": text.append(try hexadecimal(raw, &index, count: 2))
      case "u": text.append(try hexadecimal(raw, &index, count: 4))
      case "U": text.append(try hexadecimal(raw, &index, count: 8))
      case "N": throw error("the escape \\N is not supported; expected \\u and four digits")
      default:
        guard 0x30...0x37 ~= escape else {
          text += [0x5C, escape]
          continue
        }
        var value = escape - 0x30
        var count = 1
        while count < 3, index < raw.endIndex, 0x30...0x37 ~= raw[index] {
          value = value * 8 + raw[index] - 0x30
          index += 1
          count += 1
        }
        text.append(value)
      }
    }
    return text
  }

  private func hexadecimal(_ raw: ArraySlice<UInt32>, _ index: inout Int, count: Int) throws(JinjaError) -> UInt32 {
    let digits = JinjaText.string(raw[index..<min(index + count, raw.endIndex)])
    guard digits.utf8.count == count, digits.allSatisfy(\.isHexDigit), let value = UInt32(digits, radix: 16),
      value <= 0x10FFFF
    else { throw error("the escape has the digits \(quotedUnits(raw[index...].prefix(count))); expected \(count)") }
    index += count
    return value
  }
}

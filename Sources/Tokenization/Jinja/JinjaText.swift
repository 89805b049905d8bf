/// A string as Python has it, of code points, each of which remembers who wrote it.
///
/// A code point takes 21 bits of a unit. Bit 31 says that it is content: it came from a message, a tool or another
/// variable, not from the template. Bits 21 to 30 number the reply that it came from, so that the reply's own tokens
/// can take its place in a prompt. Every operation of the interpreter moves units instead of characters, so the origin
/// survives slicing, joining, replacing, escaping and whatever else a template does.
package struct JinjaText: Sendable {
  typealias Unit = UInt32

  static let scalarMask: Unit = 0x1F_FFFF
  static let originMask: Unit = ~scalarMask
  /// The mark of units that the template did not write.
  static let content: Unit = 1 << 31
  /// The largest number of a reply; 0 is none.
  static let largestReply = 0x3FF

  var units: [Unit]
  /// Whether the text counts as HTML that needs no escaping, which Jinja calls Markup.
  var isSafe = false

  init(units: [Unit] = [], isSafe: Bool = false) {
    self.units = units
    self.isSafe = isSafe
  }

  /// - Parameter mark: the origin of every character; 0 is the template.
  init(_ string: String, mark: Unit = 0) {
    var string = string
    units = string.withUTF8 { Self.units(of: $0, mark: mark) }
  }

  /// The code points of valid UTF-8.
  private static func units(of utf8: UnsafeBufferPointer<UInt8>, mark: Unit) -> [Unit] {
    let count = utf8.reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
    return [Unit](unsafeUninitializedCapacity: count) { buffer, initialized in
      var at = 0
      for index in 0..<count {
        let first = Unit(utf8[at])
        let length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
        var value = length == 1 ? first : first & (0x7F >> Unit(length))
        for next in at + 1..<at + length { value = value << 6 | Unit(utf8[next]) & 0x3F }
        buffer[index] = value | mark
        at += length
      }
      initialized = count
    }
  }

  /// The mark of a reply's content.
  ///
  /// - Parameter number: from 1 to ``largestReply``.
  static func mark(ofReply number: Int) -> Unit { content | Unit(number) << 21 }

  var count: Int { units.count }

  var isEmpty: Bool { units.isEmpty }

  /// The text without its origin. Python's strings can hold halves of surrogate pairs: two halves in a row become the
  /// character that they encode, others U+FFFD.
  package var string: String { Self.string(units[...]) }

  static func string(_ units: ArraySlice<Unit>) -> String {
    // A code point takes at most four bytes; counting first keeps the text from being copied while it grows.
    let count = units.reduce(0) { sum, unit in
      let value = unit & scalarMask
      return sum + (value < 0x80 ? 1 : value < 0x800 ? 2 : value < 0x10000 ? 3 : 4)
    }
    return String(unsafeUninitializedCapacity: count) { buffer in
      var size = 0
      var at = units.startIndex
      while at < units.endIndex {
        var value = units[at] & scalarMask
        at += 1
        if value < 0x80 {
          buffer[size] = UInt8(value)
          size += 1
          continue
        }
        if 0xD800...0xDBFF ~= value, at < units.endIndex, 0xDC00...0xDFFF ~= units[at] & scalarMask {
          value = 0x10000 + (value - 0xD800) << 10 + (units[at] & scalarMask - 0xDC00)
          at += 1
        }
        for byte in UTF8.encode(Unicode.Scalar(value) ?? "\u{FFFD}") ?? UTF8.encodedReplacementCharacter {
          buffer[size] = byte
          size += 1
        }
      }
      return size
    }
  }

  /// The code points without their origin.
  var scalars: [Unit] { units.map { $0 & Self.scalarMask } }

  /// Whether all of the text is `string`, wherever it came from.
  func equals(_ string: String) -> Bool {
    units.count == string.unicodeScalars.count && zip(units, string.unicodeScalars).allSatisfy(Self.isEqual)
  }

  private static func isEqual(_ unit: Unit, _ scalar: Unicode.Scalar) -> Bool { unit & scalarMask == scalar.value }

  static func == (a: JinjaText, b: JinjaText) -> Bool {
    a.units.count == b.units.count && zip(a.units, b.units).allSatisfy { ($0 ^ $1) & scalarMask == 0 }
  }

  static func < (a: JinjaText, b: JinjaText) -> Bool {
    for (left, right) in zip(a.units, b.units) where (left ^ right) & scalarMask != 0 {
      return left & scalarMask < right & scalarMask
    }
    return a.units.count < b.units.count
  }

  func slice(_ range: Range<Int>) -> JinjaText {
    range == 0..<count ? self : JinjaText(units: Array(units[range]), isSafe: isSafe)
  }
}

// MARK: - Characters

extension JinjaText {
  static func scalar(_ unit: Unit) -> Unicode.Scalar { Unicode.Scalar(unit & scalarMask) ?? "\u{FFFD}" }

  static func properties(_ unit: Unit) -> Unicode.Scalar.Properties { scalar(unit).properties }

  /// Python's `str.isspace`: Unicode white space, and the separators U+001C to U+001F.
  static func isSpace(_ unit: Unit) -> Bool {
    let value = unit & scalarMask
    if value < 0x80 { return 0x09...0x0D ~= value || 0x1C...0x20 ~= value }
    return properties(unit).isWhitespace
  }

  /// The characters after which Python's `splitlines` begins a line.
  static func isLineBreak(_ unit: Unit) -> Bool {
    switch unit & scalarMask {
    case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029: true
    default: false
    }
  }

  /// Python's `str.isprintable`.
  static func isPrintable(_ unit: Unit) -> Bool {
    let value = unit & scalarMask
    if value < 0x7F { return value >= 0x20 }
    guard Unicode.Scalar(value) != nil else { return false }
    switch properties(unit).generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
      .spaceSeparator:
      return false
    default: return true
    }
  }

  static func isAlphabetic(_ unit: Unit) -> Bool {
    switch properties(unit).generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
    default: false
    }
  }

  static func isDecimal(_ unit: Unit) -> Bool { properties(unit).generalCategory == .decimalNumber }

  static func isDigit(_ unit: Unit) -> Bool {
    let type = properties(unit).numericType
    return type == .decimal || type == .digit
  }

  static func isNumeric(_ unit: Unit) -> Bool { properties(unit).numericType != nil }

  /// A character that can be part of a word: `\w` of Python's regular expressions.
  static func isWord(_ unit: Unit) -> Bool {
    unit & scalarMask == 0x5F || isAlphabetic(unit) || isNumeric(unit)
  }

  /// Whether a title begins anew after this character.
  static func isCased(_ unit: Unit) -> Bool { properties(unit).isCased }
}

// MARK: - Changing case

extension JinjaText {
  enum LetterCase { case upper, lower, title, folded }

  /// Appends a unit in another case: one to three units of the same origin.
  private static func append(_ unit: Unit, _ letterCase: LetterCase, to units: inout [Unit]) {
    let value = unit & scalarMask
    if value < 0x80 {
      let isUpper = 0x41...0x5A ~= value
      let isLower = 0x61...0x7A ~= value
      switch letterCase {
      case .upper, .title: units.append(isLower ? unit - 0x20 : unit)
      case .lower, .folded: units.append(isUpper ? unit + 0x20 : unit)
      }
      return
    }
    guard Unicode.Scalar(value) != nil else {
      units.append(unit)
      return
    }
    let properties = properties(unit)
    let mapped =
      switch letterCase {
      case .upper: properties.uppercaseMapping
      case .lower: properties.lowercaseMapping
      case .title: properties.titlecaseMapping
      // Case folding is nearly the lower case of the upper case, which covers the sharp s.
      case .folded: properties.uppercaseMapping.lowercased()
      }
    for scalar in mapped.unicodeScalars { units.append(scalar.value | unit & originMask) }
  }

  /// Appends a unit in lower case; a capital sigma at the end of a word becomes the final form.
  private func appendLower(at index: Int, to result: inout [Unit]) {
    guard units[index] & Self.scalarMask == 0x3A3 else {
      Self.append(units[index], .lower, to: &result)
      return
    }
    func isCasedNext(_ indices: some Sequence<Int>) -> Bool {
      for index in indices where !Self.properties(units[index]).isCaseIgnorable { return Self.isCased(units[index]) }
      return false
    }
    let isFinal = isCasedNext(stride(from: index - 1, through: 0, by: -1)) && !isCasedNext(index + 1..<units.count)
    result.append((isFinal ? 0x3C2 : 0x3C3) | units[index] & Self.originMask)
  }

  func converted(to letterCase: LetterCase) -> JinjaText {
    var result: [Unit] = []
    result.reserveCapacity(units.count)
    for index in units.indices {
      if letterCase == .lower {
        appendLower(at: index, to: &result)
      } else {
        Self.append(units[index], letterCase, to: &result)
      }
    }
    return JinjaText(units: result, isSafe: isSafe)
  }

  /// The first letter in title case, the rest in lower case.
  var capitalized: JinjaText {
    var result: [Unit] = []
    for index in units.indices {
      if index == 0 { Self.append(units[0], .title, to: &result) } else { appendLower(at: index, to: &result) }
    }
    return JinjaText(units: result, isSafe: isSafe)
  }

  /// Python's `str.title`: a letter after a letter in lower case, other letters in title case.
  var titled: JinjaText {
    var result: [Unit] = []
    var isAfterCased = false
    for index in units.indices {
      if isAfterCased { appendLower(at: index, to: &result) } else { Self.append(units[index], .title, to: &result) }
      isAfterCased = Self.isCased(units[index])
    }
    return JinjaText(units: result, isSafe: isSafe)
  }

  var caseSwapped: JinjaText {
    var result: [Unit] = []
    for index in units.indices {
      let properties = Self.properties(units[index])
      if properties.isUppercase {
        appendLower(at: index, to: &result)
      } else {
        Self.append(units[index], properties.isLowercase ? .upper : .title, to: &result)
        if !properties.isLowercase { result[result.count - 1] = units[index] }
      }
    }
    return JinjaText(units: result, isSafe: isSafe)
  }
}

// MARK: - Stripping and splitting

extension JinjaText {
  enum End { case left, right, both }

  /// Without white space, or without the units of `characters`, at the ends.
  func stripped(_ end: End, of characters: JinjaText? = nil) -> JinjaText {
    let set = characters.map { Set($0.scalars) }
    func goes(_ unit: Unit) -> Bool { set?.contains(unit & Self.scalarMask) ?? Self.isSpace(unit) }
    var start = 0
    var stop = units.count
    if end != .right { while start < stop, goes(units[start]) { start += 1 } }
    if end != .left { while stop > start, goes(units[stop - 1]) { stop -= 1 } }
    return slice(start..<stop)
  }

  func hasPrefix(_ other: JinjaText, at start: Int = 0) -> Bool {
    start >= 0 && start + other.count <= count
      && other.units.indices.allSatisfy { (units[start + $0] ^ other.units[$0]) & Self.scalarMask == 0 }
  }

  /// The ranges between white space.
  ///
  /// - Parameter limit: the largest number of cuts; no limit if negative.
  func words(limit: Int = -1) -> [JinjaText] {
    var words: [JinjaText] = []
    var at = 0
    while true {
      while at < count, Self.isSpace(units[at]) { at += 1 }
      if at == count { return words }
      if limit >= 0, words.count == limit {
        words.append(slice(at..<count))
        return words
      }
      let start = at
      while at < count, !Self.isSpace(units[at]) { at += 1 }
      words.append(slice(start..<at))
    }
  }

  /// Words from the right end.
  func lastWords(limit: Int) -> [JinjaText] {
    var words: [JinjaText] = []
    var end = count
    while true {
      while end > 0, Self.isSpace(units[end - 1]) { end -= 1 }
      if end == 0 { break }
      if limit >= 0, words.count == limit {
        words.append(slice(0..<end))
        break
      }
      var start = end
      while start > 0, !Self.isSpace(units[start - 1]) { start -= 1 }
      words.append(slice(start..<end))
      end = start
    }
    return words.reversed()
  }

  /// The lines, with or without their ends.
  func lines(keepingEnds: Bool = false) -> [JinjaText] {
    var lines: [JinjaText] = []
    var start = 0
    var at = 0
    while at < count {
      guard Self.isLineBreak(units[at]) else {
        at += 1
        continue
      }
      let end = at
      let isPair = units[at] & Self.scalarMask == 0x0D && at + 1 < count && units[at + 1] & Self.scalarMask == 0x0A
      at += isPair ? 2 : 1
      lines.append(slice(start..<(keepingEnds ? at : end)))
      start = at
    }
    if start < count { lines.append(slice(start..<count)) }
    return lines
  }
}

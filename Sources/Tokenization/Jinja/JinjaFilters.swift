/// The filters: those of Jinja, with the `tojson` of chat templates.
enum JinjaFilter: String, CaseIterable {
  case abs, attr, batch, capitalize, center, count, d, `default`, dictsort, e, escape, filesizeformat, first, float
  case forceescape, format, groupby, indent, int, items, join, last, length, list, lower, map, max, min, pprint
  case random, reject, rejectattr, replace, reverse, round, safe, select, selectattr, slice, sort, string, striptags
  case sum, title, tojson, trim, truncate, unique, upper, urlencode, urlize, wordcount, wordwrap, xmlattr
}

extension JinjaInterpreter {
  func apply(
    _ name: String, to value: JinjaValue, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    guard let filter = JinjaFilter(rawValue: name) else { throw error("there is no filter \(name)") }
    switch filter {
    case .capitalize, .lower, .title, .trim, .upper, .center, .indent, .truncate, .wordwrap, .wordcount, .replace,
      .format, .string, .safe, .e, .escape, .forceescape, .striptags, .urlencode, .urlize, .xmlattr, .filesizeformat,
      .pprint:
      return try applyText(filter, to: value, arguments)
    case .tojson: return try json(value, arguments)
    case .abs, .int, .float, .round: return try applyNumber(filter, to: value, arguments)
    case .default, .d:
      let values = try bind(arguments, ["default_value", "boolean"], of: name)
      let isTaken = value.isUndefined || (values[1]?.isTrue ?? false) && !value.isTrue
      return isTaken ? values[0] ?? .text("") : value
    case .attr:
      let name = try string(required(bind(arguments, ["name"], of: "attr"), 0, "name"))
      if let fault = undefinedError(value) { throw fault }
      if case .dictionary(let dictionary) = value, dictionary[name] != nil,
        !JinjaMethods.dictionary.contains(name.string)
      {
        return .undefined(JinjaUndefined("'\(name.string)' of \(value.noun) is undefined"))
      }
      return try attribute(name, of: value)
    default: return try applySequence(filter, to: value, arguments)
    }
  }

  // MARK: - Texts

  private func applyText(
    _ filter: JinjaFilter, to value: JinjaValue, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    let name = filter.rawValue
    switch filter {
    case .capitalize, .lower, .upper: return try callText(name, string(value), arguments)
    case .center:
      let width = try bind(arguments, ["width"], of: name)[0] ?? .integer(80)
      return try callText(name, string(value), JinjaGivenArguments(positional: [width]))
    case .trim:
      let characters = try bind(arguments, ["chars"], of: name)[0]
      let text = try string(value)
      try spend(characters: text.count)
      return .text(text.stripped(.both, of: try chars(characters)))
    case .string, .pprint:
      _ = try bind(arguments, filter == .pprint ? ["verbose"] : [], of: name)
      return try text(filter == .string ? string(value) : representation(of: value))
    case .safe:
      _ = try bind(arguments, [], of: name)
      return .text(JinjaText(units: try string(value).units, isSafe: true))
    case .e, .escape:
      _ = try bind(arguments, [], of: name)
      return try text(escaped(value))
    case .forceescape: return try text(string(value).escaped)
    case .replace:
      let values = try bind(arguments, ["old", "new", "count"], of: name)
      let old = try string(required(values, 0, "old"))
      let new = try string(required(values, 1, "new"))
      var limit: Int?
      if let count = values[2] { if case .none = count {} else { limit = try integer(count, name) } }
      return try replaced(JinjaText(units: string(value).units), old, new, limit: limit)
    case .format:
      if !arguments.named.isEmpty {
        if !arguments.positional.isEmpty { throw error("format has both kinds of arguments; expected one") }
        return try formatted(string(value), makeDictionary(arguments))
      }
      return try formatted(string(value), tuple(arguments.positional))
    case .title:
      let text = try string(value)
      try spend(text.count)
      return try self.text(titled(text))
    case .indent: return try indented(value, arguments)
    case .truncate: return try truncated(value, arguments)
    case .wordwrap: return try wrapped(value, arguments)
    case .wordcount:
      let units = try string(value).units
      try spend(2 * units.count)
      return .integer(
        units.indices.count { JinjaText.isWord(units[$0]) && ($0 == 0 || !JinjaText.isWord(units[$0 - 1])) })
    case .filesizeformat: return try fileSize(value, arguments)
    case .striptags:
      let text = try string(value)
      try spend(2 * text.count)
      return .text(text.withoutTags)
    case .urlencode: return try urlEncoded(value)
    case .urlize: throw error("the filter urlize makes links for web pages; expected a filter for chats")
    default: return try xmlAttributes(value, arguments)
    }
  }

  /// A capital at the beginning of each word; words begin after white space and opening brackets.
  private func titled(_ text: JinjaText) -> JinjaText {
    let openings = Set("-({[<".unicodeScalars.map(\.value))
    func separates(_ unit: JinjaText.Unit) -> Bool {
      openings.contains(unit & JinjaText.scalarMask) || JinjaText.isSpace(unit)
    }
    var units: [JinjaText.Unit] = []
    var at = 0
    while at < text.count {
      var end = at + 1
      let isSeparator = separates(text.units[at])
      while end < text.count, separates(text.units[end]) == isSeparator { end += 1 }
      if isSeparator {
        units += text.units[at..<end]
      } else {
        units += text.slice(at..<at + 1).converted(to: .upper).units
        units += text.slice(at + 1..<end).converted(to: .lower).units
      }
      at = end
    }
    return JinjaText(units: units, isSafe: text.isSafe)
  }

  private func indented(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["width", "first", "blank"], of: "indent")
    guard case .text(let text) = value else {
      throw undefinedError(value) ?? error("the value of indent is \(value.noun); expected a string")
    }
    var indentation: JinjaText
    if case .text(let width)? = values[0] {
      indentation = width
    } else {
      let width = try values[0].map { (value) throws(JinjaError) in try integer(value, "indent") } ?? 4
      try spend(characters: max(0, width))
      indentation = JinjaText(units: [JinjaText.Unit](repeating: 0x20, count: max(0, width)))
    }
    let isBlankIndented = values[2]?.isTrue ?? false
    // A line end at the end makes a last, empty line.
    let lines = JinjaText(units: text.units + [0x0A]).lines()
    try spend(characters: text.count + lines.count * (indentation.count + 1))
    var units: [JinjaText.Unit] = values[1]?.isTrue ?? false ? indentation.units : []
    for (index, line) in lines.enumerated() {
      if index > 0 {
        units.append(0x0A)
        if isBlankIndented || !line.isEmpty { units += indentation.units }
      }
      units += line.units
    }
    return .text(JinjaText(units: units, isSafe: text.isSafe))
  }

  private func truncated(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["length", "killwords", "end", "leeway"], of: "truncate")
    let length = try values[0].map { (value) throws(JinjaError) in try integer(value, "truncate") } ?? 255
    let end =
      try values[2].map { (value) throws(JinjaError) in try textArgument(value, "truncate") } ?? JinjaText("...")
    var leeway = 5
    if let value = values[3] { if case .none = value {} else { leeway = try integer(value, "truncate") } }
    guard length >= end.count, leeway >= 0 else {
      throw error("the length of truncate is \(length); expected at least \(end.count)")
    }
    if let count = knownCount(of: value), count - leeway <= length { return value }
    guard case .text(let text) = value else {
      throw error("the value of truncate is \(value.noun); expected a string")
    }
    var kept = text.slice(0..<length - end.count)
    if !(values[1]?.isTrue ?? false), let space = kept.units.lastIndex(where: { $0 & JinjaText.scalarMask == 0x20 }) {
      kept = kept.slice(0..<space)
    }
    return try self.text(kept.units + end.units, isSafe: text.isSafe)
  }

  private func wrapped(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"]
    let values = try bind(arguments, names, of: "wordwrap")
    guard case .text(let text) = value else {
      throw undefinedError(value) ?? error("the value of wordwrap is \(value.noun); expected a string")
    }
    let width = try values[0].map { (value) throws(JinjaError) in try integer(value, "wordwrap") } ?? 79
    if width < 1 { throw error("the width of wordwrap is \(width); expected at least 1") }
    var separator = JinjaText("\n")
    if let value = values[2] { if case .none = value {} else { separator = try textArgument(value, "wordwrap") } }
    try spend(4 * text.count)
    let breaks = (values[1]?.isTrue ?? true, values[3]?.isTrue ?? true)
    let paragraphs = text.lines().map { line in
      line.wrapped(width: width, breakingWords: breaks.0, breakingAtHyphens: breaks.1)
    }
    try spend(characters: text.count)
    let joinedParagraphs = try paragraphs.map { (lines) throws(JinjaError) in
      try joined(lines.map { .text($0) }, with: separator, convertingAll: true)
    }
    return try joined(joinedParagraphs, with: separator, convertingAll: true)
  }

  private func fileSize(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let isBinary = try bind(arguments, ["binary"], of: "filesizeformat")[0]?.isTrue ?? false
    guard let bytes = try JinjaNumbers.float(value, self) else {
      throw error("the value of filesizeformat is \(value.noun); expected a number")
    }
    let base: Double = isBinary ? 1024 : 1000
    if bytes == 1 { return .text("1 Byte") }
    if bytes < base { return .text("\(Int(clamping: Int128(exactly: bytes.rounded(.towardZero)) ?? 0)) Bytes") }
    let prefixes =
      isBinary
      ? ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"] : ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]
    var unit = base
    for (index, prefix) in prefixes.enumerated() {
      unit *= base
      if bytes < unit || index == prefixes.count - 1 {
        return .text(JinjaNumbers.fixed(base * bytes / unit, digits: 1) + " " + prefix)
      }
    }
    return .none
  }

  private func urlEncoded(_ value: JinjaValue) throws(JinjaError) -> JinjaValue {
    func encoded(_ value: JinjaValue, inQuery: Bool) throws(JinjaError) -> JinjaText {
      let text = try string(value)
      try spend(characters: text.count)
      var units: [JinjaText.Unit] = []
      for unit in text.units {
        let origin = unit & JinjaText.originMask
        for byte in UTF8.encode(JinjaText.scalar(unit))! {
          switch byte {
          case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-"),
            UInt8(ascii: "~"):
            units.append(UInt32(byte) | origin)
          case UInt8(ascii: "/") where !inQuery: units.append(UInt32(byte) | origin)
          case UInt8(ascii: " ") where inQuery: units.append(0x2B | origin)
          default:
            let digits = String(byte, radix: 16, uppercase: true)
            units += JinjaText("%" + (byte < 16 ? "0" : "") + digits, mark: origin).units
          }
        }
      }
      return JinjaText(units: units)
    }
    switch value {
    case .text, .none, .bool, .integer, .float: return try text(encoded(value, inQuery: false))
    default: break
    }
    var pairs: [JinjaValue] = []
    var entries = try items(of: value)
    if case .dictionary(let dictionary) = value {
      entries = dictionary.entries.map { .tuple(JinjaList([$0.key, $0.value])) }
    }
    for entry in entries {
      let pair = try items(of: entry)
      guard pair.count == 2 else { throw error("an item of urlencode has \(pair.count) values; expected 2") }
      let key = try encoded(pair[0], inQuery: true)
      pairs.append(.text(JinjaText(units: key.units + [0x3D] + (try encoded(pair[1], inQuery: true)).units)))
    }
    return try joined(pairs, with: JinjaText("&"), convertingAll: true)
  }

  private func xmlAttributes(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let hasSpace = try bind(arguments, ["autospace"], of: "xmlattr")[0]?.isTrue ?? true
    guard case .dictionary(let dictionary) = value else {
      throw undefinedError(value) ?? error("the value of xmlattr is \(value.noun); expected a dictionary")
    }
    var units: [JinjaText.Unit] = []
    for (key, value) in dictionary.entries {
      if case .none = value { continue }
      if value.isUndefined { continue }
      let name = try textArgument(key, "xmlattr")
      let isInvalid = name.scalars.contains { [0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x20, 0x2F, 0x3D, 0x3E].contains($0) }
      if isInvalid { throw error("the attribute \(quotedUnits(name.units)) has a character that XML does not allow") }
      if !units.isEmpty || hasSpace { units.append(0x20) }
      units += name.escaped.units + JinjaText("=\"").units + (try escaped(value)).units + [0x22]
      try spend(characters: units.count)
    }
    return .text(JinjaText(units: units, isSafe: escapes))
  }

  // MARK: - Numbers

  private func applyNumber(
    _ filter: JinjaFilter, to value: JinjaValue, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    if let fault = undefinedError(value) { throw fault }
    switch filter {
    case .abs:
      _ = try bind(arguments, [], of: "abs")
      if let integer = value.index { return integer < 0 ? try negated(value) : .integer(integer) }
      guard case .float(let number) = value else { throw error("the value of abs is \(value.noun); expected a number") }
      return .float(Swift.abs(number))
    case .int:
      let values = try bind(arguments, ["default", "base"], of: "int")
      let base = try values[1].map { (value) throws(JinjaError) in try integer(value, "int") } ?? 10
      if case .text(let text) = value { try spend(2 * text.count) }
      if case .text(let text) = value, let number = JinjaNumbers.integer(text.string, base: base) {
        return .integer(number)
      }
      if let integer = value.index { return .integer(integer) }
      let number = try JinjaNumbers.float(value, self)
      if let number, let integer = Int128(exactly: number.rounded(.towardZero)) { return .integer(integer) }
      return values[0] ?? .integer(0)
    case .float:
      let values = try bind(arguments, ["default"], of: "float")
      return try JinjaNumbers.float(value, self).map { .float($0) } ?? values[0] ?? .float(0)
    default: return try rounded(value, arguments)
    }
  }

  private func rounded(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["precision", "method"], of: "round")
    let precision = try values[0].map { (value) throws(JinjaError) in try integer(value, "round") } ?? 0
    let method = try values[1].map { (value) throws(JinjaError) in try textArgument(value, "round").string } ?? "common"
    guard ["common", "ceil", "floor"].contains(method) else {
      throw error("the method of round is \(method.prefix(40)); expected common, ceil or floor")
    }
    guard let number = value.number else { throw error("the value of round is \(value.noun); expected a number") }
    if method == "common" {
      if let integer = value.index { return .integer(JinjaNumbers.rounded(integer, digits: precision)) }
      return .float(JinjaNumbers.rounded(number, digits: precision))
    }
    let factor = JinjaNumbers.power(10, Double(precision))
    let scaled = number * factor
    guard scaled.isFinite else { throw error("a number of round is too large") }
    return .float(scaled.rounded(method == "ceil" ? .up : .down) / factor)
  }
}

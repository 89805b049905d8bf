import BitNetJSON

extension JinjaInterpreter {
  /// How `tojson` writes.
  private struct Style {
    var isASCII = false
    var indentation: JinjaText?
    var itemSeparator = JinjaText(", ")
    var keySeparator = JinjaText(": ")
    var sortsKeys = false
  }

  /// The filter `tojson`, which is Python's `json.dumps` in chat templates: nothing is escaped for HTML.
  func json(_ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["ensure_ascii", "indent", "separators", "sort_keys"], of: "tojson")
    var style = Style()
    style.isASCII = values[0]?.isTrue ?? false
    style.sortsKeys = values[3]?.isTrue ?? false
    switch values[1] {
    case nil, .some(.none): break
    case .text(let text)?: style.indentation = text
    case let count?:
      let count = try integer(count, "tojson")
      try spend(characters: max(0, count))
      style.indentation = JinjaText(units: [JinjaText.Unit](repeating: 0x20, count: max(0, count)))
    }
    if style.indentation != nil { style.itemSeparator = JinjaText(",") }
    switch values[2] {
    case nil, .some(.none): break
    case let separators?:
      let items = try items(of: separators)
      guard items.count == 2 else { throw error("separators of tojson has \(items.count) values; expected 2") }
      style.itemSeparator = try textArgument(items[0], "tojson")
      style.keySeparator = try textArgument(items[1], "tojson")
    }
    var units: [JinjaText.Unit] = []
    try append(value, style, level: 0, to: &units)
    return .text(JinjaText(units: units))
  }

  private func append(
    _ value: JinjaValue, _ style: Style, level: Int, to units: inout [JinjaText.Unit]
  ) throws(JinjaError) {
    let start = units.count
    switch value {
    case .none: units += JinjaText("null").units
    case .bool(let value): units += JinjaText(value ? "true" : "false").units
    case .integer(let value): units += JinjaText("\(value)").units
    case .float(let value):
      let text =
        value.isNaN ? "NaN" : value.isInfinite ? (value < 0 ? "-Infinity" : "Infinity") : JinjaNumbers.written(value)
      units += JinjaText(text).units
    case .text(let text): Self.appendString(text, isASCII: style.isASCII, to: &units)
    case .list(let list), .tuple(let list):
      try appendItems(list.items.count, "[", "]", style, level: level, to: &units) {
        (index, units) throws(JinjaError) in
        try append(list.items[index], style, level: level + 1, to: &units)
      }
    case .dictionary(let dictionary):
      var entries = dictionary.entries
      if style.sortsKeys {
        guard case .list(let keys) = try applySequence(.sort, to: .dictionary(dictionary), caseSensitive) else {
          return
        }
        entries = try keys.items.map { (key) throws(JinjaError) in (key, dictionary[try self.key(key)] ?? .none) }
      }
      try appendItems(entries.count, "{", "}", style, level: level, to: &units) { (index, units) throws(JinjaError) in
        Self.appendString(try keyText(entries[index].key), isASCII: style.isASCII, to: &units)
        units += style.keySeparator.units
        try append(entries[index].value, style, level: level + 1, to: &units)
      }
    default:
      throw error("the value of tojson has \(value.noun) in it; expected strings, numbers, lists and dictionaries")
    }
    try spend(characters: units.count > largestText ? units.count : units.count - start)
  }

  private var caseSensitive: JinjaGivenArguments { JinjaGivenArguments(named: [("case_sensitive", .bool(true))]) }

  private func appendItems(
    _ count: Int, _ open: String, _ close: String, _ style: Style, level: Int, to units: inout [JinjaText.Unit],
    _ body: (Int, inout [JinjaText.Unit]) throws(JinjaError) -> Void
  ) throws(JinjaError) {
    func breakLine(_ level: Int, _ units: inout [JinjaText.Unit]) throws(JinjaError) {
      guard let indentation = style.indentation else { return }
      try spend(characters: indentation.count * level)
      units.append(0x0A)
      for _ in 0..<level { units += indentation.units }
    }
    units += JinjaText(open).units
    for index in 0..<count {
      if index > 0 { units += style.itemSeparator.units }
      try breakLine(level + 1, &units)
      try body(index, &units)
      if units.count > largestText { try spend(characters: units.count) }
    }
    if count > 0 { try breakLine(level, &units) }
    units += JinjaText(close).units
  }

  /// A key as JSON has it: numbers and words become strings.
  private func keyText(_ key: JinjaValue) throws(JinjaError) -> JinjaText {
    switch key {
    case .text(let text): return text
    case .none: return JinjaText("null")
    case .bool(let value): return JinjaText(value ? "true" : "false")
    case .integer, .float: return try string(key)
    default: throw error("a key of tojson is \(key.noun); expected a string or number")
    }
  }

  private static func appendString(_ text: JinjaText, isASCII: Bool, to units: inout [JinjaText.Unit]) {
    units.append(0x22)
    for unit in text.units {
      let value = unit & JinjaText.scalarMask
      let origin = unit & JinjaText.originMask
      func escape(_ string: String) { units += string.unicodeScalars.map { $0.value | origin } }
      func escapeCode(_ code: UInt32) {
        let digits = String(code, radix: 16)
        escape("\\u" + String(repeating: "0", count: 4 - digits.count) + digits)
      }
      switch value {
      case 0x22: escape("\\\"")
      case 0x5C: escape("\\\\")
      case 0x0A: escape("\\n")
      case 0x0D: escape("\\r")
      case 0x09: escape("\\t")
      case 0x08: escape("\\b")
      case 0x0C: escape("\\f")
      case 0..<0x20: escapeCode(value)
      case 0x7F..<0x10000 where isASCII: escapeCode(value)
      case 0x10000... where isASCII:
        escapeCode(0xD800 + (value - 0x10000) >> 10)
        escapeCode(0xDC00 + (value - 0x10000) & 0x3FF)
      default: units.append(unit)
      }
    }
    units.append(0x22)
  }
}

extension JinjaSize {
  /// The value of a JSON text, with every string marked, and counted here.
  ///
  /// - Parameter mark: the origin of the strings: 0 for the template itself.
  /// - Throws: `JSONError` for an integer beyond 128 bits, or for more values or characters than a chat has.
  mutating func value(_ json: JSONValue, mark: JinjaText.Unit = JinjaText.content) throws(JSONError) -> JinjaValue {
    values += 1
    if let excess { throw json.error(found: "one of too many: \(excess.found)", expected: excess.expected) }
    switch json.kind {
    case nil, .null: return .none
    case .bool: return .bool(try json.bool())
    case .string:
      let text = JinjaText(try json.string(), mark: mark)
      characters += text.count
      return .text(text)
    case .number:
      let written = json.written
      if let integer = Int128(written) { return .integer(integer) }
      if written.utf8.allSatisfy({ 0x30...0x39 ~= $0 || $0 == 0x2D }) {
        throw json.error(expected: "an integer below 2^127")
      }
      return .float(try json.number())
    case .array:
      var items: [JinjaValue] = []
      for element in try json.elements() { items.append(try value(element, mark: mark)) }
      return .list(JinjaList(items))
    case .object:
      let dictionary = JinjaDictionary()
      for (name, member) in try json.members() {
        let key = JinjaText(try name.string(), mark: mark)
        characters += key.count
        dictionary.set(.text(key.scalars), try value(member, mark: mark), as: .text(key))
      }
      return .dictionary(dictionary)
    }
  }

  /// The value of a tree, with every string marked, and counted here.
  ///
  /// - Throws: `JinjaError` for more values or characters than a chat has.
  mutating func value(_ tree: JSONTree, mark: JinjaText.Unit = JinjaText.content) throws(JinjaError) -> JinjaValue {
    values += 1
    if let excess {
      throw JinjaError(.limit, line: 1, "it is given \(excess.found); expected \(excess.expected)")
    }
    switch tree {
    case .null: return .none
    case .bool(let value): return .bool(value)
    case .integer(let value): return .integer(Int128(value))
    case .unsigned(let value): return .integer(Int128(value))
    case .number(let value): return .float(value)
    case .string(let string):
      let text = JinjaText(string, mark: mark)
      characters += text.count
      return .text(text)
    case .array(let elements):
      var items: [JinjaValue] = []
      items.reserveCapacity(elements.count)
      for element in elements { items.append(try value(element, mark: mark)) }
      return .list(JinjaList(items))
    case .object(let members):
      let dictionary = JinjaDictionary()
      for member in members {
        let key = JinjaText(member.name, mark: mark)
        characters += key.count
        dictionary.set(.text(key.scalars), try value(member.value, mark: mark), as: .text(key))
      }
      return .dictionary(dictionary)
    }
  }
}

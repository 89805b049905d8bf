import BitNetJSON

extension JinjaInterpreter {
  /// Python's `str()`: what output shows.
  func string(_ value: JinjaValue) throws(JinjaError) -> JinjaText {
    switch value {
    case .text(let text): return text
    case .undefined: return JinjaText()
    default: return try representation(of: value)
    }
  }

  /// Python's `repr()`: texts in quotation marks, containers with their items.
  func representation(of value: JinjaValue) throws(JinjaError) -> JinjaText {
    var units: [JinjaText.Unit] = []
    try appendRepresentation(of: value, to: &units, depth: 0)
    return JinjaText(units: units)
  }

  private func appendRepresentation(
    of value: JinjaValue, to units: inout [JinjaText.Unit], depth: Int
  ) throws(JinjaError) {
    let start = units.count
    func add(_ string: String) { units += string.unicodeScalars.map(\.value) }
    func addItems(_ items: [JinjaValue], _ open: String, _ close: String) throws(JinjaError) {
      if depth > 2 * limits.nesting {
        throw JinjaError(.limit, line: line, "a value contains itself; expected one that can be written")
      }
      add(open)
      for (index, item) in items.enumerated() {
        if index > 0 { add(", ") }
        try appendRepresentation(of: item, to: &units, depth: depth + 1)
      }
      add(close)
    }
    func addDictionary(_ entries: [(key: JinjaValue, value: JinjaValue)]) throws(JinjaError) {
      if depth > 2 * limits.nesting {
        throw JinjaError(.limit, line: line, "a value contains itself; expected one that can be written")
      }
      add("{")
      for (index, entry) in entries.enumerated() {
        if index > 0 { add(", ") }
        try appendRepresentation(of: entry.key, to: &units, depth: depth + 1)
        add(": ")
        try appendRepresentation(of: entry.value, to: &units, depth: depth + 1)
      }
      add("}")
    }
    switch value {
    case .undefined: add("Undefined")
    case .none: add("None")
    case .bool(let value): add(value ? "True" : "False")
    case .integer(let value): add("\(value)")
    case .float(let value): add(JinjaNumbers.written(value))
    case .text(let text):
      if text.isSafe { add("Markup(") }
      Self.appendQuoted(text, to: &units)
      if text.isSafe { add(")") }
    case .list(let list): try addItems(list.items, "[", "]")
    case .tuple(let list): try addItems(list.items, "(", list.items.count == 1 ? ",)" : ")")
    case .dictionary(let dictionary): try addDictionary(dictionary.entries)
    case .view(let view): try addItems(view.items, "\(view.kind.rawValue)([", "])")
    case .range(let range): add("range(\(range.start), \(range.stop)" + (range.step == 1 ? ")" : ", \(range.step))"))
    case .namespace(let namespace):
      add("<Namespace ")
      // A name may come from a dictionary, and so from a message.
      try addDictionary(
        namespace.names.map { name in
          (.text(JinjaText(name, mark: JinjaText.content)), namespace.values[name] ?? JinjaValue.none)
        })
      add(">")
    case .loop(let loop):
      add("<LoopContext \(loop.index + 1)/")
      add(try string(loop.attribute("length", self) ?? .none).string + ">")
    case .macro(let macro): add("<Macro " + (macro.definition.name.map { "'\($0)'" } ?? "anonymous") + ">")
    case .iterator: add("<generator object>")
    case .function(let function): add("<function \(function.rawValue)>")
    case .method(let method): add("<method \(method.name) of \(method.receiver.typeName)>")
    case .cycler: add("<Cycler>")
    case .joiner: add("<Joiner>")
    }
    try spend(characters: units.count > largestText ? units.count : units.count - start)
  }

  private static func appendQuoted(_ text: JinjaText, to units: inout [JinjaText.Unit]) {
    let hasSingle = text.scalars.contains(0x27)
    let quote: JinjaText.Unit = hasSingle && !text.scalars.contains(0x22) ? 0x22 : 0x27
    units.append(quote)
    for unit in text.units {
      let value = unit & JinjaText.scalarMask
      let origin = unit & JinjaText.originMask
      func escape(_ string: String) { units += string.unicodeScalars.map { $0.value | origin } }
      func hexadecimal(_ width: Int) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: width - digits.count) + digits
      }
      switch value {
      case 0x5C: escape("\\\\")
      case quote: escape("\\" + String(JinjaText.scalar(unit)))
      case 0x0A: escape("\\n")
      case 0x0D: escape("\\r")
      case 0x09: escape("\\t")
      default:
        if JinjaText.isPrintable(unit) {
          units.append(unit)
        } else {
          escape(
            value < 0x100 ? "\\x" + hexadecimal(2) : value < 0x10000 ? "\\u" + hexadecimal(4) : "\\U" + hexadecimal(8))
        }
      }
    }
    units.append(quote)
  }

  /// The value as text in which HTML's characters are escaped, unless it is safe already.
  func escaped(_ value: JinjaValue) throws(JinjaError) -> JinjaText {
    let text = try string(value)
    return text.isSafe ? text : text.escaped
  }
}

/// Units for an error message: in quotation marks, cut to 40 characters.
func quotedUnits(_ units: some Sequence<UInt32>) -> String {
  quoted(JinjaText.string(Array(units.prefix(40))[...]))
}

// MARK: - HTML and lines

extension JinjaText {
  /// The text with HTML's special characters as entities.
  var escaped: JinjaText {
    var result: [Unit] = []
    result.reserveCapacity(units.count)
    for unit in units {
      let entity: String
      switch unit & Self.scalarMask {
      case 0x26: entity = "&amp;"
      case 0x3C: entity = "&lt;"
      case 0x3E: entity = "&gt;"
      case 0x27: entity = "&#39;"
      case 0x22: entity = "&#34;"
      default:
        result.append(unit)
        continue
      }
      result += entity.unicodeScalars.map { $0.value | unit & Self.originMask }
    }
    return JinjaText(units: result, isSafe: true)
  }

  /// The text without HTML's comments and tags, with single spaces and with entities resolved.
  var withoutTags: JinjaText {
    func removing(from open: String, to close: String, _ text: JinjaText) -> JinjaText {
      var kept: [Unit] = []
      var at = 0
      var isClosed = true
      func matches(_ string: String, at index: Int) -> Bool {
        index + string.utf8.count <= text.count
          && zip(text.units[index...], string.utf8).allSatisfy { $0 & Self.scalarMask == UInt32($1) }
      }
      while at < text.count {
        if isClosed, matches(open, at: at) {
          var end = at + 1
          while end < text.count, !matches(close, at: end) { end += 1 }
          if end < text.count {
            at = end + close.utf8.count
            continue
          }
          isClosed = false
        }
        kept.append(text.units[at])
        at += 1
      }
      return JinjaText(units: kept)
    }
    let plain = removing(from: "<", to: ">", removing(from: "<!--", to: "-->", self))
    var words: [Unit] = []
    for word in plain.words() { words += (words.isEmpty ? [] : [0x20]) + word.units }
    return JinjaText(units: words).unescaped
  }

  /// The text with HTML's entities resolved: the named ones of HTML 2, and numbers.
  private var unescaped: JinjaText {
    let names: [String: UInt32] = ["amp": 0x26, "lt": 0x3C, "gt": 0x3E, "quot": 0x22, "apos": 0x27, "nbsp": 0xA0]
    var result: [Unit] = []
    var at = 0
    while at < units.count {
      let unit = units[at]
      if unit & Self.scalarMask == 0x26,
        let end = units[at...].prefix(12).firstIndex(where: { $0 & Self.scalarMask == 0x3B })
      {
        let name = Self.string(units[at + 1..<end])
        var value = names[name]
        if name.hasPrefix("#x") || name.hasPrefix("#X") { value = UInt32(name.dropFirst(2), radix: 16) }
        if name.hasPrefix("#"), value == nil { value = UInt32(name.dropFirst()) }
        if let value, value > 0, Unicode.Scalar(value) != nil {
          result.append(value | unit & Self.originMask)
          at = end + 1
          continue
        }
      }
      result.append(unit)
      at += 1
    }
    return JinjaText(units: result)
  }

  /// The lines into which a text is broken at white space, and where a word is longer than a line inside it.
  func wrapped(width: Int, breakingWords: Bool, breakingAtHyphens: Bool) -> [JinjaText] {
    var chunks = chunks(breakingAtHyphens: breakingAtHyphens)[...]
    var lines: [JinjaText] = []
    while !chunks.isEmpty {
      var line: [ArraySlice<Unit>] = []
      var length = 0
      if !lines.isEmpty, let first = chunks.first, first.allSatisfy(Self.isSpace) { chunks.removeFirst() }
      while let next = chunks.first, length + next.count <= width {
        line.append(next)
        length += next.count
        chunks.removeFirst()
      }
      if let next = chunks.first, next.count > width {
        let room = max(1, width - length)
        if breakingWords {
          line.append(next.prefix(room))
          chunks[chunks.startIndex] = next.dropFirst(room)
        } else if line.isEmpty {
          line.append(next)
          chunks.removeFirst()
        }
      }
      if let last = line.last, last.allSatisfy(Self.isSpace) { line.removeLast() }
      if !line.isEmpty { lines.append(JinjaText(units: line.flatMap { Array($0) }, isSafe: isSafe)) }
    }
    return lines
  }

  /// Runs of white space, and words, which end after a hyphen between letters.
  private func chunks(breakingAtHyphens: Bool) -> [ArraySlice<Unit>] {
    var chunks: [ArraySlice<Unit>] = []
    var start = 0
    for at in units.indices {
      guard at > start else { continue }
      let isBoundary = Self.isSpace(units[at]) != Self.isSpace(units[at - 1])
      let isAfterHyphen =
        breakingAtHyphens && units[at - 1] & Self.scalarMask == 0x2D && at - 2 >= start
        && Self.isAlphabetic(units[at - 2]) && Self.isAlphabetic(units[at])
      if isBoundary || isAfterHyphen {
        chunks.append(units[start..<at])
        start = at
      }
    }
    if start < units.count { chunks.append(units[start...]) }
    return chunks
  }
}

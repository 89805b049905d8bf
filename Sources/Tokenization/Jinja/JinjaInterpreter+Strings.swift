extension JinjaInterpreter {
  /// A method of a string.
  func callText(
    _ name: String, _ text: JinjaText, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    try spend(characters: text.count)
    if !arguments.named.isEmpty, !["split", "rsplit", "splitlines", "expandtabs", "format"].contains(name) {
      throw error("\(name)() has the argument \(arguments.named[0].name); expected values without names")
    }
    switch name {
    case "upper", "lower", "casefold", "capitalize", "title", "swapcase":
      _ = try bind(arguments, [], of: name)
      try spend(text.count)
      return try self.text(cased(name, text))
    case "strip", "lstrip", "rstrip":
      let characters = try bind(arguments, ["chars"], of: name)[0]
      return .text(
        text.stripped(name == "strip" ? .both : name == "lstrip" ? .left : .right, of: try chars(characters)))
    case "split", "rsplit": return try split(text, arguments, fromRight: name == "rsplit")
    case "splitlines":
      let keepingEnds = try bind(arguments, ["keepends"], of: name)[0]?.isTrue ?? false
      return try list(text.lines(keepingEnds: keepingEnds).map { .text($0) })
    case "partition", "rpartition": return try partition(text, arguments, fromRight: name == "rpartition")
    case "startswith", "endswith": return try hasEnd(text, arguments, isStart: name == "startswith")
    case "removeprefix", "removesuffix":
      let part = try textArgument(required(bind(arguments, ["part"], of: name), 0, "part"), name)
      if name == "removeprefix" {
        return .text(text.hasPrefix(part) ? text.slice(part.count..<text.count) : text)
      }
      return .text(
        text.hasPrefix(part, at: text.count - part.count) ? text.slice(0..<text.count - part.count) : text)
    case "replace":
      let values = try bind(arguments, ["old", "new", "count"], of: name)
      let old = try textArgument(required(values, 0, "old"), name)
      let new = try textArgument(required(values, 1, "new"), name)
      return try replaced(
        text, old, new, limit: values[2].map { (value) throws(JinjaError) in try integer(value, name) })
    case "find", "index", "rfind", "rindex", "count": return try search(name, text, arguments)
    case "join":
      let values = try items(of: required(bind(arguments, ["iterable"], of: name), 0, "iterable"))
      return try joined(values, with: text, convertingAll: false)
    case "format": return try braceFormatted(text, arguments)
    case "format_map":
      guard case .dictionary(let dictionary) = try required(bind(arguments, ["mapping"], of: name), 0, "mapping") else {
        throw error("the value of format_map is no dictionary; expected one")
      }
      var named: [(name: String, value: JinjaValue)] = []
      for (key, value) in dictionary.entries { if case .text(let key) = key { named.append((key.string, value)) } }
      return try braceFormatted(text, JinjaGivenArguments(named: named))
    case "center", "ljust", "rjust", "zfill", "expandtabs": return try padded(name, text, arguments)
    default:
      _ = try bind(arguments, [], of: name)
      try spend(text.count)
      return .bool(Self.isOfKind(name, text))
    }
  }

  private func cased(_ name: String, _ text: JinjaText) -> JinjaText {
    switch name {
    case "upper": text.converted(to: .upper)
    case "lower": text.converted(to: .lower)
    case "casefold": text.converted(to: .folded)
    case "capitalize": text.capitalized
    case "title": text.titled
    default: text.caseSwapped
    }
  }

  /// The characters to strip; nil for white space.
  func chars(_ value: JinjaValue?) throws(JinjaError) -> JinjaText? {
    switch value {
    case nil, .some(.none): nil
    case let value?: try textArgument(value, "strip()")
    }
  }

  // MARK: - Parts

  private func split(
    _ text: JinjaText, _ arguments: JinjaGivenArguments, fromRight: Bool
  ) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["sep", "maxsplit"], of: "split")
    let limit = try values[1].map { (value) throws(JinjaError) in try integer(value, "split()") } ?? -1
    guard let separator = try chars(values[0]) else {
      return try list((fromRight ? text.lastWords(limit: limit) : text.words(limit: limit)).map { .text($0) })
    }
    if separator.isEmpty { throw error("the separator of split() is empty; expected a text") }
    var places = try places(of: separator, in: text)
    if fromRight {
      // From the right, other places count where the separator overlaps itself.
      places = try lastPlaces(of: separator, in: text, limit: limit)
    } else if limit >= 0 {
      places = Array(places.prefix(limit))
    }
    var parts: [JinjaValue] = []
    var start = 0
    for place in places {
      parts.append(.text(text.slice(start..<place)))
      start = place + separator.count
    }
    parts.append(.text(text.slice(start..<text.count)))
    return try list(parts)
  }

  /// The places of a text in another one that do not overlap.
  private func places(of part: JinjaText, in text: JinjaText, limit: Int? = nil) throws(JinjaError) -> [Int] {
    var places: [Int] = []
    var at = 0
    while limit.map({ places.count < $0 }) ?? true, let place = try find(part, in: text, from: at) {
      places.append(place)
      at = place + part.count
    }
    return places
  }

  private func lastPlaces(of part: JinjaText, in text: JinjaText, limit: Int) throws(JinjaError) -> [Int] {
    let backwards = JinjaText(units: text.units.reversed())
    let places = try places(
      of: JinjaText(units: part.units.reversed()), in: backwards, limit: limit < 0 ? nil : limit)
    return places.reversed().map { text.count - $0 - part.count }
  }

  private func partition(
    _ text: JinjaText, _ arguments: JinjaGivenArguments, fromRight: Bool
  ) throws(JinjaError) -> JinjaValue {
    let separator = try textArgument(required(bind(arguments, ["sep"], of: "partition"), 0, "sep"), "partition()")
    if separator.isEmpty { throw error("the separator of partition() is empty; expected a text") }
    let place =
      fromRight
      ? try lastPlaces(of: separator, in: text, limit: 1).first : try find(separator, in: text, from: 0)
    let empty = JinjaValue.text(JinjaText())
    guard let place else {
      return try tuple(fromRight ? [empty, empty, .text(text)] : [.text(text), empty, empty])
    }
    let end = place + separator.count
    return try tuple(
      [text.slice(0..<place), text.slice(place..<end), text.slice(end..<text.count)].map { .text($0) })
  }

  private func hasEnd(
    _ text: JinjaText, _ arguments: JinjaGivenArguments, isStart: Bool
  ) throws(JinjaError) -> JinjaValue {
    let name = isStart ? "startswith" : "endswith"
    let values = try bind(arguments, ["text", "start", "end"], of: name)
    var parts = [try required(values, 0, "text")]
    if case .tuple(let list) = parts[0] { parts = list.items }
    let range = try bounds(values[1], values[2], count: text.count, name)
    if range.lowerBound > text.count { return .bool(false) }
    for part in parts {
      let part = try textArgument(part, name)
      let start = isStart ? range.lowerBound : range.upperBound - part.count
      if part.count <= range.count, text.hasPrefix(part, at: start) { return .bool(true) }
    }
    return .bool(false)
  }

  func replaced(
    _ text: JinjaText, _ old: JinjaText, _ new: JinjaText, limit: Int?
  ) throws(JinjaError) -> JinjaValue {
    let limit = limit.flatMap { $0 < 0 ? nil : $0 }
    var units: [JinjaText.Unit] = []
    if old.isEmpty {
      // Before each character and at the end.
      let count = min(limit ?? .max, text.count + 1)
      try spend(characters: text.count + count * new.count)
      for (index, unit) in text.units.enumerated() {
        if index < count { units += new.units }
        units.append(unit)
      }
      if text.count < count { units += new.units }
      return .text(JinjaText(units: units, isSafe: text.isSafe))
    }
    let places = try places(of: old, in: text, limit: limit)
    if places.isEmpty { return .text(text) }
    try spend(characters: max(0, text.count + places.count * (new.count - old.count)))
    var start = 0
    for place in places {
      units += text.units[start..<place]
      units += new.units
      start = place + old.count
    }
    units += text.units[start...]
    return .text(JinjaText(units: units, isSafe: text.isSafe))
  }

  private func search(
    _ name: String, _ text: JinjaText, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    let values = try bind(arguments, ["sub", "start", "end"], of: name)
    let part = try textArgument(required(values, 0, "sub"), name)
    let range = try bounds(values[1], values[2], count: text.count, name)
    let isInside = range.lowerBound <= text.count
    let whole = isInside ? text.slice(range) : JinjaText()
    if name == "count" {
      if part.isEmpty { return .integer(isInside ? whole.count + 1 : 0) }
      return .integer(try places(of: part, in: whole).count)
    }
    var place: Int?
    if isInside {
      place =
        name.hasPrefix("r")
        ? try lastPlaces(of: part, in: whole, limit: 1).first : try find(part, in: whole, from: 0)
    }
    if let place { return .integer(place + range.lowerBound) }
    if name.hasSuffix("index") { throw error("index() does not find its text in the string") }
    return .integer(-1)
  }

  /// The texts with `separator` between them.
  ///
  /// - Parameter convertingAll: whether values of other types become texts.
  func joined(
    _ values: [JinjaValue], with separator: JinjaText, convertingAll: Bool
  ) throws(JinjaError) -> JinjaValue {
    var units: [JinjaText.Unit] = []
    for (index, value) in values.enumerated() {
      if index > 0 { units += separator.units }
      var part = convertingAll ? try string(value) : try textArgument(value, "join()")
      if separator.isSafe && !convertingAll, !part.isSafe { part = part.escaped }
      units += part.units
      try spend(characters: units.count > largestText ? units.count : part.count + separator.count)
    }
    return .text(JinjaText(units: units, isSafe: separator.isSafe && !convertingAll))
  }

  // MARK: - Widths

  private func padded(
    _ name: String, _ text: JinjaText, _ arguments: JinjaGivenArguments
  ) throws(JinjaError) -> JinjaValue {
    if name == "expandtabs" { return try expanded(text, arguments) }
    let values = try bind(arguments, ["width", "fillchar"], of: name)
    let width = try integer(required(values, 0, "width"), name)
    let room = max(0, width - text.count)
    try spend(characters: text.count + room)
    if name == "zfill" {
      let hasSign = text.units.first.map { [0x2B, 0x2D].contains($0 & JinjaText.scalarMask) } ?? false
      let sign = hasSign ? 1 : 0
      let units = text.units.prefix(sign) + [JinjaText.Unit](repeating: 0x30, count: room) + text.units.dropFirst(sign)
      return .text(JinjaText(units: Array(units), isSafe: text.isSafe))
    }
    let fill = try values[1].map { (value) throws(JinjaError) in try textArgument(value, name) } ?? JinjaText(" ")
    guard fill.count == 1 else { throw error("the fill of \(name) has \(fill.count) characters; expected one") }
    let left: Int
    switch name {
    case "ljust": left = 0
    case "rjust": left = room
    // As in Python, an odd space goes left if the width is odd.
    default: left = room / 2 + (room & max(0, width) & 1)
    }
    let units =
      Array(repeatElement(fill.units[0], count: left)) + text.units
      + Array(repeatElement(fill.units[0], count: room - left))
    return .text(JinjaText(units: units, isSafe: text.isSafe))
  }

  private func expanded(_ text: JinjaText, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let size = try bind(arguments, ["tabsize"], of: "expandtabs")[0].map { (value) throws(JinjaError) in
      try integer(value, "expandtabs")
    }
    let width = size ?? 8
    try spend(characters: min(max(0, width), largestText + 1) * text.units.count { $0 & JinjaText.scalarMask == 0x09 })
    var units: [JinjaText.Unit] = []
    var column = 0
    for unit in text.units {
      switch unit & JinjaText.scalarMask {
      case 0x09:
        let count = width > 0 ? min(width - column % width, largestText) : 0
        units += repeatElement(0x20 | unit & JinjaText.originMask, count: count)
        column += count
      case 0x0A, 0x0D:
        units.append(unit)
        column = 0
      default:
        units.append(unit)
        column += 1
      }
    }
    return try self.text(units, isSafe: text.isSafe)
  }

  // MARK: - Questions

  private static func isOfKind(_ name: String, _ text: JinjaText) -> Bool {
    func all(_ test: (JinjaText.Unit) -> Bool) -> Bool { !text.isEmpty && text.units.allSatisfy(test) }
    switch name {
    case "isalnum": return all { JinjaText.isAlphabetic($0) || JinjaText.isNumeric($0) }
    case "isalpha": return all(JinjaText.isAlphabetic)
    case "isascii": return text.units.allSatisfy { $0 & JinjaText.scalarMask < 0x80 }
    case "isdecimal": return all(JinjaText.isDecimal)
    case "isdigit": return all(JinjaText.isDigit)
    case "isnumeric": return all(JinjaText.isNumeric)
    case "isprintable": return text.units.allSatisfy(JinjaText.isPrintable)
    case "isspace": return all(JinjaText.isSpace)
    case "isidentifier":
      return all(JinjaText.isWord) && !JinjaText.isNumeric(text.units[0])
    case "islower": return text.isLowercase
    case "isupper": return text.isUppercase
    default:
      // istitle: capitals only at the beginnings of words.
      var isAfterCased = false
      var hasCased = false
      for unit in text.units {
        let properties = JinjaText.properties(unit)
        if properties.isUppercase || properties.generalCategory == .titlecaseLetter {
          if isAfterCased { return false }
        } else if properties.isLowercase, !isAfterCased {
          return false
        }
        isAfterCased = JinjaText.isCased(unit)
        hasCased = hasCased || isAfterCased
      }
      return hasCased
    }
  }
}

extension JinjaText {
  var isLowercase: Bool { hasOnly(\.isLowercase) }

  var isUppercase: Bool { hasOnly(\.isUppercase) }

  /// Whether the text has letters with a case, all of this one.
  private func hasOnly(_ property: KeyPath<Unicode.Scalar.Properties, Bool>) -> Bool {
    let cased = units.map(Self.properties).filter(\.isCased)
    return !cased.isEmpty && cased.allSatisfy { $0[keyPath: property] }
  }
}

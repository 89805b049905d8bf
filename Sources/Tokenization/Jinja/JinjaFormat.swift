/// How a value is laid out in a format, of `%` or of `str.format`.
private struct FormatSpec {
  var fill = JinjaText(" ")
  /// `<`, `>`, `^` or `=`; nil for the type's own.
  var alignment: Character?
  /// `+`, `-` or a space.
  var sign: Character = "-"
  var isAlternate = false
  var grouping: Character?
  var width = 0
  var precision: Int?
  var type: Character?
}

extension JinjaInterpreter {
  // MARK: - %

  /// `format % values`: a tuple, a dictionary or one value.
  func formatted(_ format: JinjaText, _ values: JinjaValue) throws(JinjaError) -> JinjaValue {
    try spend(characters: format.count)
    var units: [JinjaText.Unit] = []
    var given: [JinjaValue] = [values]
    if case .tuple(let list) = values { given = list.items }
    var used = 0
    func next() throws(JinjaError) -> JinjaValue {
      guard used < given.count else { throw error("a format has more places than the \(given.count) values") }
      used += 1
      return given[used - 1]
    }
    func scalar(_ index: Int) -> Character? {
      index < format.count ? Character(JinjaText.scalar(format.units[index])) : nil
    }
    var at = 0
    while at < format.count {
      guard scalar(at) == "%" else {
        units.append(format.units[at])
        at += 1
        continue
      }
      at += 1
      var spec = FormatSpec()
      var value: JinjaValue?
      if scalar(at) == "(" {
        guard let end = format.units[at...].firstIndex(where: { $0 & JinjaText.scalarMask == 0x29 }) else {
          throw error("a format has a name without ); expected one")
        }
        guard case .dictionary(let dictionary) = values else { throw error("a format with names has no dictionary") }
        let name = format.slice(at + 1..<end)
        guard let found = dictionary[name] else {
          throw error("a format has the unknown name \(quotedUnits(name.units))")
        }
        value = found
        used = given.count
        at = end + 1
      }
      while let flag = scalar(at), "-+ #0".contains(flag) {
        switch flag {
        case "-": spec.alignment = "<"
        case "+": spec.sign = "+"
        case " ": if spec.sign != "+" { spec.sign = " " }
        case "#": spec.isAlternate = true
        default: if spec.alignment == nil { spec.fill = JinjaText("0") }
        }
        at += 1
      }
      func number() throws(JinjaError) -> Int {
        if scalar(at) == "*" {
          at += 1
          return try integer(next(), "a format")
        }
        var number = 0
        while let digit = scalar(at)?.wholeNumberValue, scalar(at)?.isASCII == true {
          number = min(number * 10 + digit, largestText + 1)
          at += 1
        }
        return number
      }
      let width = try number()
      if width < 0 { spec.alignment = "<" }
      spec.width = Int(clamping: width.magnitude)
      if scalar(at) == "." {
        at += 1
        spec.precision = max(0, try number())
      }
      while let length = scalar(at), "hlL".contains(length) { at += 1 }
      guard let type = scalar(at) else { throw error("a format ends after %; expected a letter") }
      at += 1
      if type == "%" {
        units.append(0x25)
        continue
      }
      let item: JinjaValue
      if let value { item = value } else { item = try next() }
      units += try percentFormatted(item, spec, type, isSafe: format.isSafe)
      try spend(characters: units.count > largestText ? units.count : spec.width)
    }
    // As in Python, what can be looked up in may go unused.
    switch values {
    case .dictionary, .list, .range, .undefined: used = max(used, 1)
    default: break
    }
    if used < given.count { throw error("a format has \(used) places; expected one for each of \(given.count) values") }
    return .text(JinjaText(units: units, isSafe: format.isSafe))
  }

  private func percentFormatted(
    _ value: JinjaValue, _ spec: FormatSpec, _ type: Character, isSafe: Bool
  ) throws(JinjaError) -> [JinjaText.Unit] {
    var spec = spec
    switch type {
    case "s", "r", "a":
      var text = try type == "s" ? string(value) : representation(of: value)
      if isSafe { text = text.isSafe ? text : text.escaped }
      if let precision = spec.precision { text = text.slice(0..<min(precision, text.count)) }
      spec.fill = JinjaText(" ")
      return try laidOut(text, spec, alignment: ">")
    case "c":
      if case .text(let text) = value, text.count == 1 { return try laidOut(text, spec, alignment: ">") }
      guard let code = value.index, let scalar = UInt32(exactly: code).flatMap(Unicode.Scalar.init) else {
        throw error("the value of %c is \(value.noun); expected one character")
      }
      return try laidOut(JinjaText(units: [scalar.value]), spec, alignment: ">")
    case "d", "i", "u", "o", "x", "X":
      var integer = value.index
      if integer == nil, case .float(let number) = value, "diu".contains(type) {
        integer = Int128(exactly: number.rounded(.towardZero))
      }
      guard let integer else {
        throw undefinedError(value) ?? error("the value of %\(type) is \(value.noun); expected an integer")
      }
      var digits = String(integer.magnitude, radix: ["o": 8, "x": 16, "X": 16][type] ?? 10, uppercase: type == "X")
      if let precision = spec.precision, precision > digits.utf8.count {
        try spend(characters: precision)
        digits = String(repeating: "0", count: precision - digits.utf8.count) + digits
      }
      let prefix = spec.isAlternate ? ["o": "0o", "x": "0x", "X": "0X"][type] ?? "" : ""
      return try numberLaidOut(isNegative: integer < 0, prefix: prefix, digits: digits, spec)
    case "e", "E", "f", "F", "g", "G":
      guard let number = value.number else {
        throw undefinedError(value) ?? error("the value of %\(type) is \(value.noun); expected a number")
      }
      return try numberLaidOut(
        isNegative: number.sign == .minus, prefix: "", digits: digits(of: number, spec, type), spec)
    default: throw error("a format has %\(type); expected one of s, r, d, i, o, x, e, f, g, c and %")
    }
  }

  /// The digits of a float without its sign.
  private func digits(of number: Double, _ spec: FormatSpec, _ type: Character) throws(JinjaError) -> String {
    if !number.isFinite {
      let text = number.isNaN ? "nan" : "inf"
      return type.isUppercase ? text.uppercased() : text
    }
    let precision = spec.precision ?? 6
    try spend(characters: precision)
    return JinjaNumbers.printed((spec.isAlternate ? "%#.*" : "%.*") + String(type), digits: precision, number.magnitude)
  }

  private func numberLaidOut(
    isNegative: Bool, prefix: String, digits: String, _ spec: FormatSpec
  ) throws(JinjaError) -> [JinjaText.Unit] {
    let sign = isNegative ? "-" : spec.sign == "-" ? "" : String(spec.sign)
    if spec.fill.equals("0") && spec.alignment == nil || spec.alignment == "=" {
      let room = max(0, spec.width - sign.count - prefix.count - digits.count)
      try spend(characters: room)
      let fill = [JinjaText.Unit](repeating: spec.fill.units[0], count: room)
      return JinjaText(sign + prefix).units + fill + JinjaText(digits).units
    }
    return try laidOut(JinjaText(sign + prefix + digits), spec, alignment: ">")
  }

  private func laidOut(
    _ text: JinjaText, _ spec: FormatSpec, alignment: Character
  ) throws(JinjaError) -> [JinjaText.Unit] {
    let room = spec.width - text.count
    guard room > 0 else { return text.units }
    try spend(characters: spec.width)
    let left: Int
    switch spec.alignment ?? alignment {
    case "<": left = 0
    case "^": left = room / 2
    default: left = room
    }
    let fill = spec.fill.units[0]
    return [JinjaText.Unit](repeating: fill, count: left) + text.units
      + [JinjaText.Unit](repeating: fill, count: room - left)
  }

  // MARK: - str.format

  func braceFormatted(_ format: JinjaText, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    var next = 0
    let units = try braceFormatted(format, arguments, &next, depth: 0)
    return .text(JinjaText(units: units, isSafe: format.isSafe))
  }

  private func braceFormatted(
    _ format: JinjaText, _ arguments: JinjaGivenArguments, _ next: inout Int, depth: Int
  ) throws(JinjaError) -> [JinjaText.Unit] {
    if depth > 1, format.scalars.contains(0x7B) {
      throw error("a format nests {} in {} in {}; expected two levels")
    }
    try spend(characters: format.count)
    var units: [JinjaText.Unit] = []
    var at = 0
    func scalar(_ index: Int) -> UInt32 { index < format.count ? format.units[index] & JinjaText.scalarMask : 0 }
    while at < format.count {
      let value = scalar(at)
      if value == 0x7B || value == 0x7D, scalar(at + 1) == value {
        units.append(format.units[at])
        at += 2
      } else if value == 0x7D {
        throw error("a format has a single }; expected two")
      } else if value == 0x7B {
        var end = at + 1
        var open = 1
        while end < format.count {
          if scalar(end) == 0x7B { open += 1 }
          if scalar(end) == 0x7D { open -= 1 }
          if open == 0 { break }
          end += 1
        }
        guard open == 0 else { throw error("a format has { without }; expected both") }
        units += try field(format.slice(at + 1..<end), arguments, &next, depth: depth, isSafe: format.isSafe)
        at = end + 1
      } else {
        units.append(format.units[at])
        at += 1
      }
      if units.count > largestText { try spend(characters: units.count) }
    }
    return units
  }

  /// A field, which is a name, `!` with a conversion, and `:` with a layout.
  private func field(
    _ field: JinjaText, _ arguments: JinjaGivenArguments, _ next: inout Int, depth: Int, isSafe: Bool
  ) throws(JinjaError) -> [JinjaText.Unit] {
    let end = field.scalars.firstIndex { $0 == 0x21 || $0 == 0x3A } ?? field.count
    var value = try fieldValue(field.slice(0..<end).string, arguments, &next)
    var rest = field.slice(end..<field.count)
    if rest.scalars.first == 0x21 {
      switch rest.scalars.dropFirst().first.flatMap(Unicode.Scalar.init) {
      case "s": value = .text(try string(value))
      case "r", "a": value = .text(try representation(of: value))
      default: throw error("a format has an unknown conversion; expected !s or !r")
      }
      rest = rest.slice(2..<rest.count)
      if let first = rest.scalars.first, first != 0x3A { throw error("a format has text after !; expected :") }
    }
    let layout = JinjaText(
      units: try braceFormatted(JinjaText(units: Array(rest.units.dropFirst())), arguments, &next, depth: depth + 1))
    let units = try laidOut(value, layout)
    return isSafe ? JinjaText(units: units).escaped.units : units
  }

  private func fieldValue(
    _ name: String, _ arguments: JinjaGivenArguments, _ next: inout Int
  ) throws(JinjaError) -> JinjaValue {
    let firstEnd = name.firstIndex { $0 == "." || $0 == "[" } ?? name.endIndex
    let first = String(name[..<firstEnd])
    var value: JinjaValue
    if first.isEmpty || first.utf8.allSatisfy({ 0x30...0x39 ~= $0 }) {
      let index = first.isEmpty ? next : Int(first) ?? .max
      if first.isEmpty { next += 1 }
      guard index < arguments.positional.count else { throw error("a format has no value for {\(first.prefix(20))}") }
      value = arguments.positional[index]
    } else {
      try spend(arguments.named.count / 2)
      guard let found = arguments.named.first(where: { $0.name == first }) else {
        throw error("a format has no value for {\(first.prefix(40))}")
      }
      value = found.value
    }
    var rest = name[firstEnd...]
    while let separator = rest.first {
      rest.removeFirst()
      if separator == "." {
        let end = rest.firstIndex { $0 == "." || $0 == "[" } ?? rest.endIndex
        value = try attribute(JinjaText(String(rest[..<end])), of: value)
        rest = rest[end...]
      } else {
        guard let end = rest.firstIndex(of: "]") else { throw error("a format has [ without ]; expected both") }
        let index = String(rest[..<end])
        value = try item(Int(index).map { .integer($0) } ?? .text(index), of: value)
        rest = rest[rest.index(after: end)...]
      }
    }
    return value
  }

  private func laidOut(_ value: JinjaValue, _ layout: JinjaText) throws(JinjaError) -> [JinjaText.Unit] {
    if layout.isEmpty { return try string(value).units }
    let spec = try spec(layout)
    switch value {
    case .text(let text):
      guard spec.type == nil || spec.type == "s", spec.alignment != "=", spec.sign == "-" else {
        throw error("a format has a layout of numbers for a string")
      }
      let kept = text.slice(0..<min(text.count, spec.precision ?? text.count))
      return try laidOut(kept, spec, alignment: "<")
    case .bool where spec.type == nil: return try laidOut(string(value), spec, alignment: "<")
    case .integer(let integer) where spec.type.map { "bcdoxXn".contains($0) } ?? true:
      return try laidOut(integer, spec)
    case .bool(let flag) where spec.type.map { "bcdoxXn".contains($0) } ?? true:
      return try laidOut(flag ? 1 : 0, spec)
    case .integer, .bool, .float: return try laidOutFloat(value.number ?? 0, spec)
    default:
      throw undefinedError(value) ?? error("a format has a layout for \(value.noun); expected a string or number")
    }
  }

  private func laidOut(_ integer: Int128, _ spec: FormatSpec) throws(JinjaError) -> [JinjaText.Unit] {
    if spec.precision != nil { throw error("a format has a precision for an integer; expected none") }
    let type = spec.type ?? "d"
    if type == "c" {
      guard let scalar = UInt32(exactly: integer).flatMap(Unicode.Scalar.init) else {
        throw error("the value of a format's c is \(integer); expected a code point")
      }
      return try laidOut(JinjaText(units: [scalar.value]), spec, alignment: "<")
    }
    let radix = ["b": 2, "o": 8, "x": 16, "X": 16][type] ?? 10
    var digits = String(integer.magnitude, radix: radix, uppercase: type == "X")
    if let grouping = spec.grouping { digits = digits.grouped(by: grouping, every: radix == 10 ? 3 : 4) }
    let prefix = spec.isAlternate && radix != 10 ? "0" + String(type) : ""
    return try numberLaidOut(isNegative: integer < 0, prefix: prefix, digits: digits, spec)
  }

  private func laidOutFloat(_ number: Double, _ spec: FormatSpec) throws(JinjaError) -> [JinjaText.Unit] {
    var text: String
    switch spec.type {
    case nil where spec.precision == nil: text = JinjaNumbers.written(number.magnitude)
    case nil: text = try digits(of: number, spec, "g")
    case "%": text = try digits(of: number * 100, spec, "f") + "%"
    case "n": text = try digits(of: number, spec, "g")
    case let type? where "eEfFgG".contains(type): text = try digits(of: number, spec, type)
    case let type?: throw error("a format has the letter \(type) for a number; expected one of d, e, f, g, x and %")
    }
    if let grouping = spec.grouping {
      let whole = text.prefix { $0.isNumber }
      text = String(whole).grouped(by: grouping, every: 3) + text.dropFirst(whole.count)
    }
    return try numberLaidOut(isNegative: number.sign == .minus, prefix: "", digits: text, spec)
  }

  /// A layout: `[[fill]align][sign][#][0][width][,][.precision][type]`.
  private func spec(_ layout: JinjaText) throws(JinjaError) -> FormatSpec {
    var spec = FormatSpec()
    var rest = layout.units[...]
    func character(_ offset: Int) -> Character? {
      rest.count > offset ? Character(JinjaText.scalar(rest[rest.startIndex + offset])) : nil
    }
    func isAlignment(_ character: Character?) -> Bool { character.map { "<>=^".contains($0) } ?? false }
    if isAlignment(character(1)) {
      spec.fill = JinjaText(units: [rest[rest.startIndex]])
      spec.alignment = character(1)
      rest = rest.dropFirst(2)
    } else if isAlignment(character(0)) {
      spec.alignment = character(0)
      rest = rest.dropFirst()
    }
    if let sign = character(0), "+- ".contains(sign) {
      spec.sign = sign
      rest = rest.dropFirst()
    }
    if character(0) == "#" {
      spec.isAlternate = true
      rest = rest.dropFirst()
    }
    if character(0) == "0" {
      spec.fill = JinjaText("0")
      if spec.alignment == nil { spec.alignment = "=" }
      rest = rest.dropFirst()
    }
    func number() -> Int? {
      var number: Int?
      while let digit = character(0), digit.isASCII, let value = digit.wholeNumberValue {
        number = min((number ?? 0) * 10 + value, largestText + 1)
        rest = rest.dropFirst()
      }
      return number
    }
    spec.width = number() ?? 0
    if let grouping = character(0), ",_".contains(grouping) {
      spec.grouping = grouping
      rest = rest.dropFirst()
    }
    if character(0) == "." {
      rest = rest.dropFirst()
      guard let precision = number() else { throw error("a format has a point without a number; expected one") }
      spec.precision = precision
    }
    if let type = character(0) {
      spec.type = type
      rest = rest.dropFirst()
    }
    if !rest.isEmpty { throw error("a format has the layout \(quotedUnits(layout.units)), which Python does not know") }
    return spec
  }
}

extension String {
  fileprivate func grouped(by separator: Character, every count: Int) -> String {
    var text = ""
    for (position, digit) in zip(stride(from: self.count, to: 0, by: -1), self) {
      if position % count == 0, !text.isEmpty { text.append(separator) }
      text.append(digit)
    }
    return text
  }
}

/// A regular expression of JSON Schema (ECMA 262), as far as it is regular in one pass: characters, classes, groups,
/// alternatives and repetitions, with `^` at the beginning and `$` at the end of an alternative.
indirect enum RegularPattern: Sendable {
  case characters([ClosedRange<UInt32>])
  case sequence([RegularPattern])
  case alternatives([RegularPattern])
  /// `most`: nil for any number.
  case repetition(RegularPattern, least: Int, most: Int?)

  static let anyCharacter = RegularPattern.characters([0...0x10FFFF])
  static let anyText = RegularPattern.repetition(anyCharacter, least: 0, most: nil)

  /// Why a pattern is refused; `found` follows "is".
  struct Refusal: Error {
    let found: String
    let expected: String
  }

  /// The texts in which the pattern occurs: where it is not anchored, anything comes before and after it.
  static func occurring(_ text: String) throws(Refusal) -> RegularPattern {
    var parser = Parser(Array(text.unicodeScalars))
    return try parser.whole()
  }

  /// The automaton of the JSON strings, with their quotes, whose text the pattern is.
  func stringAutomaton() throws(Refusal) -> ByteAutomaton? {
    var graph = ByteGraph()
    let (start, content, after, end) = (graph.state(), graph.state(), graph.state(), graph.state())
    graph.connect(start, StringContent.quote...StringContent.quote, content)
    try add(to: &graph, from: content, to: after)
    graph.connect(after, StringContent.quote...StringContent.quote, end)
    do { return try graph.automaton(from: start, to: end) } catch {
      throw Refusal(found: "too large for an automaton", expected: "one with fewer alternatives and repetitions")
    }
  }

  private func add(to graph: inout ByteGraph, from start: Int32, to end: Int32) throws(Refusal) {
    guard graph.count <= SchemaLimits.states else {
      throw Refusal(found: "too large for an automaton", expected: "one with fewer alternatives and repetitions")
    }
    switch self {
    case .characters(let ranges): for range in ranges { graph.addString(range, from: start, to: end) }
    case .sequence(let parts):
      var at = start
      for part in parts {
        let next = graph.state()
        try part.add(to: &graph, from: at, to: next)
        at = next
      }
      graph.connect(at, end)
    case .alternatives(let parts):
      for part in parts {
        // A state of its own, so that a part's loops do not join those of others.
        let (first, last) = (graph.state(), graph.state())
        graph.connect(start, first)
        try part.add(to: &graph, from: first, to: last)
        graph.connect(last, end)
      }
    case .repetition(let part, let least, let most):
      var at = start
      for _ in 0..<least {
        let next = graph.state()
        try part.add(to: &graph, from: at, to: next)
        at = next
      }
      if let most {
        graph.connect(at, end)
        for _ in least..<max(least, most) {
          let next = graph.state()
          try part.add(to: &graph, from: at, to: next)
          graph.connect(next, end)
          at = next
        }
      } else {
        let (first, last) = (graph.state(), graph.state())
        graph.connect(at, first)
        try part.add(to: &graph, from: first, to: last)
        graph.connect(last, first)
        graph.connect(first, end)
      }
    }
  }
}

extension RegularPattern {
  fileprivate struct Parser {
    private let text: [Unicode.Scalar]
    private var at = 0
    private var depth = 0

    init(_ text: [Unicode.Scalar]) { self.text = text }

    private var next: Unicode.Scalar? { at < text.count ? text[at] : nil }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
      guard next == scalar else { return false }
      at += 1
      return true
    }

    mutating func whole() throws(Refusal) -> RegularPattern {
      var alternatives: [RegularPattern] = []
      repeat {
        let isAtStart = take("^")
        let body = try sequence()
        let isAtEnd = take("$")
        if let next, next != "|" { throw unexpected(next) }
        alternatives.append(
          .sequence((isAtStart ? [] : [.anyText]) + [body] + (isAtEnd ? [] : [.anyText])))
      } while take("|")
      return alternatives.count == 1 ? alternatives[0] : .alternatives(alternatives)
    }

    private func unexpected(_ scalar: Unicode.Scalar) -> Refusal {
      switch scalar {
      case "^", "$": Refusal(found: "anchored inside", expected: "^ at its beginning and $ at its end")
      default: Refusal(found: "broken at \"\(scalar)\"", expected: "a regular expression")
      }
    }

    private mutating func alternatives() throws(Refusal) -> RegularPattern {
      var parts = [try sequence()]
      while take("|") { parts.append(try sequence()) }
      return parts.count == 1 ? parts[0] : .alternatives(parts)
    }

    private mutating func sequence() throws(Refusal) -> RegularPattern {
      var parts: [RegularPattern] = []
      while let scalar = next, scalar != "|", scalar != ")", scalar != "$" { parts.append(try repeated()) }
      return .sequence(parts)
    }

    private mutating func repeated() throws(Refusal) -> RegularPattern {
      var part = try single()
      while let scalar = next {
        var (least, most): (Int, Int?) = (0, nil)
        switch scalar {
        case "*": at += 1
        case "+": (at, least) = (at + 1, 1)
        case "?": (at, most) = (at + 1, 1)
        case "{":
          guard let counts = try counts() else { return part }
          (least, most) = counts
        default: return part
        }
        _ = take("?")  // a lazy repetition matches the same texts
        part = .repetition(part, least: least, most: most)
      }
      return part
    }

    private mutating func counts() throws(Refusal) -> (Int, Int?)? {
      at += 1
      guard let least = try number() else { throw Refusal(found: "broken at \"{\"", expected: "a number after {") }
      var most: Int? = least
      if take(",") { most = try number() }
      guard take("}"), most.map({ $0 >= least }) ?? true else {
        throw Refusal(found: "broken at \"{\"", expected: "a repetition such as {2,5}")
      }
      return (least, most)
    }

    private mutating func number() throws(Refusal) -> Int? {
      var value: Int?
      while let scalar = next, "0"..."9" ~= scalar {
        at += 1
        value = (value ?? 0) * 10 + Int(scalar.value - 48)
        guard value! <= 1000 else {
          throw Refusal(found: "repeating more than 1000 times", expected: "minLength and maxLength for that")
        }
      }
      return value
    }

    private mutating func single() throws(Refusal) -> RegularPattern {
      let scalar = text[at]
      at += 1
      switch scalar {
      case "(": return try group()
      case "[": return try characterClass()
      case ".": return .characters(Self.complement([0x0A...0x0A, 0x0D...0x0D, 0x2028...0x2029]))
      case "\\": return .characters(try escape(inClass: false).ranges)
      case "^", "$": throw unexpected(scalar)
      case "*", "+", "?", ")", "{", "}": throw Refusal(found: "broken at \"\(scalar)\"", expected: "\\\(scalar) for it")
      default: return .characters([scalar.value...scalar.value])
      }
    }

    private mutating func group() throws(Refusal) -> RegularPattern {
      if take("?") {
        switch next {
        case ":": at += 1
        case "=", "!": throw Refusal(found: "looking ahead", expected: "a pattern without (?= and (?!")
        case "<":
          at += 1
          if next == "=" || next == "!" {
            throw Refusal(found: "looking behind", expected: "a pattern without (?<= and (?<!")
          }
          while let scalar = next, scalar != ">" { at += scalar == ")" ? text.count : 1 }
          guard take(">") else { throw Refusal(found: "broken at \"(?<\"", expected: "a group's name") }
        default: throw Refusal(found: "with the options of a group", expected: "a group without options")
        }
      }
      depth += 1
      guard depth <= SchemaLimits.depth else {
        throw Refusal(found: "nested too deep", expected: "at most \(SchemaLimits.depth) groups inside each other")
      }
      let part = try alternatives()
      depth -= 1
      guard take(")") else {
        if let next { throw unexpected(next) }
        throw Refusal(found: "without the end of a group", expected: "a ) for each (")
      }
      return part
    }

    private mutating func characterClass() throws(Refusal) -> RegularPattern {
      let isNegated = take("^")
      var ranges: [ClosedRange<UInt32>] = []
      var isASCII = false
      while let scalar = next, scalar != "]" {
        let low = try classMember()
        isASCII = isASCII || low.isClass
        if next == "-", at + 1 < text.count, text[at + 1] != "]" {
          at += 1
          let high = try classMember()
          guard !low.isClass, !high.isClass, let first = low.ranges.first?.lowerBound,
            let last = high.ranges.first?.lowerBound, first <= last
          else { throw Refusal(found: "with a broken range at \"\(scalar)\"", expected: "a range such as a-z") }
          ranges.append(first...last)
        } else {
          ranges += low.ranges
        }
      }
      guard take("]") else { throw Refusal(found: "without the end of a class", expected: "a ] for each [") }
      guard isNegated else { return .characters(ranges) }
      // Languages differ in which characters beyond ASCII are digits, letters or spaces.
      return .characters(Self.complement(isASCII ? ranges + [0x80...0x10FFFF] : ranges))
    }

    private mutating func classMember() throws(Refusal) -> (ranges: [ClosedRange<UInt32>], isClass: Bool) {
      let scalar = text[at]
      at += 1
      return scalar == "\\" ? try escape(inClass: true) : ([scalar.value...scalar.value], false)
    }

    private mutating func escape(
      inClass: Bool
    ) throws(Refusal) -> (ranges: [ClosedRange<UInt32>], isClass: Bool) {
      guard let scalar = next else { throw Refusal(found: "broken at its end", expected: "a character after \\") }
      at += 1
      func one(_ value: UInt32) -> ([ClosedRange<UInt32>], Bool) { ([value...value], false) }
      let digits: [ClosedRange<UInt32>] = [0x30...0x39]
      let words: [ClosedRange<UInt32>] = [0x30...0x39, 0x41...0x5A, 0x5F...0x5F, 0x61...0x7A]
      let spaces: [ClosedRange<UInt32>] = [0x09...0x0D, 0x20...0x20]
      func others(_ ranges: [ClosedRange<UInt32>]) -> ([ClosedRange<UInt32>], Bool) {
        (Self.complement(ranges + [0x80...0x10FFFF]), true)
      }
      switch scalar {
      case "d": return (digits, true)
      case "w": return (words, true)
      case "s": return (spaces, true)
      case "D": return others(digits)
      case "W": return others(words)
      case "S": return others(spaces)
      case "t": return one(0x09)
      case "n": return one(0x0A)
      case "v": return one(0x0B)
      case "f": return one(0x0C)
      case "r": return one(0x0D)
      case "b" where inClass: return one(0x08)
      case "0": return one(0)
      case "x": return one(try hexadecimal(2))
      case "u": return one(try hexadecimal(4))
      case "b", "B": throw Refusal(found: "with a word boundary", expected: "a pattern without \\\(scalar)")
      case "1"..."9": throw Refusal(found: "with a reference to a group", expected: "a pattern without \\\(scalar)")
      case "p", "P": throw Refusal(found: "with a Unicode property", expected: "a class such as [a-z]")
      case "a"..."z", "A"..."Z":
        throw Refusal(found: "with the escape \\\(scalar)", expected: "an escape of ECMA 262")
      default: return one(scalar.value)
      }
    }

    private mutating func hexadecimal(_ count: Int) throws(Refusal) -> UInt32 {
      let digits = String(String.UnicodeScalarView(text[at..<min(at + count, text.count)]))
      at += count
      guard digits.utf8.count == count, digits.allSatisfy(\.isHexDigit), let value = UInt32(digits, radix: 16),
        Unicode.Scalar(value) != nil
      else { throw Refusal(found: "with a broken escape", expected: "\(count) hexadecimal digits of a character") }
      return value
    }

    static func complement(_ ranges: [ClosedRange<UInt32>]) -> [ClosedRange<UInt32>] {
      var result: [ClosedRange<UInt32>] = []
      var low: UInt32 = 0
      for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
        if range.lowerBound > low { result.append(low...range.lowerBound - 1) }
        low = max(low, range.upperBound + 1)
      }
      if low <= 0x10FFFF { result.append(low...0x10FFFF) }
      return result
    }
  }
}

/// The formats whose values can be written down as patterns. Other formats are notes and restrict nothing.
enum StringFormat {
  static func pattern(_ name: String) -> String? {
    let (month31, month30) = ("(0[13578]|1[02])", "(0[469]|11)")
    let leap = "([12][0-9](0[48]|[2468][048]|[13579][26])|(12|16|20|24|28)00)"
    let date =
      "([12][0-9]{3}-(\(month31)-(0[1-9]|[12][0-9]|3[01])|\(month30)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
      + "|\(leap)-02-29)"
    let time = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    let octet = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    let label = "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"
    let host = "\(label)(\\.\(label)){1,4}"
    switch name {
    case "date": return "^\(date)$"
    case "time": return "^\(time)$"
    case "date-time": return "^\(date)T\(time)$"
    case "duration":
      let times = "T([0-9]{1,4}H([0-9]{1,4}M([0-9]{1,4}S)?)?|[0-9]{1,4}M([0-9]{1,4}S)?|[0-9]{1,4}S)"
      let days = "([0-9]{1,4}Y([0-9]{1,4}M([0-9]{1,4}D)?)?|[0-9]{1,4}M([0-9]{1,4}D)?|[0-9]{1,4}D)"
      return "^P(\(days)(\(times))?|\(times)|[0-9]{1,4}W)$"
    case "uuid": return "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
    case "ipv4": return "^\(octet)(\\.\(octet)){3}$"
    case "ipv6": return "^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$"
    case "email": return "^[a-z0-9]([a-z0-9._+-]{0,30}[a-z0-9])?@\(host)$"
    case "hostname": return "^\(host)$"
    case "uri": return "^https?://\(host)(/[A-Za-z0-9._~-]{0,40}){0,6}(\\?[A-Za-z0-9=&._-]{1,80})?$"
    default: return nil
    }
  }
}

/// Parses a regular expression.
struct ExpressionParser {
  /// The reason that an expression is not supported: the finding and the expectation of an error.
  struct Refusal: Error, Equatable {
    let found: String
    let expected: String
  }

  private static let deepestNesting = 32
  private static let highestCount = 1000
  /// The largest set whose members are looked up in another case one by one.
  private static let largestFoldedSet = 4096

  private let scalars: [Unicode.Scalar]
  private var at = 0
  private var depth = 0

  private init(_ text: String) { scalars = Array(text.unicodeScalars) }

  static func parse(_ text: String) throws(Refusal) -> Expression {
    var parser = ExpressionParser(text)
    let expression = try parser.alternatives(ignoringCase: false)
    if parser.at < parser.scalars.count { throw parser.refusal("an expression with a \")\" too many") }
    return expression
  }

  private func refusal(_ found: String) -> Refusal {
    Refusal(
      found: "\(found) at its character \(min(at, scalars.count) + 1)",
      expected: "groups, classes, look-ahead and repetitions only")
  }

  private var next: Unicode.Scalar? { at < scalars.count ? scalars[at] : nil }

  private func isNext(_ text: StaticString, from offset: Int = 0) -> Bool {
    scalars.dropFirst(at + offset).starts(with: String(describing: text).unicodeScalars)
  }

  private mutating func skip(_ text: StaticString) -> Bool {
    guard isNext(text) else { return false }
    at += text.utf8CodeUnitCount
    return true
  }

  // MARK: - Structure

  private mutating func alternatives(ignoringCase: Bool) throws(Refusal) -> Expression {
    depth += 1
    defer { depth -= 1 }
    if depth > Self.deepestNesting { throw refusal("an expression nested more than \(Self.deepestNesting) deep") }
    var parts = [try sequence(ignoringCase: ignoringCase)]
    while skip("|") { parts.append(try sequence(ignoringCase: ignoringCase)) }
    return parts.count == 1 ? parts[0] : .alternatives(parts)
  }

  private mutating func sequence(ignoringCase: Bool) throws(Refusal) -> Expression {
    var parts: [Expression] = []
    while let scalar = next, scalar != "|", scalar != ")" {
      if skip("(?i)") {
        // All that follows in the group is a group of its own: a(?i)b|c is a(?i:b|c).
        parts.append(try alternatives(ignoringCase: true))
      } else {
        parts.append(try repeated(try atom(ignoringCase: ignoringCase)))
      }
    }
    return parts.count == 1 ? parts[0] : parts.isEmpty ? .empty : .sequence(parts)
  }

  private mutating func atom(ignoringCase: Bool) throws(Refusal) -> Expression {
    guard let scalar = next else { return .empty }
    switch scalar {
    case "(": return try group(ignoringCase: ignoringCase)
    case "[":
      at += 1
      return .set(try setRest(ignoringCase: ignoringCase))
    case ".":
      at += 1
      return .set(ScalarRanges(0x0A).complement)
    case "\\": return .set(folded(try escape(inSet: false), ignoringCase))
    case "^", "$": throw refusal("an expression with the anchor \"\(Character(scalar))\"")
    case "*", "+", "?": throw refusal("an expression with a repetition of nothing")
    default:
      at += 1
      return .set(folded(ScalarRanges(scalar.value), ignoringCase))
    }
  }

  private mutating func group(ignoringCase: Bool) throws(Refusal) -> Expression {
    let start = at
    enum Kind {
      case plain, atomic, lookAhead, negatedLookAhead
    }
    var kind = Kind.plain
    var ignoresCase = ignoringCase
    if skip("(?:") {
    } else if skip("(?i:") {
      ignoresCase = true
    } else if skip("(?-i:") {
      ignoresCase = false
    } else if skip("(?>") {
      kind = .atomic
    } else if skip("(?=") {
      kind = .lookAhead
    } else if skip("(?!") {
      kind = .negatedLookAhead
    } else if isNext("(?") || isNext("(*") {
      throw refusal("an expression with a group of another kind")
    } else {
      at += 1
    }
    let inner = try alternatives(ignoringCase: ignoresCase)
    guard skip(")") else {
      at = start
      throw refusal("an expression with a group that does not end")
    }
    switch kind {
    case .plain: return inner
    case .atomic: return .atomic(inner)
    case .lookAhead: return .lookAhead(inner, isNegated: false)
    case .negatedLookAhead: return .lookAhead(inner, isNegated: true)
    }
  }

  // MARK: - Repetition

  private mutating func repeated(_ atom: Expression) throws(Refusal) -> Expression {
    var result = atom
    let outerDepth = depth
    defer { depth = outerDepth }
    while let (minimum, maximum, isBraced) = try repetition() {
      // After {n,m}, a + is a repetition of its own.
      let kind: Expression.Repetition.Kind = skip("?") ? .lazy : !isBraced && skip("+") ? .possessive : .greedy
      depth += 1
      if depth > Self.deepestNesting { throw refusal("an expression nested more than \(Self.deepestNesting) deep") }
      if result.canBeEmpty { throw refusal("an expression that repeats something that can be empty") }
      result = .repetition(result, Expression.Repetition(minimum: minimum, maximum: maximum, kind: kind))
    }
    return result
  }

  private mutating func repetition() throws(Refusal) -> (minimum: Int, maximum: Int?, isBraced: Bool)? {
    if skip("*") { return (0, nil, false) }
    if skip("+") { return (1, nil, false) }
    if skip("?") { return (0, 1, false) }
    guard isNext("{") else { return nil }
    let start = at
    at += 1
    let minimum = number()
    var maximum = minimum
    if skip(",") { maximum = number() } else if minimum == nil { maximum = -1 }
    // A brace that is no repetition stands for itself.
    guard skip("}"), minimum != nil || (maximum ?? -1) >= 0 else {
      at = start
      return nil
    }
    let least = minimum ?? 0
    if max(least, maximum ?? 0) > Self.highestCount || least > maximum ?? .max {
      throw refusal("an expression with a repetition of \(least) to \(maximum.map(String.init) ?? "any")")
    }
    return (least, maximum, true)
  }

  private mutating func number() -> Int? {
    var value: Int?
    while let scalar = next, ("0"..."9").contains(scalar) {
      value = min((value ?? 0) * 10 + Int(scalar.value - 0x30), 1_000_000)
      at += 1
    }
    return value
  }

  // MARK: - Sets

  /// The rest of a set whose bracket has been read.
  private mutating func setRest(ignoringCase: Bool) throws(Refusal) -> ScalarRanges {
    let start = at
    depth += 1
    defer { depth -= 1 }
    if depth > Self.deepestNesting { throw refusal("an expression nested more than \(Self.deepestNesting) deep") }
    let isNegated = skip("^")
    var parts: [ClosedRange<UInt32>] = []
    var isFirst = true
    while let scalar = next, scalar != "]" || isFirst {
      isFirst = false
      if isNext("&&") { throw refusal("an expression with an intersection of sets") }
      if isNext("[:") { throw refusal("an expression with a named set") }
      if skip("[") {
        parts += try setRest(ignoringCase: ignoringCase).ranges
        continue
      }
      let first = try setMember()
      if isNext("-"), !isNext("]", from: 1), let low = first.single {
        at += 1
        guard next != "[", let high = try setMember().single, high >= low else {
          throw refusal("an expression with a range without an end")
        }
        parts.append(low...high)
      } else {
        parts += first.ranges
      }
    }
    guard skip("]") else {
      at = start
      throw refusal("an expression with a set that does not end")
    }
    let members = folded(ScalarRanges(parts), ignoringCase)
    return isNegated ? members.complement : members
  }

  private mutating func setMember() throws(Refusal) -> ScalarRanges {
    guard let scalar = next else { throw refusal("an expression with a set that does not end") }
    if scalar == "\\" { return try escape(inSet: true) }
    at += 1
    return ScalarRanges(scalar.value)
  }

  private mutating func escape(inSet: Bool) throws(Refusal) -> ScalarRanges {
    at += 1
    guard let letter = next else { throw refusal("an expression that ends in a backslash") }
    at += 1
    switch letter {
    case "n": return ScalarRanges(0x0A)
    case "r": return ScalarRanges(0x0D)
    case "t": return ScalarRanges(0x09)
    case "f": return ScalarRanges(0x0C)
    case "v": return ScalarRanges(0x0B)
    case "s": return ScalarRanges(pairs: UnicodeClassRanges.whitespace)
    case "S": return ScalarRanges(pairs: UnicodeClassRanges.whitespace).complement
    case "d": return ScalarRanges.category("Nd")!
    case "D": return ScalarRanges.category("Nd")!.complement
    case "w": return ScalarRanges(pairs: UnicodeClassRanges.wordCharacters)
    case "W": return ScalarRanges(pairs: UnicodeClassRanges.wordCharacters).complement
    case "p", "P": return try category(isNegated: letter == "P")
    case "x": return ScalarRanges(try codePoint(digits: 2, inBraces: true))
    case "u": return ScalarRanges(try codePoint(digits: 4, inBraces: false))
    default:
      let isLetterOrDigit = letter.isASCII && (letter.properties.isAlphabetic || ("0"..."9").contains(letter))
      if isLetterOrDigit {
        at -= 2
        throw refusal("an expression with \"\\\(Character(letter))\"")
      }
      return ScalarRanges(letter.value)
    }
  }

  /// `{L}`, `{^L}` after `\p`.
  private mutating func category(isNegated: Bool) throws(Refusal) -> ScalarRanges {
    let start = at - 2
    guard skip("{"), let end = scalars[at...].firstIndex(of: "}") else {
      at = start
      throw refusal("an expression with \"\\p\" without a name in braces")
    }
    let isInverted = skip("^")
    let name = String(String.UnicodeScalarView(scalars[at..<end]))
    guard let members = ScalarRanges.category(name) else {
      at = start
      throw refusal("an expression with \"\\p{\(name.prefix(40))}\", which is no general category,")
    }
    at = end + 1
    return isNegated != isInverted ? members.complement : members
  }

  private mutating func codePoint(digits: Int, inBraces: Bool) throws(Refusal) -> UInt32 {
    let start = at
    let isBraced = inBraces && skip("{")
    var value: UInt32 = 0
    var count = 0
    while count < (isBraced ? 6 : digits), let letter = next, letter.isASCII,
      let digit = Character(letter).hexDigitValue
    {
      value = value << 4 | UInt32(digit)
      count += 1
      at += 1
    }
    guard count > 0, !isBraced || skip("}"), isBraced || count == digits, Unicode.Scalar(value) != nil else {
      at = start
      throw refusal("an expression with a code point that is none")
    }
    return value
  }

  // MARK: - Case

  private func folded(_ ranges: ScalarRanges, _ ignoringCase: Bool) -> ScalarRanges {
    guard ignoringCase, ranges.count <= Self.largestFoldedSet else { return ranges }
    var parts = ranges.ranges
    func add(_ scalars: String.UnicodeScalarView) {
      if scalars.count == 1, let scalar = scalars.first { parts.append(scalar.value...scalar.value) }
    }
    for value in ranges.ranges.joined() {
      guard let properties = Unicode.Scalar(value)?.properties else { continue }
      add(properties.lowercaseMapping.unicodeScalars)
      add(properties.uppercaseMapping.unicodeScalars)
      // Scalars whose lower case is an ASCII letter: the long s and the Kelvin sign.
      if value | 0x20 == 0x73 { parts.append(0x17F...0x17F) }
      if value | 0x20 == 0x6B { parts.append(0x212A...0x212A) }
    }
    return ScalarRanges(parts)
  }
}

extension ScalarRanges {
  /// The scalar of a set of one; nil for other sets.
  fileprivate var single: UInt32? {
    ranges.count == 1 && ranges[0].count == 1 ? ranges[0].lowerBound : nil
  }
}

/// A bound of a number: a decimal with up to 18 digits before the point and 15 after it.
struct Bound: Equatable {
  /// Units of 10^-15.
  var units: Int128
  var isExclusive: Bool

  static let one: Int128 = 1_000_000_000_000_000
  static let digits = 15

  /// - Parameter text: a JSON number.
  /// - Returns: nil for more digits.
  init?(_ text: [UInt8], isExclusive: Bool) {
    self.isExclusive = isExclusive
    var digits: [UInt8] = []
    var (scale, exponent) = (0, 0)
    var place = text.startIndex
    let isNegative = text.first == UInt8(ascii: "-")
    if isNegative { place += 1 }
    var isFraction = false
    while place < text.count {
      let byte = text[place]
      place += 1
      switch byte {
      case UInt8(ascii: "."): isFraction = true
      case UInt8(ascii: "e"), UInt8(ascii: "E"):
        guard let value = Int(String(decoding: text[place...], as: UTF8.self)), abs(value) < 100 else { return nil }
        exponent = value
        place = text.count
      default:
        digits.append(byte - 48)
        if isFraction { scale += 1 }
      }
    }
    while scale > 0, digits.last == 0 {
      digits.removeLast()
      scale -= 1
    }
    digits = Array(digits.drop { $0 == 0 })
    let shift = exponent - scale + Self.digits
    guard !digits.isEmpty else {
      units = 0
      return
    }
    guard shift >= 0, digits.count + shift <= 33 else { return nil }
    var magnitude: Int128 = 0
    for digit in digits { magnitude = magnitude * 10 + Int128(digit) }
    for _ in 0..<shift { magnitude *= 10 }
    units = isNegative ? -magnitude : magnitude
  }
}

/// The range of a number; nil where there is no bound.
struct NumberRange: Equatable {
  var least: Bound?
  var most: Bound?

  mutating func raise(to bound: Bound) {
    if let least, least.units > bound.units || (least.units == bound.units && least.isExclusive) { return }
    least = bound
  }
  mutating func lower(to bound: Bound) {
    if let most, most.units < bound.units || (most.units == bound.units && most.isExclusive) { return }
    most = bound
  }

  /// The least and the greatest integer; those without a bound have up to 15 digits, or as many as lie beside a bound
  /// beyond them.
  var integers: ClosedRange<Int128>? {
    func floor(_ units: Int128) -> Int128 {
      let quotient = units / Bound.one
      return units % Bound.one < 0 ? quotient - 1 : quotient
    }
    let wide = Bound.one - 1
    var (low, high): (Int128?, Int128?) = (nil, nil)
    if let least {
      let whole = floor(least.units)
      low = whole * Bound.one == least.units && !least.isExclusive ? whole : whole + 1
    }
    if let most {
      let whole = floor(most.units)
      high = whole * Bound.one == most.units && most.isExclusive ? whole - 1 : whole
    }
    let first = low ?? min(-wide, (high ?? 0) - wide)
    let last = high ?? max(wide, (low ?? 0) + wide)
    return first <= last ? first...last : nil
  }
}

/// Numbers as texts.
extension ExpressionTable {
  private static func digits(_ value: Int128) -> [UInt8] { String(value).utf8.map { $0 - 48 } }

  private mutating func digit(_ range: ClosedRange<UInt8>) -> Expression {
    byte([48 + range.lowerBound...48 + range.upperBound])
  }

  mutating func integers(_ range: ClosedRange<Int128>) -> Expression {
    var parts: [Expression] = []
    if range.upperBound >= 0 { parts.append(natural(max(0, range.lowerBound)...range.upperBound)) }
    if range.lowerBound < 0 {
      let magnitudes = natural(max(1, -range.upperBound)...(-range.lowerBound))
      parts.append(text("-", then: magnitudes))
    }
    return alternatives(parts)
  }

  /// Integers from 0 on, without leading zeros.
  private mutating func natural(_ range: ClosedRange<Int128>) -> Expression {
    var parts: [Expression] = []
    var first = range.lowerBound
    while first <= range.upperBound {
      var last: Int128 = 9
      while last < first { last = last * 10 + 9 }
      last = min(last, range.upperBound)
      parts.append(between(Self.digits(first), Self.digits(last), 0, true, true))
      first = last + 1
    }
    return alternatives(parts)
  }

  /// Digits from place i on, of numbers of one length, at least `low` where they are equal to it so far, and at most
  /// `high` likewise.
  private mutating func between(
    _ low: [UInt8], _ high: [UInt8], _ i: Int, _ isLow: Bool, _ isHigh: Bool
  ) -> Expression {
    let left = Int32(low.count - i)
    guard left > 0 else { return Self.empty }
    guard isLow || isHigh else { return repetition(digit(0...9), least: left, most: left) }
    let (first, last) = (isLow ? low[i] : 0, isHigh ? high[i] : 9)
    if isLow, isHigh, first == last { return chain(digit(first...first), between(low, high, i + 1, true, true)) }
    var parts: [Expression] = []
    if isLow { parts.append(chain(digit(first...first), between(low, high, i + 1, true, false))) }
    if isHigh { parts.append(chain(digit(last...last), between(low, high, i + 1, false, true))) }
    let (from, to) = (isLow ? first + 1 : first, isHigh ? Int(last) - 1 : Int(last))
    if Int(from) <= to {
      let rest = repetition(digit(0...9), least: left - 1, most: left - 1)
      parts.append(chain(digit(from...UInt8(to)), rest))
    }
    return alternatives(parts)
  }

  /// Numbers without bounds: up to 15 digits before the point and after it, and an exponent up to 99.
  mutating func numbers() -> Expression {
    let more = repetition(digit(0...9), least: 0, most: 14)
    let whole = alternatives([digit(0...0), chain(digit(1...9), more)])
    let fraction = text(".", then: repetition(digit(0...9), least: 1, most: 15))
    let sign = optional(byte([0x2B...0x2B, 0x2D...0x2D]))
    let exponent = chain(
      byte([0x45...0x45, 0x65...0x65]), chain(sign, repetition(digit(0...9), least: 1, most: 2)))
    return chain(optional(text("-")), chain(whole, chain(optional(fraction), optional(exponent))))
  }

  /// Numbers within bounds, without exponents, with at most 15 digits in all. A range without one of the bounds ends a
  /// billion from zero, or from the other bound.
  ///
  /// - Returns: nil if the bounds have too many digits for that.
  mutating func numbers(_ range: NumberRange) -> Expression? {
    let billion = 1_000_000_000 * Bound.one
    let least = range.least ?? Bound(units: min(-billion, (range.most?.units ?? 0) - billion))
    let most = range.most ?? Bound(units: max(billion, (range.least?.units ?? 0) + billion))
    guard least.units <= most.units else { return Self.never }
    let widest = max(abs(least.units), abs(most.units)) / Bound.one
    let places = Bound.digits - Self.digits(widest).count
    guard places >= 0 else { return nil }
    var unit: Int128 = 1
    for _ in places..<Bound.digits { unit *= 10 }
    guard least.units % unit == 0, most.units % unit == 0 else { return nil }
    var parts: [Expression] = []
    let zero = Bound(units: 0)
    if most.units >= 0 {
      parts.append(magnitudes(least.units > 0 ? least : least.units == 0 ? least : zero, most, places))
    }
    if least.units < 0 {
      let low =
        most.units < 0 ? Bound(units: -most.units, isExclusive: most.isExclusive) : Bound(units: 0, isExclusive: true)
      let high = Bound(units: -least.units, isExclusive: least.isExclusive)
      parts.append(text("-", then: magnitudes(low, high, places)))
    }
    return alternatives(parts)
  }

  /// Numbers from `low` (0 or more) to `high`, with up to `places` digits after the point.
  private mutating func magnitudes(_ low: Bound, _ high: Bound, _ places: Int) -> Expression {
    let (first, last) = (low.units / Bound.one, high.units / Bound.one)
    guard first <= last else { return Self.never }
    if first == last {
      return chain(natural(first...first), fraction(low, high, places))
    }
    var parts = [
      chain(natural(first...first), fraction(low, nil, places)),
      chain(natural(last...last), fraction(nil, high, places)),
    ]
    if first + 1 < last { parts.append(chain(natural(first + 1...last - 1), fraction(nil, nil, places))) }
    return alternatives(parts)
  }

  /// What may follow the digits before the point, if these are equal to those of the bounds.
  private mutating func fraction(_ low: Bound?, _ high: Bound?, _ places: Int) -> Expression {
    func digits(_ bound: Bound?) -> [UInt8] {
      guard let bound else { return [] }
      let text = Self.digits(bound.units % Bound.one)
      return [UInt8](repeating: 0, count: Bound.digits - text.count) + text
    }
    let (lows, highs) = (digits(low), digits(high))
    func mayEnd(_ i: Int, _ isLow: Bool, _ isHigh: Bool) -> Bool {
      if isLow, let low {
        let isEqual = lows[i...].allSatisfy { $0 == 0 }
        if !isEqual || low.isExclusive { return false }
      }
      if isHigh, let high, high.isExclusive, highs[i...].allSatisfy({ $0 == 0 }) { return false }
      return true
    }
    func tail(_ table: inout ExpressionTable, _ i: Int, _ isLow: Bool, _ isHigh: Bool) -> Expression {
      guard isLow || isHigh else {
        return table.repetition(table.digit(0...9), least: i == 0 ? 1 : 0, most: Int32(places - i))
      }
      var parts: [Expression] = []
      if i > 0, mayEnd(i, isLow, isHigh) { parts.append(Self.empty) }
      guard i < places else { return table.alternatives(parts) }
      let (first, last) = (isLow ? lows[i] : 0, isHigh ? highs[i] : 9)
      if first <= last {
        for value in first...last {
          let rest = tail(&table, i + 1, isLow && value == first, isHigh && value == last)
          parts.append(table.chain(table.digit(value...value), rest))
        }
      }
      return table.alternatives(parts)
    }
    var parts: [Expression] = []
    let (isLow, isHigh) = (low != nil, high != nil)
    if mayEnd(0, isLow, isHigh) { parts.append(Self.empty) }
    if places > 0 { parts.append(text(".", then: tail(&self, 0, isLow, isHigh))) }
    return alternatives(parts)
  }

  /// The texts of an expression of digits that are multiples of a number.
  ///
  /// - Parameter divisor: 1 to 1000.
  mutating func multiples(of divisor: Int, among numbers: Expression) throws(ByteAutomaton.TooLarge) -> Expression {
    var places: [Expression: Int32] = [numbers: 0]
    var order = [numbers]
    var edges: [[ByteAutomaton.Edge]] = []
    while edges.count < order.count {
      var list: [ByteAutomaton.Edge] = []
      for byte in [UInt8(ascii: "-")] + Array(UInt8(ascii: "0")...UInt8(ascii: "9")) {
        let next = derivative(order[edges.count], byte) { _, _, _ in Self.never }
        guard next != Self.never else { continue }
        if places[next] == nil {
          places[next] = Int32(order.count)
          order.append(next)
        }
        list.append(.init(first: byte, last: byte, target: places[next]!))
      }
      edges.append(list)
    }
    let all = ByteAutomaton(edges: edges, isAccepting: order.map { isNullable[Int($0)] })
    // 0: nothing yet; 1: a sign; then a state for each remainder.
    var remainders: [[ByteAutomaton.Edge]] = []
    for state in 0..<divisor + 2 {
      var list: [ByteAutomaton.Edge] = []
      if state == 0 { list.append(.init(first: UInt8(ascii: "-"), last: UInt8(ascii: "-"), target: 1)) }
      for value in 0..<10 {
        let next = (10 * max(0, state - 2) + value) % divisor
        list.append(.init(first: UInt8(48 + value), last: UInt8(48 + value), target: Int32(2 + next)))
      }
      remainders.append(list)
    }
    guard let all,
      let multiples = ByteAutomaton(edges: remainders, isAccepting: (0..<divisor + 2).map { $0 == 2 })
    else { return Self.never }
    return automaton(try all.intersection(multiples))
  }
}

extension Bound {
  fileprivate init(units: Int128, isExclusive: Bool = false) { (self.units, self.isExclusive) = (units, isExclusive) }
}

extension JinjaInterpreter {
  func undefinedError(_ value: JinjaValue) -> JinjaError? {
    if case .undefined(let undefined) = value { error(undefined.message) } else { nil }
  }

  // MARK: - Arithmetic

  func arithmetic(
    _ operation: JinjaOperator, _ left: JinjaValue, _ right: JinjaValue
  ) throws(JinjaError) -> JinjaValue {
    if case .modulo = operation, case .text(let format) = left { return try formatted(format, right) }
    if let fault = undefinedError(left) ?? undefinedError(right) { throw fault }
    if let a = left.index, let b = right.index { return try integers(operation, a, b) }
    if let a = left.number, let b = right.number { return try floats(operation, a, b) }
    switch (operation, left, right) {
    case (.add, .text(let a), .text(let b)): return try joined(a, b)
    case (.add, .list(let a), .list(let b)): return try list(a.items + b.items)
    case (.add, .tuple(let a), .tuple(let b)): return try tuple(a.items + b.items)
    case (.multiply, .text(let text), let count), (.multiply, let count, .text(let text)):
      guard let count = count.index else { break }
      return try repeated(text, count)
    case (.multiply, .list(let items), let count), (.multiply, let count, .list(let items)):
      guard let count = count.index else { break }
      return try list(repeated(items.items, count))
    case (.multiply, .tuple(let items), let count), (.multiply, let count, .tuple(let items)):
      guard let count = count.index else { break }
      return try tuple(repeated(items.items, count))
    default: break
    }
    throw error(
      "the operands of \(operation.rawValue) are \(left.noun) and \(right.noun); expected values that go together")
  }

  /// Two texts; if one of them is safe HTML, the other is escaped.
  private func joined(_ a: JinjaText, _ b: JinjaText) throws(JinjaError) -> JinjaValue {
    try spend(characters: a.count + b.count)
    guard a.isSafe || b.isSafe else { return .text(JinjaText(units: a.units + b.units)) }
    let units = (a.isSafe ? a : a.escaped).units + (b.isSafe ? b : b.escaped).units
    return try text(units, isSafe: true)
  }

  private func repeated(_ text: JinjaText, _ count: Int128) throws(JinjaError) -> JinjaValue {
    let count = max(0, count)
    let (length, isTooLong) = count.multipliedReportingOverflow(by: Int128(text.count))
    try spend(characters: isTooLong ? .max : Int(clamping: length))
    if text.isEmpty { return .text(text) }
    return .text(
      JinjaText(units: Array(repeatElement(text.units, count: Int(count)).joined()), isSafe: text.isSafe))
  }

  private func repeated(_ items: [JinjaValue], _ count: Int128) throws(JinjaError) -> [JinjaValue] {
    let count = max(0, count)
    let (length, isTooLong) = count.multipliedReportingOverflow(by: Int128(items.count))
    try spend(items: isTooLong ? .max : Int(clamping: length))
    return items.isEmpty ? [] : Array(repeatElement(items, count: Int(count)).joined())
  }

  private func integers(_ operation: JinjaOperator, _ a: Int128, _ b: Int128) throws(JinjaError) -> JinjaValue {
    let result: (partialValue: Int128, overflow: Bool)
    switch operation {
    case .add: result = a.addingReportingOverflow(b)
    case .subtract: result = a.subtractingReportingOverflow(b)
    case .multiply: result = a.multipliedReportingOverflow(by: b)
    case .divide:
      if b == 0 { throw error("a number is divided by 0") }
      return .float(Double(a) / Double(b))
    case .floorDivide, .modulo:
      if b == 0 { throw error("a number is divided by 0") }
      // Only the least number divided by -1 does not fit.
      if b == -1 {
        result = operation == .modulo ? (0, false) : Int128(0).subtractingReportingOverflow(a)
        break
      }
      let (quotient, rest) = a.quotientAndRemainder(dividingBy: b)
      let isBelow = rest != 0 && (rest < 0) != (b < 0)
      return .integer(operation == .modulo ? (isBelow ? rest + b : rest) : (isBelow ? quotient - 1 : quotient))
    case .power:
      if b < 0 {
        if a == 0 { throw error("0 is raised to a negative power") }
        return .float(JinjaNumbers.power(Double(a), Double(b)))
      }
      result = power(a, b)
    }
    if result.overflow { throw error("an integer is beyond 2^127; expected a smaller one") }
    return .integer(result.partialValue)
  }

  private func power(_ base: Int128, _ exponent: Int128) -> (partialValue: Int128, overflow: Bool) {
    if base == 0 || base == 1 { return (exponent == 0 ? 1 : base, false) }
    if base == -1 { return (exponent % 2 == 0 ? 1 : -1, false) }
    if exponent > 127 { return (0, true) }
    var product: Int128 = 1
    for _ in 0..<Int(exponent) {
      let (next, overflow) = product.multipliedReportingOverflow(by: base)
      if overflow { return (0, true) }
      product = next
    }
    return (product, false)
  }

  private func floats(_ operation: JinjaOperator, _ a: Double, _ b: Double) throws(JinjaError) -> JinjaValue {
    switch operation {
    case .add: return .float(a + b)
    case .subtract: return .float(a - b)
    case .multiply: return .float(a * b)
    case .divide:
      if b == 0 { throw error("a number is divided by 0") }
      return .float(a / b)
    case .floorDivide, .modulo:
      if b == 0 { throw error("a number is divided by 0") }
      var rest = a.truncatingRemainder(dividingBy: b)
      if rest != 0, (rest < 0) != (b < 0) { rest += b }
      if rest == 0 { rest = Double(signOf: b, magnitudeOf: 0) }
      if operation == .modulo { return .float(rest) }
      let quotient = ((a - rest) / b).rounded(.toNearestOrEven)
      return .float(quotient == 0 ? Double(signOf: a / b, magnitudeOf: 0) : quotient)
    case .power:
      if a == 0, b < 0 { throw error("0 is raised to a negative power") }
      let result = JinjaNumbers.power(a, b)
      if result.isNaN, !a.isNaN, !b.isNaN { throw error("a negative number is raised to a power that is not whole") }
      if result.isInfinite, a.isFinite, b.isFinite { throw error("a power is too large") }
      return .float(result)
    }
  }

  func negated(_ value: JinjaValue) throws(JinjaError) -> JinjaValue {
    if let integer = value.index {
      let (result, overflow) = Int128(0).subtractingReportingOverflow(integer)
      if overflow { throw error("an integer is beyond 2^127; expected a smaller one") }
      return .integer(result)
    }
    if case .float(let number) = value { return .float(-number) }
    throw undefinedError(value) ?? error("the operand of - is \(value.noun); expected a number")
  }

  func positive(_ value: JinjaValue) throws(JinjaError) -> JinjaValue {
    if let integer = value.index { return .integer(integer) }
    if case .float = value { return value }
    throw undefinedError(value) ?? error("the operand of + is \(value.noun); expected a number")
  }

  // MARK: - Comparisons

  func holds(_ comparison: JinjaComparison, _ left: JinjaValue, _ right: JinjaValue) throws(JinjaError) -> Bool {
    switch comparison {
    case .equal: try areEqual(left, right)
    case .notEqual: !(try areEqual(left, right))
    case .less: try precedes(left, right, "<")
    case .greater: try precedes(right, left, ">")
    case .lessOrEqual: try precedesOrEquals(left, right, "<=")
    case .greaterOrEqual: try precedesOrEquals(right, left, ">=")
    case .isIn: try contains(right, left)
    case .isNotIn: !(try contains(right, left))
    }
  }

  func areEqual(_ a: JinjaValue, _ b: JinjaValue) throws(JinjaError) -> Bool {
    switch (a, b) {
    case (.undefined, .undefined), (.none, .none): return true
    case (.text(let a), .text(let b)):
      try spend(characters: a.count == b.count ? a.count : 0)
      return a == b
    case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
      guard a.items.count == b.items.count else { return false }
      try spend(a.items.count)
      for (left, right) in zip(a.items, b.items) { if !(try areEqual(left, right)) { return false } }
      return true
    case (.dictionary(let a), .dictionary(let b)): return try areEqual(a, b)
    case (.view(let a), .view(let b)) where a.kind != .values && b.kind != .values:
      guard a.items.count == b.items.count else { return false }
      for item in a.items { if !(try contains(.view(b), item)) { return false } }
      return true
    case (.range(let a), .range(let b)):
      return a.count == b.count && (a.count == 0 || a.start == b.start && (a.count == 1 || a.step == b.step))
    case (.namespace(let a), .namespace(let b)): return a === b
    case (.macro(let a), .macro(let b)): return a === b
    case (.loop(let a), .loop(let b)): return a === b
    case (.iterator(let a), .iterator(let b)): return a === b
    case (.function(let a), .function(let b)): return a == b
    default:
      if let a = a.index, let b = b.index { return a == b }
      if let x = a.number, let y = b.number {
        // A Double has no room for every integer.
        if let a = a.index { return Int128(exactly: y) == a }
        if let b = b.index { return Int128(exactly: x) == b }
        return x == y
      }
      return false
    }
  }

  private func areEqual(_ a: JinjaDictionary, _ b: JinjaDictionary) throws(JinjaError) -> Bool {
    guard a.entries.count == b.entries.count else { return false }
    try spend(a.entries.count)
    for (key, value) in a.entries {
      guard let other = b[try self.key(key)], try areEqual(value, other) else { return false }
    }
    return true
  }

  private func precedesOrEquals(_ a: JinjaValue, _ b: JinjaValue, _ symbol: String) throws(JinjaError) -> Bool {
    // Not the opposite of the other order, because of numbers that are none.
    if a.number?.isNaN == true || b.number?.isNaN == true { return false }
    return !(try precedes(b, a, symbol))
  }

  /// Whether `a` comes before `b`.
  func precedes(_ a: JinjaValue, _ b: JinjaValue, _ symbol: String = "<") throws(JinjaError) -> Bool {
    if let fault = undefinedError(a) ?? undefinedError(b) { throw fault }
    switch (a, b) {
    case (.text(let a), .text(let b)):
      try spend(characters: min(a.count, b.count))
      return a < b
    case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
      try spend(min(a.items.count, b.items.count))
      for (left, right) in zip(a.items, b.items) {
        if !(try areEqual(left, right)) { return try precedes(left, right, symbol) }
      }
      return a.items.count < b.items.count
    default:
      if let a = a.index, let b = b.index { return a < b }
      if let a = a.number, let b = b.number { return a < b }
      throw error("the operands of \(symbol) are \(a.noun) and \(b.noun); expected two numbers or two strings")
    }
  }

  /// Whether `container` has `item`.
  func contains(_ container: JinjaValue, _ item: JinjaValue) throws(JinjaError) -> Bool {
    switch container {
    case .text(let text):
      let part = try textArgument(item, "in a string")
      return try find(part, in: text, from: 0) != nil
    case .dictionary(let dictionary): return dictionary[try key(item)] != nil
    case .view(let view) where view.kind == .keys: return view.dictionary[try key(item)] != nil
    case .range(let range):
      guard let number = item.number, let value = Int(exactly: number), range.count > 0 else { return false }
      let (low, high) = (min(range.start, range[range.count - 1]), max(range.start, range[range.count - 1]))
      return low...high ~= value && (value - range.start) % range.step == 0
    default:
      let iterator = try iterator(over: container)
      while let next = try iterator.next(self) {
        if try areEqual(next, item) { return true }
      }
      return false
    }
  }

  func key(_ value: JinjaValue) throws(JinjaError) -> JinjaKey {
    guard let key = try keyIfHashable(value) else {
      throw error("a key is \(value.noun); expected a string or number")
    }
    return key
  }

  /// The value as a key; nil for lists and dictionaries, and for tuples with them.
  func keyIfHashable(_ value: JinjaValue) throws(JinjaError) -> JinjaKey? {
    switch value {
    case .text(let text): try spend(characters: text.count)
    case .tuple(let list):
      var keys: [JinjaKey] = []
      for item in list.items {
        try spend(1)
        guard let key = try keyIfHashable(item) else { return nil }
        keys.append(key)
      }
      return .tuple(keys)
    default: break
    }
    return JinjaKey(simple: value)
  }

  // MARK: - Items

  /// The items of a value that has some.
  func iterator(over value: JinjaValue) throws(JinjaError) -> JinjaIterator {
    switch value {
    case .undefined: return JinjaIterator([])
    case .text(let text): return JinjaIterator(text)
    case .list(let list), .tuple(let list): return JinjaIterator(list.items, depth: list.depth)
    case .dictionary(let dictionary):
      try spend(items: dictionary.entries.count)
      return JinjaIterator(dictionary.entries.map(\.key))
    case .view(let view):
      try spend(items: view.dictionary.entries.count)
      return JinjaIterator(view.items)
    case .range(let range): return JinjaIterator(range)
    case .iterator(let iterator): return iterator
    default: throw error("\(value.noun) has no items; expected a list, a dictionary or a string")
    }
  }

  func items(of value: JinjaValue) throws(JinjaError) -> [JinjaValue] {
    switch value {
    case .list(let list), .tuple(let list):
      try spend(list.items.count)
      return list.items
    default: return try iterator(over: value).rest(self)
    }
  }

  /// The number of items, for values that know it.
  func knownCount(of value: JinjaValue) -> Int? {
    switch value {
    case .undefined: 0
    case .text(let text): text.count
    case .list(let list), .tuple(let list): list.items.count
    case .dictionary(let dictionary): dictionary.entries.count
    case .view(let view): view.dictionary.entries.count
    case .range(let range): range.count
    default: nil
    }
  }

  /// The part of a list or text between two positions.
  func slice(
    _ value: JinjaValue, from start: JinjaValue, to end: JinjaValue, by step: JinjaValue
  ) throws(JinjaError) -> JinjaValue {
    func bound(_ value: JinjaValue) throws(JinjaError) -> Int? {
      if case .none = value { return nil }
      guard let index = value.index else {
        throw undefinedError(value) ?? error("a bound of [:] is \(value.noun); expected an integer or none")
      }
      return Int(clamping: index)
    }
    if let fault = undefinedError(value) { throw fault }
    let sliced: [JinjaText.Unit]?
    let items: [JinjaValue]
    let count: Int
    switch value {
    case .text(let text): (sliced, items, count) = (text.units, [], text.count)
    case .list(let list), .tuple(let list): (sliced, items, count) = (nil, list.items, list.items.count)
    case .range(let range): (sliced, items, count) = (nil, [], range.count)
    default: throw error("[:] follows \(value.noun); expected a list or a string")
    }
    let step = try bound(step) ?? 1
    if step == 0 { throw error("the step of [:] is 0; expected another number") }
    func position(_ value: Int?, _ standard: Int) -> Int {
      guard let value else { return standard }
      let index = value < 0 ? max(value, -count - 1) + count : value
      return step > 0 ? min(max(index, 0), count) : min(max(index, -1), count - 1)
    }
    let first = position(try bound(start), step > 0 ? 0 : count - 1)
    let last = position(try bound(end), step > 0 ? count : -1)
    // A step beyond the ends takes one item.
    let indices = stride(from: first, to: last, by: min(max(step, -count - 1), count + 1))
    if case .range(let range) = value {
      return .range(
        JinjaRange(
          start: range.start + first * range.step, stop: range.start + last * range.step,
          step: range.step * min(max(step, -count - 1), count + 1)))
    }
    if let sliced {
      guard case .text(let text) = value else { return value }
      try spend(characters: count)
      let units = step == 1 ? Array(sliced[first..<max(first, last)]) : indices.map { sliced[$0] }
      return .text(JinjaText(units: units, isSafe: text.isSafe))
    }
    try spend(items: count)
    let part = step == 1 ? Array(items[first..<max(first, last)]) : indices.map { items[$0] }
    if case .tuple = value { return try tuple(part) }
    return try list(part)
  }

  /// The place of `part` at or after `start`, in characters.
  func find(_ part: JinjaText, in text: JinjaText, from start: Int, to end: Int? = nil) throws(JinjaError) -> Int? {
    let end = end ?? text.count
    guard start <= end, part.count <= end - start else { return nil }
    guard let first = part.units.first else { return start }
    var at = start
    while at <= end - part.count {
      let next = text.units[at...(end - part.count)].firstIndex { ($0 ^ first) & JinjaText.scalarMask == 0 }
      try spend(characters: (next ?? end) - at)
      guard let next else { return nil }
      var length = 1
      while length < part.count, (text.units[next + length] ^ part.units[length]) & JinjaText.scalarMask == 0 {
        length += 1
      }
      try spend(length / 8)
      if length == part.count { return next }
      at = next + 1
    }
    return nil
  }
}

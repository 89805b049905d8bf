/// Values that must satisfy several subschemas at once: their numbers in the tree, ascending. None allows every value.
typealias Goal = [Int32]

extension Goal {
  /// The number of the schema `false`.
  static let impossible: Int32 = -1
  static let anything: Goal = []

  func joined(with other: Goal) -> Goal { Set(self + other).sorted() }
  var isImpossible: Bool { first == Goal.impossible }
}

/// The types of JSON values. Numbers that must be integers and others are two of them.
struct TypeSet: OptionSet {
  let rawValue: UInt8
  static let null = TypeSet(rawValue: 1)
  static let boolean = TypeSet(rawValue: 2)
  static let integer = TypeSet(rawValue: 4)
  static let fraction = TypeSet(rawValue: 8)
  static let string = TypeSet(rawValue: 16)
  static let array = TypeSet(rawValue: 32)
  static let object = TypeSet(rawValue: 64)
  static let all = TypeSet(rawValue: 127)
  static let number: TypeSet = [.integer, .fraction]

  init(rawValue: UInt8) { self.rawValue = rawValue }

  init?(name: String) {
    switch name {
    case "null": self = .null
    case "boolean": self = .boolean
    case "integer": self = .integer
    case "number": self = .number
    case "string": self = .string
    case "array": self = .array
    case "object": self = .object
    default: return nil
    }
  }
}

/// One alternative of a schema: keywords that a value must all satisfy.
struct SchemaForm {
  struct Property {
    var name: String
    var goal: Goal
  }

  var types = TypeSet.all
  struct Value {
    var type: TypeSet
    /// As JSON.
    var text: [UInt8]
    /// Its number in the tree.
    var number: Int32
  }
  /// The values of enum and const; nil where any value will do.
  var values: [Value]?
  /// Whether keywords beside type, enum and const restrict values.
  var restricts = false

  var shortest: Int32 = 0
  var longest = ExpressionTable.unbounded
  /// Patterns with the numbers of their values, and formats.
  var patterns: [(text: String, value: Int32)] = []

  var range = NumberRange()
  var divisor = 1

  var prefix: [Goal] = []
  var items = Goal.anything
  var hasItems = false
  var fewestItems: Int32 = 0
  var mostItems = ExpressionTable.unbounded

  var properties: [Property] = []
  var required: [String] = []
  var additional = Goal.anything
  var hasAdditional = false
  var fewestProperties: Int32 = 0
  var mostProperties = ExpressionTable.unbounded

  func goal(of name: String) -> Goal { properties.first { $0.name == name }?.goal ?? additional }
  func goal(at place: Int) -> Goal { place < prefix.count ? prefix[place] : items }

  /// What satisfies both; nil if nothing does, as far as types and values show.
  func merged(with other: SchemaForm) -> SchemaForm? {
    var result = self
    result.types.formIntersection(other.types)
    guard !result.types.isEmpty else { return nil }
    if let a = values, let b = other.values {
      let texts = Set(b.map(\.text))
      result.values = a.filter { texts.contains($0.text) }
    } else {
      result.values = values ?? other.values
    }
    result.restricts = restricts || other.restricts
    result.shortest = max(shortest, other.shortest)
    result.longest = min(longest, other.longest)
    result.patterns += other.patterns.filter { pattern in !patterns.contains { $0.text == pattern.text } }
    if let bound = other.range.least { result.range.raise(to: bound) }
    if let bound = other.range.most { result.range.lower(to: bound) }
    result.divisor = divisor / Self.commonDivisor(divisor, other.divisor) * other.divisor
    result.prefix = (0..<max(prefix.count, other.prefix.count)).map { goal(at: $0).joined(with: other.goal(at: $0)) }
    result.items = items.joined(with: other.items)
    result.hasItems = hasItems || other.hasItems
    result.fewestItems = max(fewestItems, other.fewestItems)
    result.mostItems = min(mostItems, other.mostItems)
    let names = Set(properties.map(\.name))
    result.properties =
      properties.map { Property(name: $0.name, goal: $0.goal.joined(with: other.goal(of: $0.name))) }
      + other.properties.filter { !names.contains($0.name) }.map {
        Property(name: $0.name, goal: $0.goal.joined(with: additional))
      }
    result.required += other.required.filter { !required.contains($0) }
    result.additional = additional.joined(with: other.additional)
    result.hasAdditional = hasAdditional || other.hasAdditional
    result.fewestProperties = max(fewestProperties, other.fewestProperties)
    result.mostProperties = min(mostProperties, other.mostProperties)
    return result
  }

  private static func commonDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : commonDivisor(b, a % b) }
}

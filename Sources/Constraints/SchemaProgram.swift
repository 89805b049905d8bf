/// Schemas made into expressions, goal by goal as texts get there.
struct SchemaProgram {
  /// What the values of a goal can be, one alternative of keywords.
  private struct Shape {
    /// Nulls, Booleans, numbers, strings, and values that are listed.
    var scalars = ExpressionTable.never
    var array: ArrayShape?
    var object: ObjectShape?
  }
  private struct ArrayShape {
    var prefix: [Int32]
    var items: Int32
    var fewest: Int32
    var most: Int32
  }
  private struct ObjectShape {
    /// `key`: the name as JSON, with the colon.
    var properties: [(key: [UInt8], goal: Int32, isRequired: Bool)]
    /// The goal of further properties, and what their names may be; nil if there are none.
    var additional: (goal: Int32, name: Expression)?
    var fewest: Int32
    var most: Int32
  }

  private var reader: SchemaReader
  private let tree: SchemaTree
  /// The expressions of all scalars.
  private(set) var table = ExpressionTable()
  private var goals: [Goal] = []
  private var numbers: [Goal: Int32] = [:]
  private var shapes: [[Shape]] = []
  /// Whether a goal may be inside its own values.
  private var isRecursive: [Bool] = []
  /// How many recursions the smallest value of a goal needs; the largest number if it has no finite value.
  private var recursions: [Int32] = []
  private var patterns: [String: ByteAutomaton?] = [:]
  private var anyName: ByteAutomaton?
  private var anyNameExpression = ExpressionTable.never

  /// Reads all schemas that the roots lead to.
  ///
  /// - Parameter roots: schemas in the tree.
  init(_ tree: SchemaTree, roots: [Int32]) throws(ConstraintError) {
    self.tree = tree
    reader = SchemaReader(tree)
    let unescaped = RegularPattern.characters([0x20...0x21, 0x23...0x5B, 0x5D...0x10FFFF])
    anyName = try? RegularPattern.repetition(unescaped, least: 1, most: nil).stringAutomaton()
    anyNameExpression = table.automaton(anyName)
    for root in roots { _ = try number(of: [root]) }
    while shapes.count < goals.count {
      let goal = goals[shapes.count]
      var list: [Shape] = []
      for form in try reader.forms(of: goal) { list.append(try shape(form, goal)) }
      shapes.append(list)
    }
    findRecursion()
    countRecursions()
    for root in roots where recursions[Int(numbers[[root]]!)] == .max {
      throw tree.error(root, found: "satisfied by no value", expected: "a schema that a finite value satisfies")
    }
  }

  private mutating func number(of goal: Goal) throws(ConstraintError) -> Int32 {
    if let number = numbers[goal] { return number }
    guard goals.count < SchemaLimits.goals else {
      throw ConstraintError(
        subject: "the schema", found: "of more than \(SchemaLimits.goals) parts", expected: "a smaller one")
    }
    let number = Int32(goals.count)
    goals.append(goal)
    numbers[goal] = number
    return number
  }

  // MARK: Shapes

  private mutating func shape(_ form: SchemaForm, _ goal: Goal) throws(ConstraintError) -> Shape {
    var shape = Shape()
    if let values = form.values {
      var texts: [[UInt8]] = []
      for value in values where try accepts(form, value.number, value.type) { texts.append(value.text) }
      shape.scalars = table.automaton(ByteAutomaton(texts: texts))
      return shape
    }
    var scalars: [Expression] = []
    if form.types.contains(.null) { scalars.append(table.text("null")) }
    if form.types.contains(.boolean) { scalars += [table.text("true"), table.text("false")] }
    if !form.types.isDisjoint(with: .number) { scalars.append(try numberExpression(form, goal)) }
    if form.types.contains(.string) { scalars.append(try string(form)) }
    shape.scalars = table.alternatives(scalars)
    if form.types.contains(.array) {
      var prefix: [Int32] = []
      for goal in form.prefix { prefix.append(try number(of: goal)) }
      shape.array = ArrayShape(
        prefix: prefix, items: try number(of: form.items), fewest: form.fewestItems, most: form.mostItems)
    }
    if form.types.contains(.object) { shape.object = try object(form, goal) }
    return shape
  }

  private mutating func numberExpression(_ form: SchemaForm, _ goal: Goal) throws(ConstraintError) -> Expression {
    if !form.types.contains(.fraction) || form.divisor > 1 {
      let integers = form.range.integers.map { table.integers($0) } ?? ExpressionTable.never
      guard form.divisor > 1, integers != ExpressionTable.never else { return integers }
      do { return try table.multiples(of: form.divisor, among: integers) } catch {
        throw refusal(goal, "with a multipleOf too large for its range", "a smaller one")
      }
    }
    if form.range == NumberRange() { return table.numbers() }
    guard let numbers = table.numbers(form.range) else {
      throw refusal(goal, "with bounds of too many digits", "bounds of at most 15 digits in all")
    }
    return numbers
  }

  private func refusal(_ goal: Goal, _ found: String, _ expected: String) -> ConstraintError {
    guard let number = goal.first, number >= 0 else {
      return ConstraintError(subject: "the schema", found: found, expected: expected)
    }
    return tree.error(number, found: found, expected: expected)
  }

  private mutating func string(_ form: SchemaForm) throws(ConstraintError) -> Expression {
    guard let first = form.patterns.first else {
      return table.text("\"", then: table.content(least: form.shortest, most: form.longest))
    }
    var automaton = try pattern(first)
    do throws(ByteAutomaton.TooLarge) {
      for other in form.patterns.dropFirst() {
        let second = try? pattern(other)
        automaton = try automaton.flatMap { first throws(ByteAutomaton.TooLarge) in
          try (second ?? nil).flatMap { second throws(ByteAutomaton.TooLarge) in try first.intersection(second) }
        }
      }
      if form.shortest > 0 || form.longest != ExpressionTable.unbounded, let found = automaton {
        guard let lengths = StringContent.lengths(form.shortest, form.longest) else { throw .init() }
        automaton = try found.intersection(lengths)
      }
    } catch {
      throw tree.error(
        first.value, found: "too large together with the other keywords",
        expected: "a smaller one, or lengths up to \(StringContent.longestCounted)")
    }
    return table.automaton(automaton)
  }

  private mutating func pattern(_ pattern: (text: String, value: Int32)) throws(ConstraintError) -> ByteAutomaton? {
    if let known = patterns[pattern.text] { return known }
    guard patterns.count < SchemaLimits.patterns else {
      throw tree.error(
        pattern.value, found: "one of more than \(SchemaLimits.patterns) patterns and formats", expected: "fewer")
    }
    do throws(RegularPattern.Refusal) {
      let automaton = try RegularPattern.occurring(pattern.text).stringAutomaton()
      patterns[pattern.text] = .some(automaton)
      return automaton
    } catch {
      throw tree.error(pattern.value, found: error.found, expected: error.expected)
    }
  }

  private mutating func object(_ form: SchemaForm, _ goal: Goal) throws(ConstraintError) -> ObjectShape {
    var form = form
    let declared = Set(form.properties.map(\.name))
    var known = declared
    for name in form.required where known.insert(name).inserted {
      form.properties.append(.init(name: name, goal: form.additional))
    }
    let required = Set(form.required)
    var properties: [(key: [UInt8], goal: Int32, isRequired: Bool)] = []
    for property in form.properties {
      properties.append(
        (
          SchemaTree.serialized(property.name) + [UInt8(ascii: ":")], try number(of: property.goal),
          required.contains(property.name)
        ))
    }
    var additional: (goal: Int32, name: Expression)?
    // Without the keyword, an object has the properties that the schema names.
    if form.hasAdditional || declared.isEmpty, !form.additional.isImpossible {
      additional = (try number(of: form.additional), try names(besides: form.properties.map(\.name), goal))
    }
    let bound = form.mostProperties == ExpressionTable.unbounded ? form.fewestProperties : form.mostProperties
    guard Int(min(bound, 1 << 20)) * (properties.count + 1) <= 100_000 else {
      throw refusal(goal, "with too large a number of properties", "a smaller minProperties or maxProperties")
    }
    return ObjectShape(
      properties: properties, additional: additional, fewest: form.fewestProperties, most: form.mostProperties)
  }

  private mutating func names(besides names: [String], _ goal: Goal) throws(ConstraintError) -> Expression {
    guard !names.isEmpty, let taken = ByteAutomaton(texts: names.map { SchemaTree.serialized($0) }) else {
      return anyNameExpression
    }
    do { return table.automaton(try anyName!.subtracting(taken)) } catch {
      throw refusal(goal, "with too long names of properties beside additionalProperties", "fewer or shorter ones")
    }
  }

  // MARK: Values that are listed

  /// Whether a value of the tree satisfies a form's keywords.
  private mutating func accepts(_ form: SchemaForm, _ value: Int32, _ type: TypeSet) throws(ConstraintError) -> Bool {
    guard !form.types.isDisjoint(with: type) else { return false }
    guard form.restricts else { return true }
    switch tree[value] {
    case .null, .bool: return true
    case .number(let text):
      guard let bound = Bound(text, isExclusive: false) else { return false }
      var range = form.range
      range.raise(to: bound)
      range.lower(to: bound)
      let isMultiple = form.divisor == 1 || bound.units % (Int128(form.divisor) * Bound.one) == 0
      return isMultiple && range.least == bound && range.most == bound
    case .string(let text):
      let length = text.unicodeScalars.count
      guard length >= form.shortest, length <= form.longest else { return false }
      let bytes = SchemaTree.serialized(text)
      for keyword in form.patterns {
        guard let automaton = try pattern(keyword), automaton.accepts(bytes) else { return false }
      }
      return true
    case .array(let elements):
      guard elements.count >= form.fewestItems, elements.count <= form.mostItems else { return false }
      for (place, element) in elements.enumerated() {
        guard try accepts(form.goal(at: place), element) else { return false }
      }
      return true
    case .object(let members):
      guard members.count >= form.fewestProperties, members.count <= form.mostProperties else { return false }
      for name in form.required where !members.contains(where: { $0.name == name }) { return false }
      for (name, member) in members { guard try accepts(form.goal(of: name), member) else { return false } }
      return true
    }
  }

  private mutating func accepts(_ goal: Goal, _ value: Int32) throws(ConstraintError) -> Bool {
    guard !goal.isEmpty else { return true }
    let listed = SchemaReader.listed(tree, value)
    for form in try reader.forms(of: goal) {
      if let values = form.values, !values.contains(where: { $0.text == listed.text }) { continue }
      if try accepts(form, value, listed.type) { return true }
    }
    return false
  }

  // MARK: Recursion

  private func children(_ shape: Shape) -> [Int32] {
    (shape.array.map { $0.prefix + [$0.items] } ?? [])
      + (shape.object.map { $0.properties.map(\.goal) + ($0.additional.map { [$0.goal] } ?? []) } ?? [])
  }

  /// Marks the goals that lie on circles, or between two of them.
  private mutating func findRecursion() {
    let below = shapes.map { Set($0.flatMap { children($0) }) }
    var above = [[Int32]](repeating: [], count: goals.count)
    for (goal, list) in below.enumerated() { for child in list { above[Int(child)].append(Int32(goal)) } }
    isRecursive = [Bool](repeating: true, count: goals.count)
    // Goals without remaining children, and then those without remaining parents, are on no circle.
    func peel(_ out: [[Int32]], _ back: [[Int32]]) {
      var left = out.indices.map { goal in out[goal].count { isRecursive[Int($0)] } }
      var open = left.indices.filter { left[$0] == 0 && isRecursive[$0] }
      while let goal = open.popLast() {
        isRecursive[goal] = false
        for other in back[goal] where isRecursive[Int(other)] {
          left[Int(other)] -= 1
          if left[Int(other)] == 0 { open.append(Int(other)) }
        }
      }
    }
    let lists = below.map { Array($0) }
    peel(lists, above)
    peel(above, lists)
  }

  private mutating func countRecursions() {
    recursions = [Int32](repeating: .max, count: goals.count)
    var hasChanged = true
    while hasChanged {
      hasChanged = false
      // Children have mostly been found after their parents.
      for goal in goals.indices.reversed() {
        let least = shapes[goal].map { needs($0) }.min() ?? .max
        let count = least == .max ? least : least + (isRecursive[goal] ? 1 : 0)
        if count < recursions[goal] { (recursions[goal], hasChanged) = (count, true) }
      }
    }
  }

  private func needs(_ shape: Shape) -> Int32 {
    if shape.scalars != ExpressionTable.never { return 0 }
    var least = Int32.max
    if let array = shape.array, array.fewest <= array.most {
      let elements = array.prefix.prefix(Int(array.fewest))
      var most = elements.map { recursions[Int($0)] }.max() ?? 0
      if array.fewest > array.prefix.count { most = max(most, recursions[Int(array.items)]) }
      least = min(least, most)
    }
    if let object = shape.object, object.fewest <= object.most {
      var needed = object.properties.filter(\.isRequired).map { recursions[Int($0.goal)] }
      // Those that must be there, though none in particular, are the cheapest ones.
      let others = object.properties.filter { !$0.isRequired }.map { recursions[Int($0.goal)] }.sorted()
      let missing = max(0, Int(object.fewest) - needed.count)
      let further = object.additional.map { recursions[Int($0.goal)] } ?? .max
      needed += others.prefix(missing).map { min($0, further) }
      if missing > others.count { needed.append(further) }
      if needed.count <= Int(object.most) || object.most == ExpressionTable.unbounded {
        least = min(least, needed.max() ?? 0)
      }
    }
    return least
  }

  // MARK: Expressions

  /// The values of a root.
  func root(_ number: Int32, in table: inout ExpressionTable) -> Expression {
    let goal = numbers[[number]]!
    return value(goal, recursions[Int(goal)] + Int32(SchemaLimits.recursion), in: &table)
  }

  private func value(_ goal: Int32, _ left: Int32, in table: inout ExpressionTable) -> Expression {
    guard recursions[Int(goal)] <= left else { return ExpressionTable.never }
    let shapes = shapes[Int(goal)]
    if shapes.allSatisfy({ $0.array == nil && $0.object == nil }) {
      return table.alternatives(shapes.map(\.scalars))
    }
    return table.goal(goal, recursions: left)
  }

  /// The expression of a goal with so many recursions left.
  func body(_ table: inout ExpressionTable, _ goal: Int32, _ left: Int32) -> Expression {
    let left = isRecursive[Int(goal)] ? left - 1 : left
    var parts: [Expression] = []
    for shape in shapes[Int(goal)] {
      parts.append(shape.scalars)
      if let array = shape.array { parts.append(expression(array, left, in: &table)) }
      if let object = shape.object { parts.append(expression(object, left, in: &table)) }
    }
    return table.alternatives(parts)
  }

  /// White space between two parts of an array or object: none, a space, or a new line with up to 20 spaces.
  private func space(_ table: inout ExpressionTable) -> Expression {
    let indent = table.repetition(table.text(" "), least: 0, most: 20)
    return table.alternatives([ExpressionTable.empty, table.text(" "), table.text("\n", then: indent)])
  }

  private func separator(_ table: inout ExpressionTable, then rest: Expression) -> Expression {
    table.text(",", then: table.chain(space(&table), rest))
  }

  private func fewer(_ most: Int32, by count: Int32) -> Int32 {
    most == ExpressionTable.unbounded ? most : most - count
  }

  private func expression(_ array: ArrayShape, _ left: Int32, in table: inout ExpressionTable) -> Expression {
    let end = table.chain(space(&table), table.text("]"))
    let items = value(array.items, left, in: &table)
    let given = Int32(array.prefix.count)
    // What follows so many elements, from the last one given one by one back to none.
    var rest: Expression
    if given == 0 {
      var parts = array.fewest == 0 ? [table.text("]")] : []
      if array.most > 0 {
        let more = table.repetition(
          separator(&table, then: items), least: max(0, array.fewest - 1), most: fewer(array.most, by: 1))
        parts.append(table.chain(items, table.chain(more, end)))
      }
      rest = table.alternatives(parts)
    } else {
      let more = table.repetition(
        separator(&table, then: items), least: max(0, array.fewest - given),
        most: max(0, fewer(array.most, by: given)))
      rest = array.most < given ? ExpressionTable.never : table.chain(more, end)
      for place in stride(from: given - 1, through: 0, by: -1) {
        let element = value(array.prefix[Int(place)], left, in: &table)
        var parts: [Expression] = []
        if place < array.most {
          let next = table.chain(element, rest)
          parts.append(place == 0 ? next : separator(&table, then: next))
        }
        if place >= array.fewest, place <= array.most { parts.append(place == 0 ? table.text("]") : end) }
        rest = table.alternatives(parts)
      }
    }
    return table.text("[", then: table.chain(space(&table), rest))
  }

  private func expression(_ object: ObjectShape, _ left: Int32, in table: inout ExpressionTable) -> Expression {
    let end = table.chain(space(&table), table.text("}"))
    let colonSpace = table.optional(table.text(" "))
    // Properties written are counted as far as that matters.
    let cap = max(1, object.most == ExpressionTable.unbounded ? object.fewest : object.most)
    var further = ExpressionTable.never
    if let additional = object.additional {
      let value = value(additional.goal, left, in: &table)
      further = table.chain(additional.name, table.text(":", then: table.chain(colonSpace, value)))
    }
    // By how many are written: the members that may come next, and whether the object may end instead. At first for
    // the place at which no named property is left.
    var next = (0...cap).map { written -> Expression in
      guard written < object.most else { return ExpressionTable.never }
      let more = table.repetition(
        separator(&table, then: further), least: max(0, object.fewest - written - 1),
        most: fewer(object.most, by: written + 1))
      return table.chain(further, table.chain(more, end))
    }
    var mayEnd = (0...cap).map { $0 >= object.fewest && $0 <= object.most }
    func rest(_ written: Int) -> Expression {
      var parts = [separator(&table, then: next[written])]
      if mayEnd[written] { parts.append(end) }
      return table.alternatives(parts)
    }
    for property in object.properties.reversed() {
      let value = value(property.goal, left, in: &table)
      let member = table.text(property.key, then: table.chain(colonSpace, value))
      let rests = (0...Int(cap)).map { rest($0) }
      for written in 0...Int(cap) {
        var parts = property.isRequired ? [] : [next[written]]
        if object.most == ExpressionTable.unbounded || written < object.most {
          parts.append(table.chain(member, rests[min(Int(cap), written + 1)]))
        }
        next[written] = table.alternatives(parts)
        if property.isRequired { mayEnd[written] = false }
      }
    }
    let first = table.alternatives(mayEnd[0] ? [table.text("}"), next[0]] : [next[0]])
    return table.text("{", then: table.chain(space(&table), first))
  }
}

extension ByteAutomaton {
  func accepts(_ bytes: [UInt8]) -> Bool {
    var state: Int32 = 0
    for byte in bytes {
      guard let next = next(state, byte) else { return false }
      state = next
    }
    return isAccepting[Int(state)]
  }
}

extension StringContent {
  /// The longest bound of a length that an automaton counts to.
  static let longestCounted = 1000

  /// The automaton of strings with so many characters; nil beyond `longestCounted`.
  static func lengths(_ least: Int32, _ most: Int32) -> ByteAutomaton? {
    let isBounded = most != ExpressionTable.unbounded
    let cap = Int(isBounded ? most : least)
    guard cap <= longestCounted, least <= longestCounted else { return nil }
    // 0: before the opening quote; 1: after the closing one; then the content's states for each count.
    func place(_ count: Int, _ state: Int32) -> Int32 { Int32(2 + count * states) + state }
    var edges: [[ByteAutomaton.Edge]] = [[.init(first: quote, last: quote, target: place(0, 0))], []]
    for count in 0...cap {
      for state in 0..<Int32(states) {
        var list: [ByteAutomaton.Edge] = []
        for byte in UInt8.min...UInt8.max {
          var target: Int32?
          if state == 0, byte == quote {
            if count >= least { target = 1 }
          } else if let next = next(state, byte), count < cap || !isBounded {
            target = next == 0 ? place(min(cap, count + 1), 0) : place(count, next)
          }
          guard let target else { continue }
          if let last = list.last, last.target == target, last.last == byte - 1 {
            list[list.count - 1].last = byte
          } else {
            list.append(.init(first: byte, last: byte, target: target))
          }
        }
        edges.append(list)
      }
    }
    return ByteAutomaton(edges: edges, isAccepting: edges.indices.map { $0 == 1 })
  }
}

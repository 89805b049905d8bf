/// Reads the schemas of a tree into alternatives of keywords.
struct SchemaReader {
  let tree: SchemaTree
  private var known: [Int32: [SchemaForm]] = [:]
  /// Schemas that are being read, from the outermost in.
  private var open: [Int32] = []
  private var propertyCount = 0
  /// Comparisons of names in merged keywords so far.
  private var work = 0

  init(_ tree: SchemaTree) { self.tree = tree }

  /// Keywords that say nothing about which values are valid.
  private static let notes: Set<String> = [
    "title", "description", "default", "examples", "example", "$schema", "$id", "id", "$comment", "deprecated",
    "readOnly", "writeOnly", "$defs", "definitions", "$anchor", "$vocabulary", "contentEncoding", "contentMediaType",
    "contentSchema", "discriminator", "externalDocs", "xml", "strict",
  ]

  /// The alternatives of values that satisfy all schemas of a goal.
  mutating func forms(of goal: Goal) throws(ConstraintError) -> [SchemaForm] {
    if goal.isImpossible { return [] }
    var result = [SchemaForm()]
    for number in goal { result = try product(result, read(number), number) }
    return result
  }

  private mutating func product(
    _ a: [SchemaForm], _ b: [SchemaForm], _ number: Int32
  ) throws(ConstraintError) -> [SchemaForm] {
    try countWork(a, b, number)
    guard a.count * b.count <= SchemaLimits.alternatives else {
      throw tree.error(
        number, found: "one of \(a.count * b.count) combinations of alternatives",
        expected: "at most \(SchemaLimits.alternatives)")
    }
    return a.flatMap { first in b.compactMap { first.merged(with: $0) } }
  }

  /// Keeps the work on pairs of alternatives within its limit.
  private mutating func countWork(
    _ a: [SchemaForm], _ b: [SchemaForm], _ number: Int32
  ) throws(ConstraintError) {
    func names(_ forms: [SchemaForm]) -> Int { forms.reduce(0) { $0 + 1 + $1.properties.count + $1.required.count } }
    work += names(a) * names(b)
    guard work <= SchemaLimits.comparisons else {
      throw tree.error(number, found: "part of too many combinations", expected: "fewer alternatives or properties")
    }
  }

  private mutating func read(_ number: Int32) throws(ConstraintError) -> [SchemaForm] {
    if let forms = known[number] { return forms }
    switch tree[number] {
    case .bool(let allows): return allows ? [SchemaForm()] : []
    case .object(let members):
      guard !open.contains(number) else {
        throw tree.error(number, found: "a reference to itself", expected: "a type on the way to the next reference")
      }
      guard open.count < SchemaLimits.indirection else {
        throw tree.error(
          number, found: "behind \(open.count) references", expected: "at most \(SchemaLimits.indirection)")
      }
      open.append(number)
      defer { open.removeLast() }
      let forms = try read(members, of: number)
      known[number] = forms
      return forms
    default: throw tree.error(number, expected: "a JSON schema: an object, true or false")
    }
  }

  private mutating func read(
    _ members: [(name: String, value: Int32)], of number: Int32
  ) throws(ConstraintError) -> [SchemaForm] {
    var form = SchemaForm()
    var isNullable = false
    var combined: [[SchemaForm]] = []
    for (name, value) in members {
      switch name {
      case "type": form.types = try types(value)
      case "nullable":
        guard case .bool(let flag) = tree[value] else { throw tree.error(value, expected: "true or false") }
        isNullable = flag
      case "enum": try restrict(&form, to: elements(value, expected: "an array of one or more values"))
      case "const": restrict(&form, to: [value])
      case "$ref":
        guard case .string(let reference) = tree[value] else { throw tree.error(value, expected: "a string") }
        combined.append(try read(tree.resolve(reference, from: value)))
      case "allOf":
        for schema in try elements(value, expected: Self.schemas) { combined.append(try read(schema)) }
      case "anyOf": combined.append(try alternatives(value))
      case "oneOf":
        combined.append(try alternatives(value))
        try requireDisjoint(value)
      case let note where Self.notes.contains(note) || note.hasPrefix("x-"): break
      default:
        form.restricts = true
        try readValue(name, value, into: &form, number)
      }
    }
    try closeTuple(&form, number)
    var forms = [form]
    for alternatives in combined { forms = try product(forms, alternatives, number) }
    if isNullable, !forms.contains(where: { $0.types.contains(.null) && $0.values == nil }) {
      var null = SchemaForm()
      null.types = .null
      forms.append(null)
    }
    return forms
  }

  private mutating func alternatives(_ number: Int32) throws(ConstraintError) -> [SchemaForm] {
    var forms: [SchemaForm] = []
    for schema in try elements(number, expected: Self.schemas) { forms += try read(schema) }
    guard forms.count <= SchemaLimits.alternatives else {
      throw tree.error(
        number, found: "\(forms.count) alternatives", expected: "at most \(SchemaLimits.alternatives)")
    }
    return forms
  }

  private static let schemas = "an array of one or more schemas"

  private func elements(_ number: Int32, expected: String) throws(ConstraintError) -> [Int32] {
    guard case .array(let elements) = tree[number], !elements.isEmpty else {
      throw tree.error(number, expected: expected)
    }
    return elements
  }

  private func types(_ number: Int32) throws(ConstraintError) -> TypeSet {
    let expected = "null, boolean, integer, number, string, array or object, or an array of these"
    var result: TypeSet = []
    let names = if case .array(let elements) = tree[number] { elements } else { [number] }
    for name in names {
      guard case .string(let text) = tree[name], let type = TypeSet(name: text) else {
        throw tree.error(name, expected: expected)
      }
      result.formUnion(type)
    }
    guard !result.isEmpty else { throw tree.error(number, expected: expected) }
    return result
  }

  private func restrict(_ form: inout SchemaForm, to values: [Int32]) {
    let values = values.map { Self.listed(tree, $0) }
    guard let before = form.values else {
      form.values = values
      return
    }
    let texts = Set(values.map(\.text))
    form.values = before.filter { texts.contains($0.text) }
  }

  /// A value as it is listed.
  static func listed(_ tree: SchemaTree, _ value: Int32) -> SchemaForm.Value {
    let text = tree.serialized(value)
    let type: TypeSet =
      switch tree[value] {
      case .null: .null
      case .bool: .boolean
      case .string: .string
      case .array: .array
      case .object: .object
      case .number: .fraction
      }
    // 1.0 is the integer 1.
    if type == .fraction, let bound = Bound(text, isExclusive: false), bound.units % Bound.one == 0 {
      return .init(type: .integer, text: Array(String(bound.units / Bound.one).utf8), number: value)
    }
    return .init(type: type, text: text, number: value)
  }

  /// The keyword items, or additionalItems, of a list whose first items are given one by one: without it, such a list
  /// ends with them.
  private func closeTuple(_ form: inout SchemaForm, _ number: Int32) throws(ConstraintError) {
    guard !form.prefix.isEmpty, !form.hasItems else { return }
    form.mostItems = min(form.mostItems, max(Int32(form.prefix.count), form.fewestItems))
  }

  // MARK: Keywords of a type

  private mutating func readValue(
    _ name: String, _ value: Int32, into form: inout SchemaForm, _ number: Int32
  ) throws(ConstraintError) {
    switch name {
    case "minLength": form.shortest = try count(value)
    case "maxLength": form.longest = try count(value)
    case "pattern":
      guard case .string(let text) = tree[value] else { throw tree.error(value, expected: "a regular expression") }
      form.patterns.append((text, value))
    case "format":
      guard case .string(let text) = tree[value] else { throw tree.error(value, expected: "a format's name") }
      if let pattern = StringFormat.pattern(text) { form.patterns.append((pattern, value)) }
    case "minimum", "maximum": try readBound(name, value, isExclusive: false, into: &form)
    case "exclusiveMinimum", "exclusiveMaximum":
      // A Boolean in drafts before 6, for the bound beside it.
      if case .bool(let flag) = tree[value] {
        let plain = name == "exclusiveMinimum" ? "minimum" : "maximum"
        guard flag else { return }
        guard let bound = tree.member(plain, of: number) else {
          throw tree.error(value, expected: "a number, or true beside \(plain)")
        }
        return try readBound(plain, bound, isExclusive: true, into: &form)
      }
      try readBound(name == "exclusiveMinimum" ? "minimum" : "maximum", value, isExclusive: true, into: &form)
    case "multipleOf":
      guard case .number(let text) = tree[value], let bound = Bound(text, isExclusive: false),
        bound.units % Bound.one == 0, 1...1000 ~= bound.units / Bound.one
      else { throw tree.error(value, expected: "an integer from 1 to 1000, the multiples that are supported") }
      form.divisor = Int(bound.units / Bound.one)
    case "items", "additionalItems", "prefixItems", "minItems", "maxItems":
      try readItems(name, value, into: &form, number)
    case "properties", "required", "additionalProperties", "minProperties", "maxProperties":
      try readProperties(name, value, into: &form)
    case "uniqueItems":
      if case .bool(false) = tree[value] { return }
      throw tree.error(value, found: "not supported", expected: "a schema without the keyword uniqueItems")
    default:
      throw tree.error(
        value, found: "not supported", expected: "a schema without the keyword \(name)")
    }
  }

  private func readBound(
    _ name: String, _ value: Int32, isExclusive: Bool, into form: inout SchemaForm
  ) throws(ConstraintError) {
    guard case .number(let text) = tree[value], let bound = Bound(text, isExclusive: isExclusive) else {
      throw tree.error(value, expected: "a number with at most 18 digits before the point and 15 after it")
    }
    if name == "minimum" { form.range.raise(to: bound) } else { form.range.lower(to: bound) }
  }

  private mutating func readItems(
    _ name: String, _ value: Int32, into form: inout SchemaForm, _ number: Int32
  ) throws(ConstraintError) {
    switch name {
    case "minItems": form.fewestItems = try count(value)
    case "maxItems": form.mostItems = try count(value)
    case "prefixItems":
      form.prefix = try elements(value, expected: Self.schemas).map { element throws(ConstraintError) in
        try goal(element)
      }
    case "items":
      // Drafts before 2020 gave the first items here.
      if case .array(let elements) = tree[value] {
        form.prefix = try elements.map { element throws(ConstraintError) in try goal(element) }
      } else {
        (form.items, form.hasItems) = (try goal(value), true)
      }
    default:
      if let items = tree.member("items", of: number), case .array = tree[items] {
        (form.items, form.hasItems) = (try goal(value), true)
      }
    }
  }

  private mutating func readProperties(
    _ name: String, _ value: Int32, into form: inout SchemaForm
  ) throws(ConstraintError) {
    switch name {
    case "minProperties": form.fewestProperties = try count(value)
    case "maxProperties": form.mostProperties = try count(value)
    case "additionalProperties": (form.additional, form.hasAdditional) = (try goal(value), true)
    case "required":
      guard case .array(let names) = tree[value] else { throw tree.error(value, expected: "an array of names") }
      for name in names {
        guard case .string(let text) = tree[name] else { throw tree.error(name, expected: "a property's name") }
        form.required.append(text)
      }
      try countProperties(names.count, value)
    default:
      guard case .object(let members) = tree[value] else {
        throw tree.error(value, expected: "an object of schemas")
      }
      for (name, schema) in members { form.properties.append(.init(name: name, goal: try goal(schema))) }
      try countProperties(members.count, value)
    }
  }

  private mutating func countProperties(_ count: Int, _ value: Int32) throws(ConstraintError) {
    propertyCount += count
    guard count <= 1000, propertyCount <= SchemaLimits.properties else {
      throw tree.error(
        value, found: "of \(count) names", expected: "at most 1000, and \(SchemaLimits.properties) in the whole schema")
    }
  }

  private func count(_ number: Int32) throws(ConstraintError) -> Int32 {
    guard case .number(let text) = tree[number], let bound = Bound(text, isExclusive: false),
      bound.units % Bound.one == 0, 0..<Int128(Int32.max) ~= bound.units / Bound.one
    else { throw tree.error(number, expected: "an integer from 0 to \(Int32.max - 1)") }
    return Int32(bound.units / Bound.one)
  }

  /// The goal of a subschema, without the detours that its place in the tree makes.
  private func goal(_ number: Int32) throws(ConstraintError) -> Goal {
    switch tree[number] {
    case .bool(let allows): return allows ? .anything : [Goal.impossible]
    case .object(let members):
      guard !members.isEmpty else { return .anything }
      return [number]
    default: throw tree.error(number, expected: "a JSON schema: an object, true or false")
    }
  }
}

// MARK: - oneOf

extension SchemaReader {
  /// Requires that no value satisfies two of the alternatives, because a value must satisfy exactly one.
  private mutating func requireDisjoint(_ number: Int32) throws(ConstraintError) {
    let schemas = try elements(number, expected: Self.schemas)
    guard schemas.count <= 64 else {
      throw tree.error(number, found: "\(schemas.count) alternatives", expected: "at most 64 of oneOf")
    }
    var forms: [[SchemaForm]] = []
    for schema in schemas { forms.append(try read(schema)) }
    for (index, first) in forms.enumerated() {
      for second in forms[(index + 1)...] {
        try countWork(first, second, number)
        for a in first {
          for b in second {
            guard try !areDisjoint(a, b, depth: 0) else { continue }
            throw tree.error(
              number, found: "a choice between alternatives that one value may satisfy together",
              expected: "alternatives that differ in their types or in the values of a required property, or anyOf")
          }
        }
      }
    }
  }

  /// Whether it is certain that no value satisfies both.
  private mutating func areDisjoint(_ a: SchemaForm, _ b: SchemaForm, depth: Int) throws(ConstraintError) -> Bool {
    guard let both = a.merged(with: b) else { return true }
    if let values = both.values { return values.allSatisfy { !both.types.contains($0.type) } }
    if both.types.isSubset(of: .number) {
      guard let least = both.range.least, let most = both.range.most else { return false }
      return least.units > most.units || (least.units == most.units && (least.isExclusive || most.isExclusive))
    }
    if both.types == .string { return both.shortest > both.longest }
    guard both.types == .object, depth < 3 else { return false }
    for name in both.required {
      let goal = both.goal(of: name)
      if goal.isImpossible { return true }
      // What both require of the property, unless that leads back here.
      guard goal.allSatisfy({ !open.contains($0) }) else { continue }
      let (first, second) = (try forms(of: a.goal(of: name)), try forms(of: b.goal(of: name)))
      var areAll = true
      for x in first {
        for y in second where areAll { areAll = try areDisjoint(x, y, depth: depth + 1) }
      }
      if areAll { return true }
    }
    return false
  }
}

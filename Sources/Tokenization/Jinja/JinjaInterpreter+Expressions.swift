/// The arguments of a call as values.
struct JinjaGivenArguments {
  var positional: [JinjaValue] = []
  var named: [(name: String, value: JinjaValue)] = []
  /// The names that come from a dictionary after `**`, and so perhaps from a message.
  var contentNames: Set<String> = []

  /// A name as text, with its origin.
  func text(ofName name: String) -> JinjaText {
    JinjaText(name, mark: contentNames.contains(name) ? JinjaText.content : 0)
  }
}

extension JinjaInterpreter {
  /// The value of an expression. Each kind has a function of its own, which keeps the stack that nesting takes small.
  func evaluate(_ expression: JinjaExpression, in scope: JinjaScope) throws(JinjaError) -> JinjaValue {
    try spend(1)
    try descend()
    defer { ascend() }
    line = expression.line
    switch expression.kind {
    case .literal(let literal): return value(of: literal)
    case .name(let number): return lookUp(number, in: scope)
    case .attribute(let object, let name):
      let object = try evaluate(object, in: scope)
      line = expression.line
      return try attribute(name, of: object)
    case .item(let object, let index): return try evaluateItem(object, index, in: scope, line: expression.line)
    case .condition(let test, let then, let otherwise):
      if try evaluate(test, in: scope).isTrue { return try evaluate(then, in: scope) }
      if let otherwise { return try evaluate(otherwise, in: scope) }
      return .undefined(JinjaUndefined("the condition is false and there is no else"))
    case .and(let left, let right):
      let value = try evaluate(left, in: scope)
      return value.isTrue ? try evaluate(right, in: scope) : value
    case .or(let left, let right):
      let value = try evaluate(left, in: scope)
      return value.isTrue ? value : try evaluate(right, in: scope)
    case .not(let operand): return .bool(!(try evaluate(operand, in: scope).isTrue))
    case .arithmetic(let operation, let left, let right):
      return try evaluateArithmetic(operation, left, right, in: scope, line: expression.line)
    case .comparison(let first, let rest): return try evaluateComparison(first, rest, in: scope, line: expression.line)
    case .call(let function, let arguments): return try call(function, arguments, caller: nil, in: scope)
    case .filter(let operand, let filter): return try apply(filter, to: evaluate(operand, in: scope), in: scope)
    case .test(let operand, let test):
      return try evaluateTest(test, evaluate(operand, in: scope), in: scope, line: expression.line)
    default: return try evaluateOther(expression, in: scope)
    }
  }

  private func value(of literal: JinjaLiteral) -> JinjaValue {
    switch literal {
    case .none: .none
    case .bool(let value): .bool(value)
    case .integer(let value): .integer(value)
    case .float(let value): .float(value)
    case .text(let text): .text(text)
    }
  }

  private func evaluateOther(_ expression: JinjaExpression, in scope: JinjaScope) throws(JinjaError) -> JinjaValue {
    switch expression.kind {
    case .list(let items): return try list(evaluate(items, in: scope))
    case .tuple(let items): return try tuple(evaluate(items, in: scope))
    case .dictionary(let entries):
      let dictionary = JinjaDictionary()
      for (key, value) in entries {
        let key = try evaluate(key, in: scope)
        let value = try evaluate(value, in: scope)
        line = expression.line
        dictionary.set(try self.key(key), value, as: key)
      }
      return try checked(.dictionary(dictionary))
    case .slice(let object, let start, let end, let step):
      let object = try evaluate(object, in: scope)
      let bounds = try [start, end, step].map { (bound) throws(JinjaError) -> JinjaValue in
        try bound.map { (bound) throws(JinjaError) in try evaluate(bound, in: scope) } ?? .none
      }
      line = expression.line
      if knownCount(of: object) == nil, case .slice(let written, _, _, _) = expression.kind,
        case .literal = written.kind
      {
        // Jinja looks up constants early, where a failure gives an undefined value.
        return .undefined(JinjaUndefined("[:] of \(object.noun) is undefined"))
      }
      return try slice(object, from: bounds[0], to: bounds[1], by: bounds[2])
    case .negative(let operand), .positive(let operand):
      let value = try evaluate(operand, in: scope)
      line = expression.line
      if case .negative = expression.kind { return try negated(value) }
      return try positive(value)
    case .concatenation(let parts):
      var units: [JinjaText.Unit] = []
      // As in Jinja, the result is escaped only where output is.
      for value in try evaluate(parts, in: scope) {
        line = expression.line
        units += try (escapes ? escaped(value) : string(value)).units
        try spend(characters: units.count)
      }
      return .text(JinjaText(units: units, isSafe: escapes))
    default: return .none
    }
  }

  private func evaluate(_ items: [JinjaExpression], in scope: JinjaScope) throws(JinjaError) -> [JinjaValue] {
    var values: [JinjaValue] = []
    for item in items { values.append(try evaluate(item, in: scope)) }
    return values
  }

  private func evaluateItem(
    _ object: JinjaExpression, _ index: JinjaExpression, in scope: JinjaScope, line: Int
  ) throws(JinjaError) -> JinjaValue {
    let object = try evaluate(object, in: scope)
    let index = try evaluate(index, in: scope)
    self.line = line
    return try item(index, of: object)
  }

  private func evaluateArithmetic(
    _ operation: JinjaOperator, _ left: JinjaExpression, _ right: JinjaExpression, in scope: JinjaScope, line: Int
  ) throws(JinjaError) -> JinjaValue {
    let left = try evaluate(left, in: scope)
    let right = try evaluate(right, in: scope)
    self.line = line
    return try arithmetic(operation, left, right)
  }

  /// `a < b < c` compares neighbours and stops at the first pair that does not hold.
  private func evaluateComparison(
    _ first: JinjaExpression, _ rest: [(JinjaComparison, JinjaExpression)], in scope: JinjaScope, line: Int
  ) throws(JinjaError) -> JinjaValue {
    var left = try evaluate(first, in: scope)
    for (comparison, right) in rest {
      let right = try evaluate(right, in: scope)
      self.line = line
      if !(try holds(comparison, left, right)) { return .bool(false) }
      left = right
    }
    return .bool(true)
  }

  private func evaluateTest(
    _ test: JinjaFilterCall, _ value: JinjaValue, in scope: JinjaScope, line: Int
  ) throws(JinjaError) -> JinjaValue {
    let arguments = try given(test.arguments, in: scope)
    self.line = line
    return .bool(try passes(test.name, value, arguments))
  }

  func apply(_ filter: JinjaFilterCall, to value: JinjaValue, in scope: JinjaScope) throws(JinjaError) -> JinjaValue {
    let arguments = try given(filter.arguments, in: scope)
    line = filter.line
    return try apply(filter.name, to: value, arguments)
  }

  // MARK: - Calls

  /// The values of arguments, with `*` and `**` taken apart.
  private func given(_ arguments: JinjaArguments, in scope: JinjaScope) throws(JinjaError) -> JinjaGivenArguments {
    var given = JinjaGivenArguments()
    for argument in arguments.positional { given.positional.append(try evaluate(argument, in: scope)) }
    for (name, argument) in arguments.named { given.named.append((name, try evaluate(argument, in: scope))) }
    if let list = arguments.list { given.positional += try items(of: evaluate(list, in: scope)) }
    if let dictionary = arguments.dictionary {
      guard case .dictionary(let dictionary) = try evaluate(dictionary, in: scope) else {
        throw error("the argument after ** is no dictionary; expected one")
      }
      let written = Set(arguments.named.map(\.name))
      for (key, value) in dictionary.entries {
        guard case .text(let name) = key else { throw error("a key after ** is no string; expected one") }
        try spend(characters: name.count)
        if written.contains(name.string) {
          throw error("the argument \(quotedUnits(name.units)) is there twice; expected once")
        }
        given.named.append((name.string, value))
        given.contentNames.insert(name.string)
      }
      try spend(items: dictionary.entries.count)
    }
    return given
  }

  func call(
    _ function: JinjaExpression, _ arguments: JinjaArguments, caller: JinjaMacro?, in scope: JinjaScope
  ) throws(JinjaError) -> JinjaValue {
    let line = line
    let callee = try evaluate(function, in: scope)
    let given = try given(arguments, in: scope)
    self.line = line
    return try call(callee, given, caller: caller)
  }

  private func call(
    _ callee: JinjaValue, _ arguments: JinjaGivenArguments, caller: JinjaMacro?
  ) throws(JinjaError) -> JinjaValue {
    switch callee {
    case .macro(let macro): return try call(macro, arguments, caller: caller)
    case .function(let function): return try call(function, arguments)
    case .method(let method): return try call(method, arguments)
    case .loop(let loop):
      guard arguments.positional.count == 1, arguments.named.isEmpty else {
        throw error("loop is called with \(arguments.positional.count) values; expected the items of the inner loop")
      }
      return try recurse(loop, over: arguments.positional[0])
    case .joiner(let joiner):
      defer { joiner.isUsed = true }
      return joiner.isUsed ? joiner.separator : .text("")
    case .undefined(let undefined): throw error(undefined.message)
    default: throw error("\(callee.noun) is called; expected a macro, function or method")
    }
  }

  private func call(_ function: JinjaFunction, _ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    switch function {
    case .range: return try makeRange(arguments)
    case .dict: return try makeDictionary(arguments)
    case .namespace:
      let namespace = try makeNamespace()
      guard case .dictionary(let dictionary) = try makeDictionary(arguments) else { return .none }
      for (key, value) in dictionary.entries {
        guard case .text(let name) = key else { throw error("a name of namespace() is no string; expected one") }
        try set(name.string, of: namespace, to: value)
      }
      return .namespace(namespace)
    case .cycler:
      if arguments.positional.isEmpty { throw error("cycler() has no items; expected at least one") }
      return try checked(.cycler(JinjaCycler(arguments.positional)))
    case .joiner:
      let separator = try bind(arguments, ["sep"], of: "joiner")[0]
      return try checked(.joiner(JinjaJoiner(separator ?? .text(", "))))
    case .raiseException:
      let message = try string(required(bind(arguments, ["message"], of: "raise_exception"), 0, "message"))
      throw JinjaError(.raised, line: line, String(message.string.prefix(2_000)))
    case .strftimeNow:
      let format = try bind(arguments, ["format"], of: "strftime_now")
      let text = try string(required(format, 0, "format"))
      // A directive writes at most 24 characters for two.
      try spend(characters: 12 * text.count)
      return .text(time.formatted(text))
    }
  }

  private func makeRange(_ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    guard arguments.named.isEmpty, 1...3 ~= arguments.positional.count else {
      throw error("range() has \(arguments.positional.count) values; expected 1 to 3")
    }
    let numbers = try arguments.positional.map { (value) throws(JinjaError) -> Int in try integer(value, "range()") }
    let start = numbers.count > 1 ? numbers[0] : 0
    let stop = numbers.count > 1 ? numbers[1] : numbers[0]
    let step = numbers.count > 2 ? numbers[2] : 1
    if step == 0 { throw error("the step of range() is 0; expected another number") }
    let range = JinjaRange(start: start, stop: stop, step: step)
    if range.count > limits.range {
      throw JinjaError(
        .limit, line: line, "range() has \(range.count) numbers; expected at most \(limits.range)")
    }
    return .range(range)
  }

  func makeDictionary(_ arguments: JinjaGivenArguments) throws(JinjaError) -> JinjaValue {
    let dictionary = JinjaDictionary()
    if arguments.positional.count > 1 {
      throw error("dict() has \(arguments.positional.count) values; expected one, and NAME=VALUE")
    }
    switch arguments.positional.first {
    case nil: break
    case .dictionary(let other):
      for (key, value) in other.entries { dictionary.set(try self.key(key), value, as: key) }
    case let pairs?:
      for pair in try items(of: pairs) {
        let items = try items(of: pair)
        guard items.count == 2 else { throw error("an item of dict() has \(items.count) values; expected 2") }
        dictionary.set(try key(items[0]), items[1], as: items[0])
      }
    }
    for (name, value) in arguments.named {
      dictionary.set(.text(JinjaText(name).units), value, as: .text(arguments.text(ofName: name)))
    }
    try spend(items: dictionary.entries.count)
    return try checked(.dictionary(dictionary))
  }

  // MARK: - Parameters

  /// The arguments by the names of parameters; nil where there is none.
  func bind(
    _ arguments: JinjaGivenArguments, _ names: [String], of function: String
  ) throws(JinjaError) -> [JinjaValue?] {
    var values = [JinjaValue?](repeating: nil, count: names.count)
    guard arguments.positional.count <= names.count else {
      throw error("\(function) has \(arguments.positional.count) values; expected at most \(names.count)")
    }
    for (index, value) in arguments.positional.enumerated() { values[index] = value }
    for (name, value) in arguments.named {
      guard let index = names.firstIndex(of: name) else { throw error("\(function) has no parameter \(name)") }
      if values[index] != nil { throw error("\(function) has the argument \(name) twice; expected once") }
      values[index] = value
    }
    return values
  }

  func required(_ values: [JinjaValue?], _ index: Int, _ name: String) throws(JinjaError) -> JinjaValue {
    guard let value = values[index] else { throw error("the argument \(name) is missing") }
    return value
  }

  /// The whole number of an argument, at most 2^60 from 0: far enough from the largest Int for sums with lengths, and
  /// beyond all lengths.
  func integer(_ value: JinjaValue, _ name: String) throws(JinjaError) -> Int {
    guard let index = value.index else {
      if case .undefined(let undefined) = value { throw error(undefined.message) }
      throw error("a value of \(name) is \(value.noun); expected an integer")
    }
    return Int(max(-1 << 60, min(1 << 60, index)))
  }

  /// The text of an argument that must be a string.
  func textArgument(_ value: JinjaValue, _ name: String) throws(JinjaError) -> JinjaText {
    guard case .text(let text) = value else {
      if case .undefined(let undefined) = value { throw error(undefined.message) }
      throw error("a value of \(name) is \(value.noun); expected a string")
    }
    return text
  }
}

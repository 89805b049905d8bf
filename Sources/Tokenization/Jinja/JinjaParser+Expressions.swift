extension JinjaParser {
  func checkNesting() throws(JinjaError) {
    if expressionNesting > Self.largestExpressionNesting {
      throw JinjaError(
        .limit, line: line, "an expression nests too deep; expected at most \(Self.largestExpressionNesting) levels")
    }
  }

  /// A node, if its depth is within the bound: `1 + 1 + 1…` nests to the left without nesting the parser.
  private func node(
    _ kind: JinjaExpression.Kind, _ children: [JinjaExpression], line: Int
  ) throws(JinjaError) -> JinjaExpression {
    let depth = 1 + (children.lazy.map(\.depth).max() ?? 0)
    if depth > JinjaExpression.largestDepth {
      throw JinjaError(
        .limit, line: line, "an expression is too long; expected at most \(JinjaExpression.largestDepth) operations")
    }
    return JinjaExpression(kind, line: line, depth: depth)
  }

  // MARK: - By precedence, lowest first

  /// An expression, or several with commas between them.
  ///
  /// - Parameters:
  ///   - allowsCondition: whether `a if b else c` is allowed.
  ///   - ends: names that end it.
  ///   - allowsNothing: whether it may be empty, as it may in brackets.
  mutating func tuple(
    allowsCondition: Bool = true, ends: [String] = [], allowsNothing: Bool = false
  ) throws(JinjaError) -> JinjaExpression {
    let line = line
    var items: [JinjaExpression] = []
    var isTuple = false
    while true {
      if !items.isEmpty { try expectSymbol(",") }
      if isTupleEnd(ends) { break }
      items.append(try expression(allowsCondition: allowsCondition))
      if !isSymbol(",") { break }
      isTuple = true
    }
    if !isTuple {
      if let first = items.first { return first }
      if !allowsNothing { throw unexpected("an expression") }
    }
    return try node(.tuple(items), items, line: line)
  }

  private func isTupleEnd(_ ends: [String]) -> Bool {
    switch current.kind {
    case .variableEnd, .blockEnd, .symbol(")"): true
    case .name(let name): ends.contains(name)
    default: false
    }
  }

  mutating func expression(allowsCondition: Bool = true) throws(JinjaError) -> JinjaExpression {
    expressionNesting += 1
    defer { expressionNesting -= 1 }
    try checkNesting()
    var line = line
    let known = unknownNames.count
    var value = try disjunction()
    guard allowsCondition, isName("if") else { return value }
    // Inside a condition, an unknown filter fails only when it is reached.
    unknownNames.removeSubrange(known...)
    let wasConditional = isConditional
    isConditional = true
    defer { isConditional = wasConditional }
    while skipName("if") {
      let test = try disjunction()
      var otherwise: JinjaExpression?
      if skipName("else") { otherwise = try expression() }
      value = try node(
        .condition(test, then: value, else: otherwise), [test, value] + (otherwise.map { [$0] } ?? []), line: line)
      line = self.line
    }
    return value
  }

  private mutating func disjunction() throws(JinjaError) -> JinjaExpression {
    var left = try conjunction()
    while isName("or") {
      let line = line
      advance()
      let right = try conjunction()
      left = try node(.or(left, right), [left, right], line: line)
    }
    return left
  }

  private mutating func conjunction() throws(JinjaError) -> JinjaExpression {
    var left = try negation()
    while isName("and") {
      let line = line
      advance()
      let right = try negation()
      left = try node(.and(left, right), [left, right], line: line)
    }
    return left
  }

  private mutating func negation() throws(JinjaError) -> JinjaExpression {
    guard isName("not") else { return try comparison() }
    let line = line
    advance()
    expressionNesting += 1
    defer { expressionNesting -= 1 }
    try checkNesting()
    let value = try negation()
    return try node(.not(value), [value], line: line)
  }

  private mutating func comparison() throws(JinjaError) -> JinjaExpression {
    let line = line
    let first = try sum()
    var rest: [(JinjaComparison, JinjaExpression)] = []
    while let comparison = comparisonHere() {
      advance(by: comparison == .isNotIn ? 2 : 1)
      rest.append((comparison, try sum()))
    }
    return rest.isEmpty ? first : try node(.comparison(first, rest), [first] + rest.map(\.1), line: line)
  }

  private func comparisonHere() -> JinjaComparison? {
    switch current.kind {
    case .symbol(let symbol): JinjaComparison(rawValue: symbol)
    case .name("in"): .isIn
    case .name("not"): next.kind == .name("in") ? .isNotIn : nil
    default: nil
    }
  }

  private mutating func sum() throws(JinjaError) -> JinjaExpression {
    var left = try concatenation()
    while case .symbol(let symbol) = current.kind, symbol == "+" || symbol == "-" {
      let line = line
      advance()
      let right = try concatenation()
      left = try node(.arithmetic(symbol == "+" ? .add : .subtract, left, right), [left, right], line: line)
    }
    return left
  }

  private mutating func concatenation() throws(JinjaError) -> JinjaExpression {
    let line = line
    var parts = [try product()]
    while skipSymbol("~") { parts.append(try product()) }
    return parts.count == 1 ? parts[0] : try node(.concatenation(parts), parts, line: line)
  }

  private mutating func product() throws(JinjaError) -> JinjaExpression {
    var left = try power()
    while case .symbol(let symbol) = current.kind, ["*", "/", "//", "%"].contains(symbol),
      let operation = JinjaOperator(rawValue: symbol)
    {
      let line = line
      advance()
      let right = try power()
      left = try node(.arithmetic(operation, left, right), [left, right], line: line)
    }
    return left
  }

  private mutating func power() throws(JinjaError) -> JinjaExpression {
    var left = try unary()
    while isSymbol("**") {
      let line = line
      advance()
      let right = try unary()
      left = try node(.arithmetic(.power, left, right), [left, right], line: line)
    }
    return left
  }

  private mutating func unary(takesFilters: Bool = true) throws(JinjaError) -> JinjaExpression {
    let line = line
    var value: JinjaExpression
    if isSymbol("-") || isSymbol("+") {
      let isNegative = isSymbol("-")
      advance()
      expressionNesting += 1
      defer { expressionNesting -= 1 }
      try checkNesting()
      let operand = try unary(takesFilters: false)
      value = try node(isNegative ? .negative(operand) : .positive(operand), [operand], line: line)
    } else {
      value = try primary()
    }
    value = try postfix(value)
    return takesFilters ? try filtered(value) : value
  }

  // MARK: - Values

  private mutating func primary() throws(JinjaError) -> JinjaExpression {
    let line = line
    switch current.kind {
    case .name(let name):
      advance()
      switch name {
      case "true", "True": return try node(.literal(.bool(true)), [], line: line)
      case "false", "False": return try node(.literal(.bool(false)), [], line: line)
      case "none", "None": return try node(.literal(.none), [], line: line)
      default: return try node(.name(read(name)), [], line: line)
      }
    case .string:
      var text: JinjaLexer.Text = []
      while case .string(let part) = current.kind {
        text += part
        advance()
      }
      return try node(.literal(.text(JinjaText(units: text))), [], line: line)
    case .integer(let value):
      advance()
      return try node(.literal(.integer(value)), [], line: line)
    case .float(let value):
      advance()
      return try node(.literal(.float(value)), [], line: line)
    case .symbol("("):
      advance()
      let value = try tuple(allowsNothing: true)
      try expectSymbol(")")
      return value
    case .symbol("["):
      advance()
      let items = try items(until: "]")
      return try node(.list(items), items, line: line)
    case .symbol("{"): return try dictionary()
    default: throw unexpected("an expression")
    }
  }

  private mutating func items(until end: String) throws(JinjaError) -> [JinjaExpression] {
    var items: [JinjaExpression] = []
    while !isSymbol(end) {
      if !items.isEmpty { try expectSymbol(",") }
      if isSymbol(end) { break }
      items.append(try expression())
    }
    try expectSymbol(end)
    return items
  }

  private mutating func dictionary() throws(JinjaError) -> JinjaExpression {
    let line = line
    try expectSymbol("{")
    var entries: [(key: JinjaExpression, value: JinjaExpression)] = []
    while !isSymbol("}") {
      if !entries.isEmpty { try expectSymbol(",") }
      if isSymbol("}") { break }
      let key = try expression()
      try expectSymbol(":")
      entries.append((key, try expression()))
    }
    try expectSymbol("}")
    return try node(.dictionary(entries), entries.flatMap { [$0.key, $0.value] }, line: line)
  }

  // MARK: - What follows a value

  private mutating func postfix(_ value: JinjaExpression) throws(JinjaError) -> JinjaExpression {
    var value = value
    while true {
      if isSymbol(".") || isSymbol("[") {
        value = try subscripted(value)
      } else if isSymbol("(") {
        value = try call(value)
      } else {
        return value
      }
    }
  }

  private mutating func filtered(_ value: JinjaExpression) throws(JinjaError) -> JinjaExpression {
    var value = value
    while true {
      let line = line
      if isSymbol("|") {
        for filter in try filterChain(startsInline: false) {
          value = try node(.filter(value, filter), [value] + filter.arguments.all, line: filter.line)
        }
      } else if skipName("is") {
        value = try test(value, line: line)
      } else if isSymbol("(") {
        value = try call(value)
      } else {
        return value
      }
    }
  }

  private mutating func subscripted(_ value: JinjaExpression) throws(JinjaError) -> JinjaExpression {
    let line = line
    if skipSymbol(".") {
      switch current.kind {
      case .name(let name):
        advance()
        return try node(.attribute(of: value, JinjaText(name)), [value], line: line)
      case .integer(let number):
        advance()
        let index = try node(.literal(.integer(number)), [], line: line)
        return try node(.item(of: value, index), [value, index], line: line)
      default: throw unexpected("a name or number")
      }
    }
    try expectSymbol("[")
    if skipSymbol("]") {
      let index = try node(.tuple([]), [], line: line)
      return try node(.item(of: value, index), [value, index], line: line)
    }
    if !isSymbol(":") {
      let index = try expression()
      if isSymbol(",") {
        var items = [index]
        while skipSymbol(",") { items.append(try expression()) }
        try expectSymbol("]")
        let index = try node(.tuple(items), items, line: line)
        return try node(.item(of: value, index), [value, index], line: line)
      }
      if skipSymbol("]") { return try node(.item(of: value, index), [value, index], line: line) }
      return try slice(of: value, from: index, line: line)
    }
    return try slice(of: value, from: nil, line: line)
  }

  private mutating func slice(
    of value: JinjaExpression, from start: JinjaExpression?, line: Int
  ) throws(JinjaError) -> JinjaExpression {
    try expectSymbol(":")
    var end: JinjaExpression?
    var step: JinjaExpression?
    if !isSymbol(":"), !isSymbol("]") { end = try expression() }
    if skipSymbol(":"), !isSymbol("]") { step = try expression() }
    try expectSymbol("]")
    return try node(
      .slice(of: value, start, end, step), [value] + [start, end, step].compactMap(\.self), line: line)
  }

  private mutating func call(_ function: JinjaExpression) throws(JinjaError) -> JinjaExpression {
    let line = line
    let arguments = try arguments()
    return try node(.call(function, arguments), [function] + arguments.all, line: line)
  }

  private mutating func arguments() throws(JinjaError) -> JinjaArguments {
    var arguments = JinjaArguments()
    var names: Set<String> = []
    var isFirst = true
    try expectSymbol("(")
    while !isSymbol(")") {
      if !isFirst {
        try expectSymbol(",")
        if isSymbol(")") { break }
      }
      isFirst = false
      let misplaced = error("an argument of the call is misplaced; expected values, then NAME=VALUE, then * and **")
      if skipSymbol("*") {
        if arguments.list != nil || arguments.dictionary != nil { throw misplaced }
        arguments.list = try expression()
      } else if skipSymbol("**") {
        if arguments.dictionary != nil { throw misplaced }
        arguments.dictionary = try expression()
      } else if case .name(let name) = current.kind, next.kind == .symbol("=") {
        if arguments.dictionary != nil { throw misplaced }
        advance(by: 2)
        if !names.insert(name).inserted {
          throw error("the argument \(name) is there twice; expected once")
        }
        arguments.named.append((name, try expression()))
      } else {
        if arguments.list != nil || arguments.dictionary != nil || !arguments.named.isEmpty { throw misplaced }
        arguments.positional.append(try expression())
      }
    }
    try expectSymbol(")")
    return arguments
  }

  // MARK: - Filters and tests

  /// Filters in a row.
  ///
  /// - Parameter startsInline: whether the first one has no `|` before it, as after the tag `filter`.
  mutating func filterChain(startsInline: Bool) throws(JinjaError) -> [JinjaFilterCall] {
    var filters: [JinjaFilterCall] = []
    while startsInline && filters.isEmpty || isSymbol("|") {
      if !(startsInline && filters.isEmpty) { advance() }
      let line = line
      let name = try dottedName()
      let arguments = isSymbol("(") ? try arguments() : JinjaArguments()
      if !isConditional, JinjaFilter(rawValue: name) == nil {
        unknownNames.append(error("there is no filter \(name)", line: line))
      }
      filters.append(JinjaFilterCall(name: name, arguments: arguments, line: line))
    }
    return filters
  }

  private mutating func dottedName() throws(JinjaError) -> String {
    var name = try anyName()
    while skipSymbol(".") { name += "." + (try anyName()) }
    return name
  }

  private mutating func test(_ value: JinjaExpression, line: Int) throws(JinjaError) -> JinjaExpression {
    let isNegated = skipName("not")
    let name = try dottedName()
    var arguments = JinjaArguments()
    if isSymbol("(") {
      arguments = try self.arguments()
    } else if beginsTestArgument {
      if isName("is") { throw error("two tests follow each other; expected `and` between them") }
      arguments.positional = [try postfix(try primary())]
    }
    if !isConditional, JinjaTest(rawValue: name) == nil {
      unknownNames.append(error("there is no test \(name)", line: line))
    }
    let call = JinjaFilterCall(name: name, arguments: arguments, line: line)
    let test = try node(.test(value, call), [value] + arguments.all, line: line)
    return isNegated ? try node(.not(test), [test], line: line) : test
  }

  private var beginsTestArgument: Bool {
    switch current.kind {
    case .name(let name): !["else", "or", "and"].contains(name)
    case .string, .integer, .float, .symbol("["), .symbol("{"): true
    default: false
    }
  }
}

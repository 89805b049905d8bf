/// Makes statements from the tokens of a template. The grammar is Jinja's, with the extensions that chat templates are
/// written for: `break`, `continue` and `generation`.
struct JinjaParser {
  /// How deep statements may nest.
  private static let largestNesting = 60
  /// How deep expressions may nest: brackets, and `not` or signs in a row.
  static let largestExpressionNesting = 100

  private let tokens: [JinjaToken]
  private var at = 0
  private(set) var names = JinjaNames()
  private var nesting = 0
  var expressionNesting = 0
  private var loops = 0
  /// Whether an unknown filter or test is an error only when it is reached, as it is inside an `if`.
  var isConditional = false
  /// The errors of unknown filters and tests so far.
  var unknownNames: [JinjaError] = []
  /// For each open macro, which of `varargs`, `kwargs` and `caller` its body names.
  private var special: [Set<String>] = []
  private var blockNames: Set<String> = []

  /// The statements of a template, and the names of its variables.
  ///
  /// - Throws: `JinjaError` for what is not Jinja, with the line.
  static func parse(_ source: String) throws(JinjaError) -> (body: [JinjaStatement], names: JinjaNames) {
    var parser = JinjaParser(tokens: try JinjaLexer.tokens(of: source))
    let body = try parser.statements(until: [])
    if let error = parser.unknownNames.first { throw error }
    return (body, parser.names)
  }

  private init(tokens: [JinjaToken]) { self.tokens = tokens }

  // MARK: - Tokens

  var current: JinjaToken { tokens[at] }

  var next: JinjaToken { tokens[min(at + 1, tokens.count - 1)] }

  var line: Int { current.line }

  mutating func advance(by count: Int = 1) { at = min(at + count, tokens.count - 1) }

  func error(_ message: String, line: Int? = nil) -> JinjaError {
    JinjaError(.syntax, line: line ?? self.line, message)
  }

  func unexpected(_ expected: String) -> JinjaError {
    error("the template has \(current.description) here; expected \(expected)")
  }

  func isSymbol(_ symbol: String) -> Bool { current.kind == .symbol(symbol) }

  func isName(_ name: String) -> Bool { current.kind == .name(name) }

  mutating func skipSymbol(_ symbol: String) -> Bool {
    if !isSymbol(symbol) { return false }
    advance()
    return true
  }

  mutating func skipName(_ name: String) -> Bool {
    if !isName(name) { return false }
    advance()
    return true
  }

  mutating func expectSymbol(_ symbol: String) throws(JinjaError) {
    if !skipSymbol(symbol) { throw unexpected(symbol) }
  }

  mutating func expectName(_ name: String) throws(JinjaError) {
    if !skipName(name) { throw unexpected(name) }
  }

  mutating func anyName() throws(JinjaError) -> String {
    guard case .name(let name) = current.kind else { throw unexpected("a name") }
    advance()
    return name
  }

  private mutating func expect(_ kind: JinjaToken.Kind, _ expected: String) throws(JinjaError) {
    if current.kind != kind { throw unexpected(expected) }
    advance()
  }

  /// The number of a variable that an expression reads.
  mutating func read(_ name: String) -> Int {
    for index in special.indices where ["varargs", "kwargs", "caller"].contains(name) { special[index].insert(name) }
    return names.number(of: name)
  }

  // MARK: - Statements

  /// Statements up to a tag with one of the names, which is then the current token.
  private mutating func statements(until ends: [String]) throws(JinjaError) -> [JinjaStatement] {
    nesting += 1
    defer { nesting -= 1 }
    if nesting > Self.largestNesting {
      throw JinjaError(.limit, line: line, "statements nest too deep; expected at most \(Self.largestNesting) levels")
    }
    var body: [JinjaStatement] = []
    while true {
      switch current.kind {
      case .data(let text):
        body.append(.text(JinjaText(units: text)))
        advance()
      case .variableBegin:
        advance()
        body.append(.output(try tuple()))
        try expect(.variableEnd, "}}")
      case .blockBegin:
        advance()
        if case .name(let name) = current.kind, ends.contains(name) { return body }
        body.append(contentsOf: try statement(inside: ends))
        try expect(.blockEnd, "%}")
      case .end:
        if !ends.isEmpty { throw unexpected("{% " + ends.joined(separator: " %} or {% ") + " %}") }
        return body
      default: throw unexpected("text or a tag")
      }
    }
  }

  /// The body of a block: the rest of its first tag has been read.
  private mutating func body(until ends: [String]) throws(JinjaError) -> [JinjaStatement] {
    _ = skipSymbol(":")
    try expect(.blockEnd, "%}")
    return try statements(until: ends)
  }

  /// The body of a block, and its last tag's name.
  private mutating func wholeBody(_ end: String) throws(JinjaError) -> [JinjaStatement] {
    let body = try body(until: [end])
    advance()
    return body
  }

  /// Parses with other conditions for unknown filters.
  private mutating func with<Result>(
    conditional: Bool, _ body: (inout JinjaParser) throws(JinjaError) -> Result
  ) throws(JinjaError) -> Result {
    let outer = isConditional
    isConditional = conditional
    defer { isConditional = outer }
    return try body(&self)
  }

  private mutating func statement(inside ends: [String]) throws(JinjaError) -> [JinjaStatement] {
    let line = line
    guard case .name(let tag) = current.kind else { throw unexpected("the name of a tag") }
    advance()
    switch tag {
    case "for": return [try with(conditional: false) { (parser) throws(JinjaError) in try parser.loop(line: line) }]
    case "if": return [try with(conditional: true) { (parser) throws(JinjaError) in try parser.choice() }]
    case "set": return [try assignment(line: line)]
    case "macro": return [try macro()]
    case "call": return [try callBlock()]
    case "filter":
      let filters = try filterChain(startsInline: true)
      let body = try with(conditional: false) { (parser) throws(JinjaError) in try parser.wholeBody("endfilter") }
      return [.filter(filters, body, line: line)]
    case "with": return [try with(conditional: false) { (parser) throws(JinjaError) in try parser.withBlock() }]
    case "block": return [try with(conditional: false) { (parser) throws(JinjaError) in try parser.block() }]
    case "autoescape":
      let value = try expression()
      return [
        .autoescape(
          value, try with(conditional: false) { (parser) throws(JinjaError) in try parser.wholeBody("endautoescape") })
      ]
    case "generation":
      // The body becomes a macro of its own, which no break can leave.
      let body = try outsideLoops { (parser) throws(JinjaError) in try parser.wholeBody("endgeneration") }
      return [.generation(body)]
    case "print":
      var outputs: [JinjaStatement] = []
      while current.kind != .blockEnd {
        if !outputs.isEmpty { try expectSymbol(",") }
        outputs.append(.output(try expression()))
      }
      return outputs
    case "break", "continue":
      if loops == 0 { throw error("\(tag) is outside of a loop; expected it inside {% for %}", line: line) }
      return [tag == "break" ? .breakLoop : .continueLoop]
    case "include", "import", "from", "extends":
      _ = try expression()
      while current.kind != .blockEnd, current.kind != .end { advance() }
      return [.otherTemplate(tag, line: line)]
    default:
      let expected = ends.isEmpty ? "a statement" : "{% " + ends.joined(separator: " %} or {% ") + " %}"
      throw error("there is no tag {% \(tag) %} here; expected \(expected)", line: line)
    }
  }

  /// Parses what runs as a macro of its own.
  private mutating func outsideLoops<Result>(
    _ body: (inout JinjaParser) throws(JinjaError) -> Result
  ) throws(JinjaError) -> Result {
    let outer = loops
    loops = 0
    defer { loops = outer }
    return try with(conditional: false, body)
  }

  private mutating func loop(line: Int) throws(JinjaError) -> JinjaStatement {
    let target = try target(until: ["in"], allowsAttribute: false)
    if case .name(let number) = target, names.all[number] == "loop" {
      throw error("a loop assigns to the variable loop; expected another name", line: line)
    }
    try expectName("in")
    let source = try tuple(allowsCondition: false, ends: ["recursive"])
    let test = skipName("if") ? try expression() : nil
    let isRecursive = skipName("recursive")
    loops += 1
    let body = try body(until: ["endfor", "else"])
    loops -= 1
    var otherwise: [JinjaStatement] = []
    let hasElse = isName("else")
    advance()
    if hasElse { otherwise = try wholeBody("endfor") }
    return .loop(
      JinjaLoopStatement(
        target: target, source: source, test: test, isRecursive: isRecursive, body: body, otherwise: otherwise,
        line: line))
  }

  private mutating func choice() throws(JinjaError) -> JinjaStatement {
    var branches: [(test: JinjaExpression, body: [JinjaStatement])] = []
    while true {
      let test = try tuple(allowsCondition: false)
      branches.append((test, try body(until: ["elif", "else", "endif"])))
      let tag = try anyName()
      if tag == "elif" { continue }
      return .choice(branches, otherwise: tag == "else" ? try wholeBody("endif") : [])
    }
  }

  private mutating func assignment(line: Int) throws(JinjaError) -> JinjaStatement {
    let target = try target(until: [], allowsAttribute: true)
    if skipSymbol("=") { return .set(target, try tuple()) }
    let filters = try filterChain(startsInline: false)
    let body = try with(conditional: false) { (parser) throws(JinjaError) in try parser.wholeBody("endset") }
    return .setBlock(target, filters, body, line: line)
  }

  private mutating func withBlock() throws(JinjaError) -> JinjaStatement {
    var values: [(JinjaTarget, JinjaExpression)] = []
    while current.kind != .blockEnd, current.kind != .end {
      if !values.isEmpty { try expectSymbol(",") }
      let target = try target(until: [], allowsAttribute: false)
      try expectSymbol("=")
      values.append((target, try expression()))
    }
    return .with(values, try wholeBody("endwith"))
  }

  private mutating func block() throws(JinjaError) -> JinjaStatement {
    let name = try anyName()
    if !blockNames.insert(name).inserted { throw error("the block \(name) is defined twice; expected once") }
    _ = skipName("scoped")
    let isRequired = skipName("required")
    let body = try outsideLoops { (parser) throws(JinjaError) in try parser.wholeBody("endblock") }
    _ = skipName(name)
    if isRequired { throw error("the block \(name) is required; expected its text") }
    return .block(body)
  }

  // MARK: - Macros

  private mutating func macro() throws(JinjaError) -> JinjaStatement {
    let name = try anyName()
    if ["true", "false", "none", "True", "False", "None"].contains(name) {
      throw error("a macro has the name \(name); expected another one")
    }
    let variable = names.number(of: name)
    let parameters = try parameters()
    return .macro(try definition(name: name, variable: variable, parameters, end: "endmacro"))
  }

  private mutating func callBlock() throws(JinjaError) -> JinjaStatement {
    let parameters = isSymbol("(") ? try parameters() : []
    let call = try expression()
    guard case .call = call.kind else { throw error("the tag {% call %} has no call; expected one of a macro") }
    return .call(call, body: try definition(name: nil, variable: 0, parameters, end: "endcall"))
  }

  private mutating func definition(
    name: String?, variable: Int, _ parameters: [JinjaMacroDefinition.Parameter], end: String
  ) throws(JinjaError) -> JinjaMacroDefinition {
    special.append([])
    let body = try outsideLoops { (parser) throws(JinjaError) in try parser.wholeBody(end) }
    let used = special.removeLast()
    let names = parameters.map(\.text)
    return JinjaMacroDefinition(
      name: name, variable: variable, parameters: parameters, body: body,
      takesList: used.contains("varargs") && !names.contains("varargs"),
      takesDictionary: used.contains("kwargs") && !names.contains("kwargs"), takesCaller: used.contains("caller"))
  }

  private mutating func parameters() throws(JinjaError) -> [JinjaMacroDefinition.Parameter] {
    var parameters: [JinjaMacroDefinition.Parameter] = []
    var texts: Set<String> = []
    try expectSymbol("(")
    while !isSymbol(")") {
      if !parameters.isEmpty { try expectSymbol(",") }
      let text = try anyName()
      if !texts.insert(text).inserted {
        throw error("the parameter \(text) is there twice; expected once")
      }
      var standard: JinjaExpression?
      if skipSymbol("=") {
        standard = try expression()
      } else if parameters.last?.standard != nil {
        throw error("the parameter \(text) has no default value; expected one, because the parameter before it has")
      }
      parameters.append(.init(name: names.number(of: text), text: text, standard: standard))
    }
    try expectSymbol(")")
    return parameters
  }

  // MARK: - Targets

  /// The variables to assign to: a name, an attribute of a namespace, or several of them.
  private mutating func target(until ends: [String], allowsAttribute: Bool) throws(JinjaError) -> JinjaTarget {
    var targets: [JinjaTarget] = []
    var isTuple = false
    while true {
      if case .name(let name) = current.kind, ends.contains(name), isTuple { break }
      if isSymbol("=") && isTuple { break }
      targets.append(try singleTarget(allowsAttribute: allowsAttribute))
      guard skipSymbol(",") else { break }
      isTuple = true
    }
    return isTuple ? .tuple(targets) : targets[0]
  }

  private mutating func singleTarget(allowsAttribute: Bool) throws(JinjaError) -> JinjaTarget {
    if skipSymbol("(") {
      expressionNesting += 1
      defer { expressionNesting -= 1 }
      try checkNesting()
      let inner = try target(until: [], allowsAttribute: allowsAttribute)
      try expectSymbol(")")
      return inner
    }
    let name = try anyName()
    if ["true", "false", "none", "True", "False", "None"].contains(name) {
      throw error("the template assigns to \(name); expected a variable")
    }
    if allowsAttribute, skipSymbol(".") { return .attribute(namespace: read(name), try anyName()) }
    return .name(names.number(of: name))
  }
}

/// The names of a template's variables, each with a number.
struct JinjaNames: Sendable {
  private(set) var all: [String] = []
  private var numbers: [String: Int] = [:]

  mutating func number(of name: String) -> Int {
    if let number = numbers[name] { return number }
    numbers[name] = all.count
    all.append(name)
    return all.count - 1
  }

  func existingNumber(of name: String) -> Int? { numbers[name] }
}

/// Runs a template's statements.
///
/// Each rendering has its own interpreter, which counts steps and depth. Nothing that a template does reaches beyond
/// its values: they cannot be changed, except for the variables of `namespace()`, and there are no files and no other
/// templates.
final class JinjaInterpreter {
  private enum Flow { case next, breakLoop, continueLoop }

  let limits: JinjaLimits
  let time: JinjaTime
  private let names: JinjaNames
  /// The variables of the rendering, by number.
  private var variables: [Int: JinjaValue] = [:]
  /// The line that is running.
  var line = 1
  private var stepsLeft: Int
  private var charactersLeft: Int
  let largestText: Int
  private(set) var depth = 0
  private(set) var output: [JinjaText.Unit] = []
  /// Whether output is escaped for HTML.
  private(set) var escapes = false
  /// Namespaces and scopes that could hold themselves; they are cleared at the end.
  private var namespaces: [JinjaNamespace] = []
  private var scopes: [JinjaScope] = []

  /// - Parameters:
  ///   - variables: the names and values that the template is given.
  ///   - size: how large the variables are, which raises the bounds.
  init(
    names: JinjaNames, variables: [(name: String, value: JinjaValue)], size: JinjaSize, time: JinjaTime,
    limits: JinjaLimits
  ) {
    self.names = names
    self.limits = limits
    self.time = time
    let pairs = min(size.values, 1 << 16) * min(size.values, 1 << 16)
    stepsLeft = min(
      limits.largestSteps,
      limits.steps + size.values * limits.stepsPerValue + pairs * limits.stepsPerPair
        + size.characters * limits.stepsPerCharacter)
    largestText = limits.characters + size.characters * limits.charactersPerCharacter
    charactersLeft = limits.allCharacters
    for (name, value) in variables {
      if let number = names.existingNumber(of: name) { self.variables[number] = value }
    }
  }

  /// The rendering of statements.
  func render(_ body: [JinjaStatement]) throws(JinjaError) -> JinjaText {
    defer {
      for namespace in namespaces { namespace.clear() }
      for scope in scopes { scope.clear() }
    }
    let root = JinjaScope(parent: nil)
    scopes.append(root)
    _ = try run(body, in: root)
    return JinjaText(units: output)
  }

  // MARK: - Bounds

  func error(_ message: String) -> JinjaError { JinjaError(.runtime, line: line, message) }

  /// Counts steps.
  func spend(_ count: Int) throws(JinjaError) {
    stepsLeft -= count
    if stepsLeft < 0 {
      throw JinjaError(.limit, line: line, "it takes more steps than any chat needs; expected an end")
    }
  }

  /// Counts the steps of work on characters, and checks that the result is not too long.
  func spend(characters count: Int) throws(JinjaError) {
    if count > largestText {
      throw JinjaError(
        .limit, line: line, "a text is \(count) characters long; expected at most \(largestText)")
    }
    charactersLeft -= count
    if charactersLeft < 0 {
      throw JinjaError(
        .limit, line: line,
        "its texts have more than \(limits.allCharacters) characters together; expected a shorter chat")
    }
    try spend(1 + count / 8)
  }

  /// Counts the steps of a list that is made, and checks its length.
  func spend(items count: Int) throws(JinjaError) {
    if count > largestText {
      throw JinjaError(.limit, line: line, "a list has \(count) items; expected at most \(largestText)")
    }
    try spend(1 + count)
  }

  /// The value, if its lists and dictionaries do not nest too deep.
  func checked(_ value: JinjaValue) throws(JinjaError) -> JinjaValue {
    if value.depth > limits.nesting {
      throw JinjaError(.limit, line: line, "a value nests \(value.depth) deep; expected at most \(limits.nesting)")
    }
    return value
  }

  func list(_ items: [JinjaValue]) throws(JinjaError) -> JinjaValue {
    try spend(items: items.count)
    return try checked(.list(JinjaList(items)))
  }

  func tuple(_ items: [JinjaValue]) throws(JinjaError) -> JinjaValue {
    try spend(items: items.count)
    return try checked(.tuple(JinjaList(items)))
  }

  func text(_ units: [JinjaText.Unit], isSafe: Bool = false) throws(JinjaError) -> JinjaValue {
    try spend(characters: units.count)
    return .text(JinjaText(units: units, isSafe: isSafe))
  }

  func text(_ text: JinjaText) throws(JinjaError) -> JinjaValue {
    try spend(characters: text.count)
    return .text(text)
  }

  /// Goes one level deeper; ``ascend()`` goes back.
  func descend() throws(JinjaError) {
    if depth >= limits.depth {
      throw JinjaError(
        .limit, line: line, "macros and expressions nest without end; expected at most \(limits.depth) levels")
    }
    depth += 1
  }

  func ascend() { depth -= 1 }

  /// Runs `body` one level deeper.
  func nested<Result>(_ body: () throws(JinjaError) -> Result) throws(JinjaError) -> Result {
    try descend()
    defer { ascend() }
    return try body()
  }

  func makeNamespace() throws(JinjaError) -> JinjaNamespace {
    try spend(20)
    let namespace = JinjaNamespace()
    namespaces.append(namespace)
    return namespace
  }

  // MARK: - Statements

  private func run(_ body: [JinjaStatement], in scope: JinjaScope) throws(JinjaError) -> Flow {
    for statement in body {
      let flow = try run(statement, in: scope)
      if flow != .next { return flow }
    }
    return .next
  }

  private func write(_ text: JinjaText) throws(JinjaError) {
    try spend(characters: output.count + text.count > largestText ? output.count + text.count : text.count)
    output += text.units
  }

  private func run(_ statement: JinjaStatement, in scope: JinjaScope) throws(JinjaError) -> Flow {
    try spend(1)
    try descend()
    defer { ascend() }
    switch statement {
    case .text(let text): try write(text)
    case .output(let expression):
      let value = try evaluate(expression, in: scope)
      line = expression.line
      try write(escapes ? escaped(value) : string(value))
    case .choice(let branches, let otherwise): return try runChoice(branches, otherwise, in: scope)
    case .loop(let loop): return try runLoop(loop, in: scope)
    case .set(let target, let expression): try assign(evaluate(expression, in: scope), to: target, in: scope)
    case .breakLoop: return .breakLoop
    case .continueLoop: return .continueLoop
    default: return try runBlock(statement, in: scope)
    }
    return .next
  }

  private func runChoice(
    _ branches: [(test: JinjaExpression, body: [JinjaStatement])], _ otherwise: [JinjaStatement], in scope: JinjaScope
  ) throws(JinjaError) -> Flow {
    for (test, body) in branches where try evaluate(test, in: scope).isTrue { return try run(body, in: scope) }
    return try run(otherwise, in: scope)
  }

  /// Runs the statements that chat templates use seldom.
  private func runBlock(_ statement: JinjaStatement, in scope: JinjaScope) throws(JinjaError) -> Flow {
    switch statement {
    case .setBlock(let target, let filters, let body, let line):
      let (text, flow) = try captured(body, in: JinjaScope(parent: scope))
      if flow != .next { return flow }
      self.line = line
      try assign(filtered(text, filters, in: scope), to: target, in: scope)
    case .macro(let definition):
      try spend(10)
      scopes.append(scope)
      scope.set(definition.variable, .macro(JinjaMacro(definition, scope: scope, escapes: escapes)))
    case .call(let expression, let body):
      guard case .call(let function, let arguments) = expression.kind else { return .next }
      scopes.append(scope)
      let caller = JinjaMacro(body, scope: scope, escapes: escapes)
      let value = try call(function, arguments, caller: caller, in: scope)
      line = expression.line
      try write(string(value))
    case .filter(let filters, let body, let line):
      let (text, flow) = try captured(body, in: JinjaScope(parent: scope))
      if flow != .next { return flow }
      self.line = line
      try write(string(filtered(text, filters, in: scope)))
    case .with(let values, let body):
      let inner = JinjaScope(parent: scope)
      for (target, expression) in values { try assign(evaluate(expression, in: scope), to: target, in: inner) }
      return try run(body, in: inner)
    case .block(let body):
      // A block sees the template's variables, not those of a loop around it.
      return try run(body, in: JinjaScope(parent: scopes[0]))
    case .autoescape(let expression, let body):
      let outer = escapes
      defer { escapes = outer }
      escapes = try evaluate(expression, in: scope).isTrue
      return try run(body, in: JinjaScope(parent: scope))
    case .generation(let body): return try run(body, in: JinjaScope(parent: scope))
    case .otherTemplate(let tag, let line):
      self.line = line
      throw error("it asks for another template with {% \(tag) %}; expected a template that needs no other")
    case .text, .output, .choice, .loop, .set, .breakLoop, .continueLoop: break
    }
    return .next
  }

  /// What statements write, as a text.
  private func captured(
    _ body: [JinjaStatement], in scope: JinjaScope
  ) throws(JinjaError) -> (text: JinjaText, flow: Flow) {
    let outer = output
    output = []
    defer { output = outer }
    let flow = try run(body, in: scope)
    return (JinjaText(units: output, isSafe: escapes), flow)
  }

  private func filtered(
    _ text: JinjaText, _ filters: [JinjaFilterCall], in scope: JinjaScope
  ) throws(JinjaError) -> JinjaValue {
    var value = JinjaValue.text(text)
    for filter in filters { value = try apply(filter, to: value, in: scope) }
    return value
  }

  private func assign(_ value: JinjaValue, to target: JinjaTarget, in scope: JinjaScope) throws(JinjaError) {
    switch target {
    case .name(let number): scope.set(number, value)
    case .attribute(let number, let name):
      guard case .namespace(let namespace) = lookUp(number, in: scope) else {
        throw error("the template sets \(names.all[number]).\(name) of what is no namespace; expected one")
      }
      try set(name, of: namespace, to: value)
    case .tuple(let targets):
      let items = try self.items(of: value)
      guard items.count == targets.count else {
        throw error("\(items.count) values are assigned to \(targets.count) variables; expected as many")
      }
      for (target, item) in zip(targets, items) { try assign(item, to: target, in: scope) }
    }
  }

  func set(_ name: String, of namespace: JinjaNamespace, to value: JinjaValue) throws(JinjaError) {
    if name.hasPrefix("_") {
      throw error("the template sets \(name) of a namespace; expected a name that does not begin with _")
    }
    namespace.set(name, value)
  }

  // MARK: - Loops

  private func runLoop(_ statement: JinjaLoopStatement, in scope: JinjaScope) throws(JinjaError) -> Flow {
    let source = try evaluate(statement.source, in: scope)
    line = statement.line
    return try runLoop(statement, over: source, depth: 0, in: scope)
  }

  /// - Returns: where to go on; a `break` after `else` leaves the loop around this one.
  private func runLoop(
    _ statement: JinjaLoopStatement, over source: JinjaValue, depth: Int, in scope: JinjaScope
  ) throws(JinjaError) -> Flow {
    var iterator = try iterator(over: source)
    var count = knownCount(of: source)
    if let test = statement.test {
      count = nil
      iterator = JinjaIterator(iterator) { (interpreter, item) throws(JinjaError) in
        let inner = JinjaScope(parent: scope)
        try interpreter.assign(item, to: statement.target, in: inner)
        return try interpreter.evaluate(test, in: inner).isTrue ? item : nil
      }
    }
    let loop = JinjaLoop(
      iterator, knownCount: count, depth: depth, recursion: statement.isRecursive ? (statement, scope) : nil)
    defer { loop.end() }
    let loopName = names.existingNumber(of: "loop")
    var hasRun = false
    while let item = try loop.advance(self) {
      hasRun = true
      try spend(2)
      let inner = JinjaScope(parent: scope)
      if let loopName { inner.set(loopName, .loop(loop)) }
      try assign(item, to: statement.target, in: inner)
      if try run(statement.body, in: inner) == .breakLoop { break }
    }
    return hasRun ? .next : try run(statement.otherwise, in: JinjaScope(parent: scope))
  }

  /// Runs a recursive loop's body for inner items; what it writes is the result.
  func recurse(_ loop: JinjaLoop, over source: JinjaValue) throws(JinjaError) -> JinjaValue {
    guard let (statement, scope) = loop.recursion else {
      throw error("the template calls loop; expected {% for … recursive %}")
    }
    return try nested { () throws(JinjaError) in
      let outer = output
      output = []
      defer { output = outer }
      _ = try runLoop(statement, over: source, depth: loop.depth + 1, in: scope)
      return .text(JinjaText(units: output, isSafe: escapes))
    }
  }

  // MARK: - Variables and macros

  func lookUp(_ number: Int, in scope: JinjaScope) -> JinjaValue {
    let (value, searched) = scope.find(number)
    stepsLeft -= searched / 4
    if let value { return value }
    if let value = variables[number] { return value }
    let name = names.all[number]
    if let function = JinjaFunction(rawValue: name) { return .function(function) }
    return .undefined(JinjaUndefined("'\(name)' is undefined"))
  }

  private func index(of name: String, in named: [(name: String, value: JinjaValue)]) throws(JinjaError) -> Int? {
    try spend(named.count / 2)
    return named.firstIndex { $0.name == name }
  }

  /// The text that a macro writes for its arguments.
  func call(_ macro: JinjaMacro, _ arguments: JinjaGivenArguments, caller: JinjaMacro?) throws(JinjaError) -> JinjaValue
  {
    let definition = macro.definition
    try spend(10 + definition.parameters.count)
    let scope = JinjaScope(parent: macro.scope)
    let name = definition.name ?? "caller"
    var named = arguments.named
    if let caller { named.append(("caller", .macro(caller))) }
    let given = arguments.positional
    return try nested { () throws(JinjaError) in
      var standards: [JinjaMacroDefinition.Parameter] = []
      for (position, parameter) in definition.parameters.enumerated() {
        if position < given.count {
          scope.set(parameter.name, given[position])
        } else if let index = try index(of: parameter.text, in: named) {
          scope.set(parameter.name, named.remove(at: index).value)
        } else {
          standards.append(parameter)
        }
      }
      if definition.takesCaller, !definition.parameters.contains(where: { $0.text == "caller" }) {
        let index = named.firstIndex { $0.name == "caller" }
        let value = index.map { named.remove(at: $0).value }
        let missing = JinjaValue.undefined(JinjaUndefined("the macro \(name) has no caller"))
        if let number = names.existingNumber(of: "caller") { scope.set(number, value ?? missing) }
      }
      if definition.takesDictionary {
        let rest = JinjaDictionary()
        for (name, value) in named {
          rest.set(.text(JinjaText(name).units), value, as: .text(arguments.text(ofName: name)))
        }
        if let number = names.existingNumber(of: "kwargs") { scope.set(number, .dictionary(rest)) }
      } else if let first = named.first {
        throw error("the macro \(name) has no parameter \(first.name)")
      }
      if definition.takesList {
        let rest = Array(given.dropFirst(definition.parameters.count))
        if let number = names.existingNumber(of: "varargs") { scope.set(number, try tuple(rest)) }
      } else if given.count > definition.parameters.count {
        throw error("the macro \(name) gets \(given.count) values; expected at most \(definition.parameters.count)")
      }
      // Default values may use the parameters before them.
      for parameter in standards {
        if let standard = parameter.standard {
          scope.set(parameter.name, try evaluate(standard, in: scope))
        } else {
          scope.set(parameter.name, .undefined(JinjaUndefined("parameter '\(parameter.text)' was not provided")))
        }
      }
      let outer = escapes
      defer { escapes = outer }
      escapes = macro.escapes
      return .text(try captured(definition.body, in: scope).text)
    }
  }
}

/// How large the variables of a rendering are.
struct JinjaSize {
  var values = 0
  var characters = 0

  /// A value takes some hundred bytes.
  static let mostValues = 500_000
  /// A character takes four bytes, in each of the texts that a template makes of it.
  static let mostCharacters = 1 << 25

  /// What is too large, as the finding and the expectation of an error; nil if nothing is.
  var excess: (found: String, expected: String)? {
    if values > Self.mostValues { return ("more than \(Self.mostValues) values", "at most as many in a chat") }
    if characters > Self.mostCharacters {
      return ("more than \(Self.mostCharacters) characters", "at most as many in a chat")
    }
    return nil
  }
}

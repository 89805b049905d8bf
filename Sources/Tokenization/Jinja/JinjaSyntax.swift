/// An expression of a template.
final class JinjaExpression: Sendable {
  indirect enum Kind: Sendable {
    case literal(JinjaLiteral)
    /// A variable, by its number in the template's table of names.
    case name(Int)
    case list([JinjaExpression])
    case tuple([JinjaExpression])
    case dictionary([(key: JinjaExpression, value: JinjaExpression)])
    case attribute(of: JinjaExpression, JinjaText)
    case item(of: JinjaExpression, JinjaExpression)
    case slice(of: JinjaExpression, JinjaExpression?, JinjaExpression?, JinjaExpression?)
    case call(JinjaExpression, JinjaArguments)
    case filter(JinjaExpression, JinjaFilterCall)
    case test(JinjaExpression, JinjaFilterCall)
    case condition(JinjaExpression, then: JinjaExpression, else: JinjaExpression?)
    case and(JinjaExpression, JinjaExpression)
    case or(JinjaExpression, JinjaExpression)
    case not(JinjaExpression)
    case negative(JinjaExpression)
    case positive(JinjaExpression)
    case arithmetic(JinjaOperator, JinjaExpression, JinjaExpression)
    case concatenation([JinjaExpression])
    case comparison(JinjaExpression, [(JinjaComparison, JinjaExpression)])
  }

  let kind: Kind
  let line: Int
  /// The nodes from here to the deepest one inside, which bounds the stack that evaluating and freeing take.
  let depth: Int

  static let largestDepth = 150

  init(_ kind: Kind, line: Int, depth: Int) {
    self.kind = kind
    self.line = line
    self.depth = depth
  }
}

enum JinjaLiteral: Sendable {
  case none
  case bool(Bool)
  case integer(Int128)
  case float(Double)
  case text(JinjaText)
}

enum JinjaOperator: String, Sendable {
  case add = "+"
  case subtract = "-"
  case multiply = "*"
  case divide = "/"
  case floorDivide = "//"
  case modulo = "%"
  case power = "**"
}

enum JinjaComparison: String, Sendable {
  case equal = "=="
  case notEqual = "!="
  case less = "<"
  case lessOrEqual = "<="
  case greater = ">"
  case greaterOrEqual = ">="
  case isIn = "in"
  case isNotIn = "not in"
}

/// The arguments of a call as they are written.
struct JinjaArguments: Sendable {
  var positional: [JinjaExpression] = []
  var named: [(name: String, value: JinjaExpression)] = []
  /// `*list`
  var list: JinjaExpression?
  /// `**dictionary`
  var dictionary: JinjaExpression?

  var all: [JinjaExpression] { positional + named.map(\.value) + [list, dictionary].compactMap(\.self) }
}

/// A filter or test with its arguments.
struct JinjaFilterCall: Sendable {
  let name: String
  let arguments: JinjaArguments
  let line: Int
}

/// The variables that a statement assigns to.
indirect enum JinjaTarget: Sendable {
  case name(Int)
  case attribute(namespace: Int, String)
  case tuple([JinjaTarget])
}

/// A statement of a template.
indirect enum JinjaStatement: Sendable {
  case text(JinjaText)
  case output(JinjaExpression)
  case loop(JinjaLoopStatement)
  case choice([(test: JinjaExpression, body: [JinjaStatement])], otherwise: [JinjaStatement])
  case set(JinjaTarget, JinjaExpression)
  case setBlock(JinjaTarget, [JinjaFilterCall], [JinjaStatement], line: Int)
  case macro(JinjaMacroDefinition)
  /// A call whose macro gets the body as `caller`.
  case call(JinjaExpression, body: JinjaMacroDefinition)
  case filter([JinjaFilterCall], [JinjaStatement], line: Int)
  case with([(JinjaTarget, JinjaExpression)], [JinjaStatement])
  case block([JinjaStatement])
  case autoescape(JinjaExpression, [JinjaStatement])
  /// The part of a rendering that training code takes as the model's own words.
  case generation([JinjaStatement])
  case breakLoop
  case continueLoop
  /// `include`, `import`, `from` or `extends`: a chat template is alone.
  case otherTemplate(String, line: Int)
}

final class JinjaLoopStatement: Sendable {
  let target: JinjaTarget
  let source: JinjaExpression
  let test: JinjaExpression?
  let isRecursive: Bool
  let body: [JinjaStatement]
  let otherwise: [JinjaStatement]
  let line: Int

  init(
    target: JinjaTarget, source: JinjaExpression, test: JinjaExpression?, isRecursive: Bool, body: [JinjaStatement],
    otherwise: [JinjaStatement], line: Int
  ) {
    self.target = target
    self.source = source
    self.test = test
    self.isRecursive = isRecursive
    self.body = body
    self.otherwise = otherwise
    self.line = line
  }
}

final class JinjaMacroDefinition: Sendable {
  struct Parameter: Sendable {
    let name: Int
    let text: String
    let standard: JinjaExpression?
  }

  /// The macro's name; nil for the body of a call block.
  let name: String?
  let variable: Int
  let parameters: [Parameter]
  let body: [JinjaStatement]
  /// Whether the body names `varargs`, `kwargs` and `caller`, with which the macro takes further arguments.
  let takesList: Bool
  let takesDictionary: Bool
  let takesCaller: Bool

  init(
    name: String?, variable: Int, parameters: [Parameter], body: [JinjaStatement], takesList: Bool,
    takesDictionary: Bool, takesCaller: Bool
  ) {
    self.name = name
    self.variable = variable
    self.parameters = parameters
    self.body = body
    self.takesList = takesList
    self.takesDictionary = takesDictionary
    self.takesCaller = takesCaller
  }
}

/// The tests that may follow `is`, and that `select` and its relatives take.
enum JinjaTest: String, CaseIterable {
  case boolean, callable, defined, divisibleby, eq, equalto, escaped, even, `false`, filter, float, ge, gt, greaterthan
  case `in`, integer, iterable, le, lessthan, lower, lt, mapping, ne, none, number, odd, sameas, sequence, string, test
  case `true`, undefined, upper
  case equalSymbol = "=="
  case notEqualSymbol = "!="
  case greaterSymbol = ">"
  case greaterOrEqualSymbol = ">="
  case lessSymbol = "<"
  case lessOrEqualSymbol = "<="
}

extension JinjaInterpreter {
  /// Whether a value passes a test.
  func passes(_ name: String, _ value: JinjaValue, _ arguments: JinjaGivenArguments) throws(JinjaError) -> Bool {
    guard let test = JinjaTest(rawValue: name) else { throw error("there is no test \(name)") }
    if let comparison = test.comparison {
      return try holds(comparison, value, required(bind(arguments, ["b"], of: name), 0, "b"))
    }
    switch test {
    case .sameas: return try isSame(value, required(bind(arguments, ["other"], of: name), 0, "other"))
    case .divisibleby:
      let divisor = try required(bind(arguments, ["num"], of: name), 0, "num")
      return try areEqual(arithmetic(.modulo, value, divisor), .integer(0))
    default: _ = try bind(arguments, [], of: name)
    }
    if case .text(let text) = value, [.lower, .upper, .filter, .test].contains(test) {
      try spend(characters: text.count)
      try spend(text.count)
    }
    switch (test, value) {
    case (.odd, _): return try areEqual(arithmetic(.modulo, value, .integer(2)), .integer(1))
    case (.even, _): return try areEqual(arithmetic(.modulo, value, .integer(2)), .integer(0))
    case (.lower, _): return try string(value).isLowercase
    case (.upper, _): return try string(value).isUppercase
    case (.filter, .text(let name)): return JinjaFilter(rawValue: name.string) != nil
    case (.test, .text(let name)): return JinjaTest(rawValue: name.string) != nil
    case (.filter, _), (.test, _):
      _ = try key(value)
      return false
    case (.defined, _): return !value.isUndefined
    case (.undefined, _): return value.isUndefined
    default: return isOfType(test, value)
    }
  }

  private func isOfType(_ test: JinjaTest, _ value: JinjaValue) -> Bool {
    switch (test, value) {
    case (.boolean, .bool), (.none, .none), (.integer, .integer), (.float, .float), (.string, .text),
      (.mapping, .dictionary):
      true
    case (.number, .bool), (.number, .integer), (.number, .float): true
    case (.true, .bool(let flag)): flag
    case (.false, .bool(let flag)): !flag
    case (.escaped, .text(let text)): text.isSafe
    case (.sequence, .text), (.sequence, .list), (.sequence, .tuple), (.sequence, .dictionary), (.sequence, .range),
      (.sequence, .undefined):
      true
    case (.iterable, .text), (.iterable, .list), (.iterable, .tuple), (.iterable, .dictionary), (.iterable, .range),
      (.iterable, .undefined), (.iterable, .view), (.iterable, .iterator), (.iterable, .loop):
      true
    case (.callable, .function), (.callable, .method), (.callable, .macro), (.callable, .loop), (.callable, .joiner),
      (.callable, .undefined):
      true
    default: false
    }
  }

  private func isSame(_ a: JinjaValue, _ b: JinjaValue) throws(JinjaError) -> Bool {
    switch (a, b) {
    case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)): a === b
    case (.dictionary(let a), .dictionary(let b)): a === b
    case (.undefined(let a), .undefined(let b)): a === b
    default: a.typeName == b.typeName ? try areEqual(a, b) : false
    }
  }
}

extension JinjaTest {
  fileprivate var comparison: JinjaComparison? {
    switch self {
    case .eq, .equalto, .equalSymbol: .equal
    case .ne, .notEqualSymbol: .notEqual
    case .gt, .greaterthan, .greaterSymbol: .greater
    case .ge, .greaterOrEqualSymbol: .greaterOrEqual
    case .lt, .lessthan, .lessSymbol: .less
    case .le, .lessOrEqualSymbol: .lessOrEqual
    case .in: .isIn
    default: nil
    }
  }
}

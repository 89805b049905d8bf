/// A value while a template runs.
enum JinjaValue {
  case undefined(JinjaUndefined)
  case none
  case bool(Bool)
  case integer(Int128)
  case float(Double)
  case text(JinjaText)
  case list(JinjaList)
  case tuple(JinjaList)
  case dictionary(JinjaDictionary)
  case view(JinjaView)
  case range(JinjaRange)
  /// What `map`, `select` and other filters make: its items come once.
  case iterator(JinjaIterator)
  case namespace(JinjaNamespace)
  case function(JinjaFunction)
  case method(JinjaMethod)
  case macro(JinjaMacro)
  case loop(JinjaLoop)
  case cycler(JinjaCycler)
  case joiner(JinjaJoiner)

  static func integer(_ value: Int) -> JinjaValue { .integer(Int128(value)) }

  static func text(_ string: String) -> JinjaValue { .text(JinjaText(string)) }

  /// Python's name of the type.
  var typeName: String {
    switch self {
    case .undefined: "Undefined"
    case .none: "NoneType"
    case .bool: "bool"
    case .integer: "int"
    case .float: "float"
    case .text: "str"
    case .list: "list"
    case .tuple: "tuple"
    case .dictionary: "dict"
    case .view(let view): view.kind.rawValue
    case .range: "range"
    case .iterator: "generator"
    case .namespace: "Namespace"
    case .function, .method: "function"
    case .macro: "Macro"
    case .loop: "LoopContext"
    case .cycler: "Cycler"
    case .joiner: "Joiner"
    }
  }

  /// The value in an error.
  var noun: String {
    switch self {
    case .none: "none"
    case .text: "a string"
    case .integer: "an integer"
    case .bool(let value): value ? "true" : "false"
    case .undefined: "undefined"
    case .iterator: "a generator"
    default: "a \(typeName)"
    }
  }

  var isUndefined: Bool { if case .undefined = self { true } else { false } }

  /// The nesting of containers from here down; freeing and printing values recurse this deep.
  var depth: Int {
    switch self {
    case .list(let list), .tuple(let list): list.depth
    case .dictionary(let dictionary): dictionary.depth
    case .view(let view): view.dictionary.depth
    case .iterator(let iterator): iterator.depth
    case .method(let method): method.receiver.depth
    case .cycler(let cycler): cycler.depth
    case .joiner(let joiner): joiner.depth
    case .loop(let loop): loop.nesting
    default: 0
    }
  }

  var isTrue: Bool {
    switch self {
    case .undefined, .none: false
    case .bool(let value): value
    case .integer(let value): value != 0
    case .float(let value): value != 0
    case .text(let text): !text.isEmpty
    case .list(let list), .tuple(let list): !list.items.isEmpty
    case .dictionary(let dictionary): !dictionary.entries.isEmpty
    case .view(let view): !view.dictionary.entries.isEmpty
    case .range(let range): range.count > 0
    case .loop(let loop): !loop.isEmpty
    case .iterator, .namespace, .function, .method, .macro, .cycler, .joiner: true
    }
  }

  /// The value if it is whole, as Python's `__index__` gives it.
  var index: Int128? {
    switch self {
    case .integer(let value): value
    case .bool(let value): value ? 1 : 0
    default: nil
    }
  }

  /// A number, of which true counts 1.
  var number: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .bool(let value): value ? 1 : 0
    case .float(let value): value
    default: nil
    }
  }
}

/// Why a value is not there.
final class JinjaUndefined {
  let message: String

  init(_ message: String) { self.message = message }
}

final class JinjaList {
  let items: [JinjaValue]
  let depth: Int
  /// Whether this is a key with its items, as `groupby` makes them.
  let isGroup: Bool

  init(_ items: [JinjaValue], isGroup: Bool = false) {
    self.items = items
    self.isGroup = isGroup
    depth = 1 + (items.lazy.map(\.depth).max() ?? 0)
  }
}

/// A dictionary in the order in which its keys were given.
final class JinjaDictionary {
  private(set) var entries: [(key: JinjaValue, value: JinjaValue)] = []
  private(set) var depth = 1
  private var keys: [JinjaKey] = []
  /// The positions of keys, where there are many: messages have few fields, and a table for each takes memory.
  private var positions: [JinjaKey: Int] = [:]
  private static let fewKeys = 8

  init() {}

  private func position(of key: JinjaKey) -> Int? {
    keys.count > Self.fewKeys ? positions[key] : keys.firstIndex(of: key)
  }

  func set(_ key: JinjaKey, _ value: JinjaValue, as written: JinjaValue) {
    depth = max(depth, 1 + value.depth, 1 + written.depth)
    if let position = position(of: key) {
      entries[position].value = value
      return
    }
    keys.append(key)
    entries.append((written, value))
    if keys.count == Self.fewKeys + 1 {
      for (position, key) in keys.enumerated() { positions[key] = position }
    } else if keys.count > Self.fewKeys {
      positions[key] = keys.count - 1
    }
  }

  subscript(key: JinjaKey) -> JinjaValue? { position(of: key).map { entries[$0].value } }

  subscript(name: JinjaText) -> JinjaValue? { self[.text(name.scalars)] }
}

/// A value as a key of a dictionary: 1, 1.0 and true are one key, and so are texts of any origin.
enum JinjaKey: Hashable {
  case none
  case integer(Int128)
  case float(Double)
  case text([UInt32])
  case tuple([JinjaKey])
  case object(ObjectIdentifier)

  /// Nil for tuples, and for values that cannot be keys, such as lists.
  init?(simple value: JinjaValue) {
    switch value {
    case .none: self = .none
    case .bool(let value): self = .integer(value ? 1 : 0)
    case .integer(let value): self = .integer(value)
    case .float(let value): self = Int128(exactly: value).map { .integer($0) } ?? .float(value)
    case .text(let text): self = .text(text.scalars)
    case .undefined: self = .object(ObjectIdentifier(JinjaUndefined.self))
    case .range(let range): self = .tuple([.integer(Int128(range.start)), .integer(Int128(range.count))])
    case .iterator(let object): self = .object(ObjectIdentifier(object))
    case .namespace(let object): self = .object(ObjectIdentifier(object))
    case .macro(let object): self = .object(ObjectIdentifier(object))
    case .loop(let object): self = .object(ObjectIdentifier(object))
    case .cycler(let object): self = .object(ObjectIdentifier(object))
    case .joiner(let object): self = .object(ObjectIdentifier(object))
    case .function(let function): self = .tuple([.none, .text(JinjaText(function.rawValue).units)])
    case .method(let object): self = .object(ObjectIdentifier(object))
    case .list, .tuple, .dictionary, .view: return nil
    }
  }
}

/// What `keys()`, `values()` and `items()` of a dictionary give.
final class JinjaView {
  enum Kind: String {
    case keys = "dict_keys"
    case values = "dict_values"
    case items = "dict_items"
  }

  let dictionary: JinjaDictionary
  let kind: Kind

  init(_ dictionary: JinjaDictionary, _ kind: Kind) {
    self.dictionary = dictionary
    self.kind = kind
  }

  var items: [JinjaValue] {
    switch kind {
    case .keys: dictionary.entries.map(\.key)
    case .values: dictionary.entries.map(\.value)
    case .items: dictionary.entries.map { .tuple(JinjaList([$0.key, $0.value])) }
    }
  }
}

final class JinjaRange {
  let start: Int
  let stop: Int
  let step: Int
  let count: Int

  init(start: Int, stop: Int, step: Int) {
    self.start = start
    self.stop = stop
    self.step = step
    count = step > 0 ? max(0, (stop - start + step - 1) / step) : max(0, (start - stop - step - 1) / -step)
  }

  subscript(index: Int) -> Int { start + index * step }
}

/// The variables of `namespace()`, which assignments in inner scopes change.
final class JinjaNamespace {
  private(set) var names: [String] = []
  private(set) var values: [String: JinjaValue] = [:]

  func set(_ name: String, _ value: JinjaValue) {
    if values.updateValue(value, forKey: name) == nil { names.append(name) }
  }

  /// Frees the values, which may hold the namespace itself.
  func clear() {
    names = []
    values = [:]
  }
}

/// A method of a value, not called yet.
final class JinjaMethod {
  let receiver: JinjaValue
  let name: String

  init(_ receiver: JinjaValue, _ name: String) {
    self.receiver = receiver
    self.name = name
  }
}

final class JinjaMacro {
  let definition: JinjaMacroDefinition
  let scope: JinjaScope
  let escapes: Bool

  init(_ definition: JinjaMacroDefinition, scope: JinjaScope, escapes: Bool) {
    self.definition = definition
    self.scope = scope
    self.escapes = escapes
  }
}

final class JinjaCycler {
  let items: [JinjaValue]
  let depth: Int
  var position = 0

  init(_ items: [JinjaValue]) {
    self.items = items
    depth = 1 + (items.lazy.map(\.depth).max() ?? 0)
  }
}

final class JinjaJoiner {
  let separator: JinjaValue
  let depth: Int
  var isUsed = false

  init(_ separator: JinjaValue) {
    self.separator = separator
    depth = 1 + separator.depth
  }
}

/// The functions that templates find without being given them.
enum JinjaFunction: String, CaseIterable {
  case range
  case dict
  case namespace
  case cycler
  case joiner
  case raiseException = "raise_exception"
  case strftimeNow = "strftime_now"
}

/// The variables of a block. Assignments go to the innermost one; what a loop's body assigns is gone after it.
final class JinjaScope {
  let parent: JinjaScope?
  private var values: [Int: JinjaValue] = [:]

  init(parent: JinjaScope?) { self.parent = parent }

  func set(_ name: Int, _ value: JinjaValue) { values[name] = value }

  /// The value of the innermost variable with that name, and how many scopes were searched.
  func find(_ name: Int) -> (value: JinjaValue?, searched: Int) {
    var scope: JinjaScope? = self
    var searched = 0
    while let current = scope {
      searched += 1
      if let value = current.values[name] { return (value, searched) }
      scope = current.parent
    }
    return (nil, searched)
  }

  /// Frees the values, among which may be macros that hold this scope.
  func clear() { values = [:] }
}

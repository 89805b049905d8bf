/// The items of a value, one after another.
final class JinjaIterator {
  /// Makes an item of another one; nil leaves the item out.
  typealias Step = (JinjaInterpreter, JinjaValue) throws(JinjaError) -> JinjaValue?

  private enum Source {
    case items([JinjaValue])
    case text(JinjaText)
    case range(JinjaRange)
    case iterator(JinjaIterator, Step)
    case failure(JinjaError)
  }

  private let source: Source
  private var position = 0
  /// How many iterators an item comes through.
  let depth: Int

  /// - Parameter depth: how deep the items nest; nil if it has to be counted.
  init(_ items: [JinjaValue], depth: Int? = nil) {
    source = .items(items)
    self.depth = 1 + (depth ?? items.lazy.map(\.depth).max() ?? 0)
  }

  init(_ text: JinjaText) {
    source = .text(text)
    depth = 1
  }

  init(_ range: JinjaRange) {
    source = .range(range)
    depth = 1
  }

  init(failing error: JinjaError) {
    source = .failure(error)
    depth = 1
  }

  /// An iterator whose items are made while they are asked for.
  init(_ iterator: JinjaIterator, _ step: @escaping Step) {
    source = .iterator(iterator, step)
    depth = iterator.depth + 1
  }

  func next(_ interpreter: JinjaInterpreter) throws(JinjaError) -> JinjaValue? {
    while true {
      try interpreter.spend(1)
      let item: JinjaValue
      switch source {
      case .items(let items):
        guard position < items.count else { return nil }
        item = items[position]
      case .text(let text):
        guard position < text.count else { return nil }
        item = .text(text.slice(position..<position + 1))
      case .range(let range):
        guard position < range.count else { return nil }
        item = .integer(range[position])
      case .failure(let error): throw error
      case .iterator(let inner, let step):
        guard let next = try inner.next(interpreter) else { return nil }
        guard let made = try step(interpreter, next) else { continue }
        item = made
      }
      position += 1
      return item
    }
  }

  /// All items that are left.
  func rest(_ interpreter: JinjaInterpreter) throws(JinjaError) -> [JinjaValue] {
    var items: [JinjaValue] = []
    while let item = try next(interpreter) { items.append(item) }
    return items
  }
}

/// The variable `loop`.
final class JinjaLoop {
  private var iterator: JinjaIterator
  /// The number of items, where it is known without reading them.
  private var knownCount: Int?
  /// How many recursive loops this one is in.
  let depth: Int
  /// For a loop that calls itself: its statement and scope.
  let recursion: (JinjaLoopStatement, JinjaScope)?
  private(set) var index = -1
  private(set) var current: JinjaValue?
  private var previous: JinjaValue?
  /// The next item, if it was read early; inside, nil at the end.
  private var ahead: JinjaValue??
  private var changed: [JinjaValue]?

  init(
    _ iterator: JinjaIterator, knownCount: Int?, depth: Int, recursion: (JinjaLoopStatement, JinjaScope)?
  ) {
    self.iterator = iterator
    self.knownCount = knownCount
    self.depth = depth
    self.recursion = recursion
  }

  var isEmpty: Bool { knownCount == 0 }

  /// The nesting of the values that the loop holds.
  var nesting: Int { iterator.depth + 1 }

  /// Forgets the values of `changed`, which may hold the loop itself.
  func end() { changed = nil }

  func advance(_ interpreter: JinjaInterpreter) throws(JinjaError) -> JinjaValue? {
    let next = try peek(interpreter)
    ahead = nil
    guard let next else { return nil }
    index += 1
    previous = current
    current = next
    return next
  }

  private func peek(_ interpreter: JinjaInterpreter) throws(JinjaError) -> JinjaValue? {
    if let ahead { return ahead }
    let next = try iterator.next(interpreter)
    ahead = .some(next)
    return next
  }

  private func count(_ interpreter: JinjaInterpreter) throws(JinjaError) -> Int {
    if let knownCount { return knownCount }
    let rest = try iterator.rest(interpreter)
    iterator = JinjaIterator(rest)
    let isAhead = if case .some(.some) = ahead { true } else { false }
    let count = rest.count + index + 1 + (isAhead ? 1 : 0)
    knownCount = count
    return count
  }

  /// An attribute of `loop`; nil if it has none of that name.
  func attribute(_ name: String, _ interpreter: JinjaInterpreter) throws(JinjaError) -> JinjaValue? {
    switch name {
    case "index": return .integer(index + 1)
    case "index0": return .integer(index)
    case "revindex": return .integer(try count(interpreter) - index)
    case "revindex0": return .integer(try count(interpreter) - index - 1)
    case "first": return .bool(index == 0)
    case "last": return .bool(try peek(interpreter) == nil)
    case "length": return .integer(try count(interpreter))
    case "depth": return .integer(depth + 1)
    case "depth0": return .integer(depth)
    case "previtem":
      return index > 0 ? previous : .undefined(JinjaUndefined("there is no item before the first one of a loop"))
    case "nextitem":
      return try peek(interpreter) ?? .undefined(JinjaUndefined("there is no item after the last one of a loop"))
    case "cycle", "changed": return .method(JinjaMethod(.loop(self), name))
    default: return nil
    }
  }

  /// Whether the values differ from those of the last call.
  func hasChanged(to values: [JinjaValue], _ interpreter: JinjaInterpreter) throws(JinjaError) -> Bool {
    if let changed, try interpreter.areEqual(.tuple(JinjaList(changed)), .tuple(JinjaList(values))) { return false }
    changed = values
    return true
  }
}

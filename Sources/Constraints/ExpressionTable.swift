/// An expression of the table that made it.
typealias Expression = Int32

/// Expressions for sets of byte strings, which are taken apart byte by byte: the state of a text is the expression of
/// what may follow (its derivative, after Brzozowski 1964).
///
/// Equal expressions have equal numbers. No expression but `never` is of the empty set, so a text whose expression is
/// not `never` can always be completed.
struct ExpressionTable {
  static let never: Expression = 0
  /// The empty text alone.
  static let empty: Expression = 1
  /// The largest count, which means any number.
  static let unbounded = Int32.max

  enum Kind: UInt8 {
    case never, empty
    /// A byte of `byteSets[a]`.
    case byte
    /// A text of a, then one of b.
    case chain
    /// A text of one of `members[a..<b]`.
    case alternatives
    /// What `automata[a]` accepts from state b on.
    case automaton
    /// What ends a string whose content is in state a: at least b more characters and at most c, then a quote.
    case content
    /// b to c texts of a, which has no empty text.
    case repetition
    /// A value for goal a, with b recursions left.
    case goal
  }

  struct Node: Hashable {
    var kind: Kind
    var a: Int32 = 0
    var b: Int32 = 0
    var c: Int32 = 0
  }

  private(set) var nodes: [Node] = [Node(kind: .never), Node(kind: .empty)]
  /// Whether the empty text is one of the expression's.
  private(set) var isNullable: [Bool] = [false, true]
  private(set) var members: [Expression] = []
  private(set) var automata: [ByteAutomaton] = []
  private(set) var byteSets: [SIMD4<UInt64>] = []
  private var interned: [Node: Expression] = [:]
  private var setNumbers: [SIMD4<UInt64>: Int32] = [:]
  private var memberNumbers: [[Expression]: Expression] = [:]
  private var derivatives: [UInt64: Expression] = [:]
  private var bodies: [Expression: Expression] = [:]

  var count: Int { nodes.count + derivatives.count }

  private mutating func intern(_ node: Node, nullable: Bool) -> Expression {
    if let number = interned[node] { return number }
    let number = Int32(nodes.count)
    nodes.append(node)
    isNullable.append(nullable)
    interned[node] = number
    return number
  }

  // MARK: Making

  mutating func byte(_ ranges: [ClosedRange<UInt8>]) -> Expression {
    var set = SIMD4<UInt64>()
    for byte in ranges.joined() { set[Int(byte >> 6)] |= 1 << UInt64(byte & 63) }
    let number = setNumbers[set] ?? Int32(byteSets.count)
    if Int(number) == byteSets.count {
      setNumbers[set] = number
      byteSets.append(set)
    }
    return intern(Node(kind: .byte, a: number), nullable: false)
  }

  mutating func text(_ bytes: some Collection<UInt8>, then rest: Expression = empty) -> Expression {
    var result = rest
    for byte in bytes.reversed() { result = chain(self.byte([byte...byte]), result) }
    return result
  }

  mutating func text(_ text: StaticString, then rest: Expression = empty) -> Expression {
    self.text(text.withUTF8Buffer { Array($0) }, then: rest)
  }

  mutating func chain(_ first: Expression, _ rest: Expression) -> Expression {
    if first == Self.never || rest == Self.never { return Self.never }
    if first == Self.empty { return rest }
    if rest == Self.empty { return first }
    // To the right, so that a step looks at the beginning alone.
    let node = nodes[Int(first)]
    if node.kind == .chain { return chain(node.a, chain(node.b, rest)) }
    return intern(
      Node(kind: .chain, a: first, b: rest), nullable: isNullable[Int(first)] && isNullable[Int(rest)])
  }

  mutating func alternatives(_ parts: some Collection<Expression>) -> Expression {
    var flat: [Expression] = []
    for part in parts where part != Self.never {
      let node = nodes[Int(part)]
      if node.kind == .alternatives { flat += members[Int(node.a)..<Int(node.b)] } else { flat.append(part) }
    }
    if flat.count > 1 {
      flat.sort()
      var last: Expression = -1
      flat.removeAll { part in
        defer { last = part }
        return part == last
      }
    }
    guard flat.count > 1 else { return flat.first ?? Self.never }
    if let number = memberNumbers[flat] { return number }
    let start = Int32(members.count)
    members += flat
    let number = intern(
      Node(kind: .alternatives, a: start, b: Int32(members.count)), nullable: flat.contains { isNullable[Int($0)] })
    memberNumbers[flat] = number
    return number
  }

  mutating func optional(_ part: Expression) -> Expression { alternatives([Self.empty, part]) }

  mutating func automaton(_ automaton: ByteAutomaton?) -> Expression {
    guard let automaton else { return Self.never }
    automata.append(automaton)
    return self.automaton(Int32(automata.count - 1), 0)
  }

  private mutating func automaton(_ index: Int32, _ state: Int32) -> Expression {
    let isAccepting = automata[Int(index)].isAccepting[Int(state)]
    if isAccepting, automata[Int(index)].edges[Int(state)].isEmpty { return Self.empty }
    return intern(Node(kind: .automaton, a: index, b: state), nullable: isAccepting)
  }

  /// What follows the opening quote of a string with so many characters.
  mutating func content(state: Int32 = 0, least: Int32, most: Int32) -> Expression {
    guard least <= most else { return Self.never }
    return intern(Node(kind: .content, a: state, b: least, c: most), nullable: false)
  }

  mutating func repetition(_ part: Expression, least: Int32, most: Int32) -> Expression {
    guard least <= most else { return Self.never }
    if part == Self.never { return least == 0 ? Self.empty : Self.never }
    if most == 0 { return Self.empty }
    if least == 1, most == 1 { return part }
    return intern(Node(kind: .repetition, a: part, b: least, c: most), nullable: least == 0)
  }

  /// A value for a goal that is known to have one.
  mutating func goal(_ goal: Int32, recursions: Int32) -> Expression {
    intern(Node(kind: .goal, a: goal, b: recursions), nullable: false)
  }

  // MARK: Taking apart

  /// What may follow a byte; `never` if the byte may not be next.
  ///
  /// - Parameter body: makes the expression of a goal with so many recursions left.
  mutating func derivative(
    _ expression: Expression, _ byte: UInt8, body: (inout ExpressionTable, Int32, Int32) -> Expression
  ) -> Expression {
    let node = nodes[Int(expression)]
    switch node.kind {
    case .never, .empty: return Self.never
    case .byte:
      return byteSets[Int(node.a)][Int(byte >> 6)] >> UInt64(byte & 63) & 1 != 0 ? Self.empty : Self.never
    default: break
    }
    let key = UInt64(UInt32(bitPattern: expression)) << 8 | UInt64(byte)
    if let known = derivatives[key] { return known }
    let result: Expression
    switch node.kind {
    case .never, .empty, .byte: result = Self.never
    case .chain:
      let first = derivative(node.a, byte, body: body)
      let after = chain(first, node.b)
      result =
        isNullable[Int(node.a)] ? alternatives([after, derivative(node.b, byte, body: body)]) : after
    case .alternatives:
      var parts: [Expression] = []
      for place in Int(node.a)..<Int(node.b) {
        let part = derivative(members[place], byte, body: body)
        if part != Self.never { parts.append(part) }
      }
      result = alternatives(parts)
    case .automaton:
      result = automata[Int(node.a)].next(node.b, byte).map { automaton(node.a, $0) } ?? Self.never
    case .content: result = content(node, after: byte)
    case .repetition:
      let first = derivative(node.a, byte, body: body)
      let most = node.c == Self.unbounded ? node.c : node.c - 1
      result = chain(first, repetition(node.a, least: max(0, node.b - 1), most: most))
    case .goal:
      if bodies[expression] == nil { bodies[expression] = body(&self, node.a, node.b) }
      result = derivative(bodies[expression]!, byte, body: body)
    }
    derivatives[key] = result
    return result
  }

  private mutating func content(_ node: Node, after byte: UInt8) -> Expression {
    if node.a == 0, byte == StringContent.quote { return node.b == 0 ? Self.empty : Self.never }
    guard node.c > 0, let next = StringContent.next(node.a, byte) else { return Self.never }
    guard next == 0 else { return content(state: next, least: node.b, most: node.c) }
    return content(state: 0, least: max(0, node.b - 1), most: node.c == Self.unbounded ? node.c : node.c - 1)
  }
}

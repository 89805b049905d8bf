import Synchronization

/// A constraint over the tokens of one vocabulary. Several texts can go through it at a time.
///
/// A text's state is the expression of what may follow. The mask of a state is computed when a text first gets there,
/// and kept.
package final class ConstraintMachine: Sendable {
  /// The place of one text.
  package struct State: Sendable {
    fileprivate var expression: Expression
    fileprivate var epoch: Int
    /// All bytes so far, to find the place again after the machine has forgotten its expressions.
    fileprivate var bytes: [UInt8] = []
  }

  /// The tokens that may be next.
  package struct Mask: Sendable {
    /// Bit i of word w: token 32 · w + i. `[ceil(vocabulary / 32)]`
    package let words: [UInt32]
    /// Whether the text may end here.
    package let isComplete: Bool
  }

  private struct Memory {
    var table: ExpressionTable
    var start: Expression
    var epoch = 0
    var masks: [Expression: [UInt32]] = [:]
    /// By automaton and state.
    var insides: [ExpressionTable.Node: TokenSet] = [:]
  }

  package let trie: TokenTrie
  private let program: SchemaProgram
  package let constraint: TextConstraint
  private let roots: [[Int32?]]
  private let memory: Mutex<Memory>

  /// Masks that are kept: 16 MiB of them for 128k tokens.
  private static let mostMasks = 1024
  /// Expressions and steps that are kept.
  private static let mostExpressions = 400_000
  /// A state of an automaton from which so many bytes lead is walked with all tokens once.
  private static let wideState = 64

  /// - Throws: `ConstraintError`; see `TextConstraint.program`.
  package init(_ constraint: TextConstraint, _ trie: TokenTrie) throws(ConstraintError) {
    (self.constraint, self.trie) = (constraint, trie)
    (program, roots) = try constraint.program()
    memory = Mutex(Self.fresh(constraint, program, roots))
  }

  private static func fresh(_ constraint: TextConstraint, _ program: SchemaProgram, _ roots: [[Int32?]]) -> Memory {
    var table = program.table
    var starts: [Expression] = []
    for (parts, numbers) in zip(constraint.alternatives, roots) {
      var expression = ExpressionTable.empty
      for (part, number) in zip(parts, numbers).reversed() {
        switch part {
        case .text(let text): expression = table.text(text.utf8, then: expression)
        case .json: expression = table.chain(program.root(number!, in: &table), expression)
        }
      }
      starts.append(expression)
    }
    let start = table.alternatives(starts)
    return Memory(table: table, start: start)
  }

  package func start() -> State { memory.withLock { State(expression: $0.start, epoch: $0.epoch) } }

  /// Goes on by a token.
  ///
  /// - Returns: whether the constraint allows it; otherwise the state stays as it is.
  package func append(_ token: Int32, to state: inout State) -> Bool { append(trie.text(of: token), to: &state) }

  /// Goes on by some bytes.
  package func append(_ bytes: some Collection<UInt8>, to state: inout State) -> Bool {
    memory.withLock { memory in
      find(&state, in: &memory)
      var expression = state.expression
      for byte in bytes {
        expression = step(expression, byte, in: &memory)
        guard expression != ExpressionTable.never else { return false }
      }
      state.expression = expression
      state.bytes += bytes
      return !bytes.isEmpty
    }
  }

  package func isComplete(_ state: State) -> Bool {
    memory.withLock { memory in
      var state = state
      find(&state, in: &memory)
      return memory.table.isNullable[Int(state.expression)]
    }
  }

  package func mask(_ state: State) -> Mask {
    memory.withLock { memory in
      if memory.table.count > Self.mostExpressions {
        let epoch = memory.epoch
        memory = Self.fresh(constraint, program, roots)
        memory.epoch = epoch + 1
      }
      var state = state
      find(&state, in: &memory)
      return Mask(
        words: words(state.expression, in: &memory), isComplete: memory.table.isNullable[Int(state.expression)])
    }
  }

  /// Finds the place of a text again if the machine has forgotten its expressions.
  private func find(_ state: inout State, in memory: inout Memory) {
    guard state.epoch != memory.epoch else { return }
    state.epoch = memory.epoch
    state.expression = memory.start
    for byte in state.bytes { state.expression = step(state.expression, byte, in: &memory) }
  }

  private func step(_ expression: Expression, _ byte: UInt8, in memory: inout Memory) -> Expression {
    memory.table.derivative(expression, byte) { self.program.body(&$0, $1, $2) }
  }

  // MARK: Masks

  private func words(_ expression: Expression, in memory: inout Memory) -> [UInt32] {
    if let known = memory.masks[expression] { return known }
    var words = trie.emptyWords()
    let node = memory.table.nodes[Int(expression)]
    if node.kind == .alternatives {
      // A token that one of them allows is allowed.
      for place in Int(node.a)..<Int(node.b) { add(memory.table.members[place], to: &words, in: &memory) }
    } else {
      add(expression, to: &words, in: &memory)
    }
    if memory.masks.count >= Self.mostMasks { memory.masks = [:] }
    memory.masks[expression] = words
    return words
  }

  private func add(_ expression: Expression, to words: inout [UInt32], in memory: inout Memory) {
    let node = memory.table.nodes[Int(expression)]
    let isChain = node.kind == .chain
    let head = isChain ? memory.table.nodes[Int(node.a)] : node
    guard let inside = inside(head, in: &memory) else {
      return walk(0, expression, &words, in: &memory)
    }
    for index in words.indices { words[index] |= inside.words[index] }
    if isChain { for exit in inside.exits { walk(Int(exit), node.b, &words, in: &memory) } }
  }

  /// What tokens can do inside a part; nil where few tokens can do anything.
  private func inside(_ head: ExpressionTable.Node, in memory: inout Memory) -> TokenSet? {
    switch head.kind {
    case .content: return trie.inside(head)
    case .automaton:
      let automaton = memory.table.automata[Int(head.a)]
      guard automaton.width(head.b) >= Self.wideState else { return nil }
      if let known = memory.insides[head] { return known }
      let set = trie.inside(automaton, from: head.b)
      if memory.insides.count >= 256 { memory.insides = [:] }
      memory.insides[head] = set
      return set
    default: return nil
    }
  }

  /// Sets the bits of the tokens below a node whose remaining bytes an expression allows.
  private func walk(_ root: Int, _ expression: Expression, _ words: inout [UInt32], in memory: inout Memory) {
    let end = Int(trie.ends[root])
    guard root + 1 < end else { return }
    let base = Int(trie.depths[root])
    var stack = [expression]
    var node = root + 1
    while node < end {
      let level = Int(trie.depths[node]) - base
      stack.removeLast(stack.count - level)
      let next = step(stack[level - 1], trie.bytes[node], in: &memory)
      guard next != ExpressionTable.never else {
        node = Int(trie.ends[node])
        continue
      }
      trie.allow(node, in: &words)
      stack.append(next)
      node += 1
    }
  }
}

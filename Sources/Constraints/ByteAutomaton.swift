/// A deterministic automaton over bytes. From every state an accepting one can be reached.
struct ByteAutomaton {
  struct Edge: Equatable {
    var first: UInt8
    var last: UInt8
    var target: Int32
  }

  /// The start state is 0. Edges of a state are in ascending order and do not overlap.
  private(set) var edges: [[Edge]]
  private(set) var isAccepting: [Bool]

  var count: Int { edges.count }

  /// The automaton had more states or took more work than is allowed.
  struct TooLarge: Error {}

  /// - Returns: nil if the automaton accepts nothing.
  init?(edges: [[Edge]], isAccepting: [Bool]) {
    // Drop the states from which no accepting one can be reached.
    var sources = [[Int32]](repeating: [], count: edges.count)
    for (state, list) in edges.enumerated() { for edge in list { sources[Int(edge.target)].append(Int32(state)) } }
    var isLive = isAccepting
    var open = edges.indices.filter { isAccepting[$0] }
    while let state = open.popLast() {
      for source in sources[state] where !isLive[Int(source)] {
        isLive[Int(source)] = true
        open.append(Int(source))
      }
    }
    guard isLive.first == true else { return nil }
    var places = [Int32](repeating: -1, count: edges.count)
    var next: Int32 = 0
    for state in edges.indices where isLive[state] {
      places[state] = next
      next += 1
    }
    self.edges = edges.indices.filter { isLive[$0] }.map { state in
      edges[state].filter { isLive[Int($0.target)] }.map {
        Edge(first: $0.first, last: $0.last, target: places[Int($0.target)])
      }
    }
    self.isAccepting = isAccepting.indices.filter { isLive[$0] }.map { isAccepting[$0] }
  }

  /// The state after a byte; nil if no accepted text goes on with it.
  func next(_ state: Int32, _ byte: UInt8) -> Int32? {
    let list = edges[Int(state)]
    var (low, high) = (0, list.count)
    while low < high {
      let middle = (low + high) / 2
      if list[middle].last < byte { low = middle + 1 } else { high = middle }
    }
    return low < list.count && list[low].first <= byte ? list[low].target : nil
  }

  /// How many bytes a state has edges for.
  func width(_ state: Int32) -> Int { edges[Int(state)].reduce(0) { $0 + Int($1.last - $1.first) + 1 } }

  /// The texts of a list. The work is in proportion to their bytes.
  init?(texts: [[UInt8]]) {
    var children: [[UInt8: Int32]] = [[:]]
    var accepting = [false]
    for text in texts {
      var state: Int32 = 0
      for byte in text {
        if let next = children[Int(state)][byte] {
          state = next
        } else {
          children[Int(state)][byte] = Int32(children.count)
          state = Int32(children.count)
          children.append([:])
          accepting.append(false)
        }
      }
      accepting[Int(state)] = true
    }
    self.init(
      edges: children.map { list in
        list.sorted { $0.key < $1.key }.map { Edge(first: $0.key, last: $0.key, target: $0.value) }
      }, isAccepting: accepting)
  }

  /// The automaton whose states are the pairs that two automata reach together.
  ///
  /// - Parameters:
  ///   - other: where it has no edge, it goes to a state of its own, which is passed as nil.
  ///   - mustFollow: whether texts end where `other` has no edge.
  ///   - accepts: whether a pair accepts.
  func product(
    _ other: ByteAutomaton, mustFollow: Bool, accepts: (Int32, Int32?) -> Bool
  ) throws(TooLarge) -> ByteAutomaton? {
    struct Pair: Hashable { var a: Int32, b: Int32 }
    var places: [Pair: Int32] = [Pair(a: 0, b: 0): 0]
    var pairs = [Pair(a: 0, b: 0)]
    var edges: [[Edge]] = []
    var work = 0
    while edges.count < pairs.count {
      let pair = pairs[edges.count]
      var list: [Edge] = []
      func add(_ first: Int, _ last: Int, _ a: Int32, _ b: Int32) {
        guard first <= last, b >= 0 || !mustFollow else { return }
        let target = Pair(a: a, b: b)
        let place = places[target] ?? Int32(pairs.count)
        if Int(place) == pairs.count {
          places[target] = place
          pairs.append(target)
        }
        list.append(Edge(first: UInt8(first), last: UInt8(last), target: place))
      }
      let others = pair.b < 0 ? [] : other.edges[Int(pair.b)]
      for edge in self.edges[Int(pair.a)] {
        var start = Int(edge.first)
        for second in others where second.last >= edge.first && second.first <= edge.last {
          let (first, last) = (max(Int(second.first), Int(edge.first)), min(Int(second.last), Int(edge.last)))
          add(start, first - 1, edge.target, -1)
          add(first, last, edge.target, second.target)
          start = last + 1
        }
        add(start, Int(edge.last), edge.target, -1)
        work += 1 + others.count
      }
      guard pairs.count <= SchemaLimits.states, work <= SchemaLimits.work else { throw TooLarge() }
      edges.append(list)
    }
    return ByteAutomaton(edges: edges, isAccepting: pairs.map { accepts($0.a, $0.b < 0 ? nil : $0.b) })
  }

  /// The texts that both accept.
  func intersection(_ other: ByteAutomaton) throws(TooLarge) -> ByteAutomaton? {
    try product(other, mustFollow: true) { isAccepting[Int($0)] && other.isAccepting[Int($1!)] }
  }

  /// The texts of this one that the other does not accept.
  func subtracting(_ other: ByteAutomaton) throws(TooLarge) -> ByteAutomaton? {
    try product(other, mustFollow: false) { a, b in
      isAccepting[Int(a)] && !(b.map { other.isAccepting[Int($0)] } ?? false)
    }
  }
}

/// A nondeterministic automaton, as regular expressions are made of.
struct ByteGraph {
  private struct State {
    var edges: [(first: UInt8, last: UInt8, target: Int32)] = []
    var free: [Int32] = []
  }
  private var states: [State] = []

  var count: Int { states.count }

  mutating func state() -> Int32 {
    states.append(State())
    return Int32(states.count - 1)
  }
  mutating func connect(_ from: Int32, _ to: Int32) { states[Int(from)].free.append(to) }
  mutating func connect(_ from: Int32, _ bytes: ClosedRange<UInt8>, _ to: Int32) {
    states[Int(from)].edges.append((bytes.lowerBound, bytes.upperBound, to))
  }

  /// The deterministic automaton of the texts from `start` to `end`; nil if there are none.
  func automaton(from start: Int32, to end: Int32) throws(ByteAutomaton.TooLarge) -> ByteAutomaton? {
    var work = 0
    var isSeen = [Bool](repeating: false, count: states.count)
    func closure(_ seeds: [Int32]) -> [Int32] {
      var set: [Int32] = []
      var open = seeds
      while let state = open.popLast() {
        guard !isSeen[Int(state)] else { continue }
        isSeen[Int(state)] = true
        set.append(state)
        open += states[Int(state)].free
        work += 1 + states[Int(state)].free.count
      }
      for state in set { isSeen[Int(state)] = false }
      // States with free edges alone say nothing more.
      return set.filter { !states[Int($0)].edges.isEmpty || $0 == end }.sorted()
    }
    let first = closure([start])
    var places: [[Int32]: Int32] = [first: 0]
    var sets = [first]
    var edges: [[ByteAutomaton.Edge]] = []
    while edges.count < sets.count {
      let out = sets[edges.count].flatMap { states[Int($0)].edges }
      // Between two neighbouring cuts, all bytes lead to the same states.
      let cuts = Set(out.flatMap { [Int($0.first), Int($0.last) + 1] }).sorted()
      work += out.count * max(1, cuts.count)
      guard work <= SchemaLimits.work, sets.count <= SchemaLimits.states else { throw ByteAutomaton.TooLarge() }
      var list: [ByteAutomaton.Edge] = []
      for (low, high) in zip(cuts, cuts.dropFirst()) {
        let targets = out.filter { $0.first <= low && Int($0.last) >= high - 1 }.map(\.target)
        guard !targets.isEmpty else { continue }
        let set = closure(targets)
        let place = places[set] ?? Int32(sets.count)
        if Int(place) == sets.count {
          places[set] = place
          sets.append(set)
        }
        if let last = list.last, last.target == place, Int(last.last) == low - 1 {
          list[list.count - 1].last = UInt8(high - 1)
        } else {
          list.append(.init(first: UInt8(low), last: UInt8(high - 1), target: place))
        }
      }
      edges.append(list)
    }
    return ByteAutomaton(edges: edges, isAccepting: sets.map { $0.contains(end) })
  }
}

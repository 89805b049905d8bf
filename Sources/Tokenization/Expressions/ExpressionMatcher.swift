/// Finds the matches of a regular expression, by backtracking with its own stack.
///
/// Backtracking can need time that grows with the square of a text's length, or worse. Steps are therefore counted; when
/// a text has used up ``stepsForByte`` for each byte, the places that failed are remembered from then on and not tried
/// again. That gives the same matches in time that grows with the text's length and the expression's.
struct ExpressionMatcher: MatchFinder, Sendable {
  private enum Instruction: Sendable {
    /// One scalar of a set.
    case one(Int)
    /// As many scalars of a set as possible, but at least and at most as many as given.
    case run(Int, minimum: Int, maximum: Int, isPossessive: Bool)
    /// Continue at `first`, and if that fails at `second`.
    case fork(first: Int, second: Int)
    case jump(Int)
    /// What follows, up to its ``accept``, must match or not; then continue at `end`.
    case lookAhead(isNegated: Bool, end: Int)
    /// The same, and the text that it matches is consumed.
    case atomic(end: Int)
    case accept
  }

  /// A place to continue at if the current attempt fails.
  private struct Alternative {
    var instruction: Int
    var at: Int
    /// For a run that may give back scalars: the shortest end; -1 otherwise.
    var lowest: Int
    /// How many places were open when this one was left for later.
    var openCount: Int
  }

  private static let largestProgram = 20_000
  private static let mostSets = 1_000
  private static let stepsForByte = 512
  private static let freeSteps = 1_000_000

  private let reading: ScalarReading
  private var program: [Instruction] = []
  private var sets: [ByteClassifier] = []
  private var setNumbers: [(ranges: ScalarRanges, number: Int)] = []
  /// Whether a match can begin with this byte.
  private var canBegin: [Bool] = []

  private var alternatives: [Alternative] = []
  private var stepsLeft = 0
  /// Whether steps are used up.
  private var remembers = false
  private var failures = MatchFailures()
  /// The end of the texts that `failures` is about.
  private var end = -1
  /// Places that were entered and have not failed yet.
  private var open: [MatchFailures.Place] = []

  init(_ expression: Expression, _ reading: ScalarReading) throws(ExpressionParser.Refusal) {
    self.reading = reading
    try compile(expression)
    program.append(.accept)
    let first = ByteClassifier(expression.firstScalars, reading)
    canBegin = (0...255).map { expression.canBeEmpty || first.mayBegin(UInt8($0)) }
  }

  // MARK: - Compilation

  private mutating func compile(_ expression: Expression) throws(ExpressionParser.Refusal) {
    if program.count > Self.largestProgram || sets.count > Self.mostSets {
      throw ExpressionParser.Refusal(
        found: "an expression of more than \(Self.largestProgram) steps or \(Self.mostSets) sets",
        expected: "a smaller one")
    }
    switch expression {
    case .empty: break
    case .set(let ranges): program.append(.one(number(of: ranges)))
    case .sequence(let parts): for part in parts { try compile(part) }
    case .alternatives(let parts):
      var jumps: [Int] = []
      for part in parts.dropLast() {
        let fork = program.count
        program.append(.accept)
        try compile(part)
        jumps.append(program.count)
        program.append(.accept)
        program[fork] = .fork(first: fork + 1, second: program.count)
      }
      try compile(parts[parts.count - 1])
      for jump in jumps { program[jump] = .jump(program.count) }
    case .repetition(let part, let repetition): try compile(part, repetition)
    case .lookAhead(let part, let isNegated):
      let start = try compileInner(part)
      program[start] = .lookAhead(isNegated: isNegated, end: program.count)
    case .atomic(let part):
      let start = try compileInner(part)
      program[start] = .atomic(end: program.count)
    }
  }

  /// Compiles a part with its own end, after an instruction that the caller fills in.
  private mutating func compileInner(_ part: Expression) throws(ExpressionParser.Refusal) -> Int {
    let start = program.count
    program.append(.accept)
    try compile(part)
    program.append(.accept)
    return start
  }

  private mutating func compile(
    _ part: Expression, _ repetition: Expression.Repetition
  ) throws(ExpressionParser.Refusal) {
    if case .set(let ranges) = part, repetition.kind != .lazy {
      program.append(
        .run(
          number(of: ranges), minimum: repetition.minimum, maximum: repetition.maximum ?? .max,
          isPossessive: repetition.kind == .possessive))
      return
    }
    if repetition.kind == .possessive {
      var inner = repetition
      inner.kind = .greedy
      return try compile(.atomic(.repetition(part, inner)))
    }
    for _ in 0..<repetition.minimum { try compile(part) }
    func fork(_ at: Int, after end: Int) -> Instruction {
      repetition.kind == .lazy ? .fork(first: end, second: at + 1) : .fork(first: at + 1, second: end)
    }
    guard let maximum = repetition.maximum else {
      let loop = program.count
      program.append(.accept)
      try compile(part)
      program.append(.jump(loop))
      program[loop] = fork(loop, after: program.count)
      return
    }
    var forks: [Int] = []
    for _ in repetition.minimum..<maximum {
      forks.append(program.count)
      program.append(.accept)
      try compile(part)
    }
    for at in forks { program[at] = fork(at, after: program.count) }
  }

  private mutating func number(of ranges: ScalarRanges) -> Int {
    if let known = setNumbers.first(where: { $0.ranges == ranges }) { return known.number }
    setNumbers.append((ranges, sets.count))
    sets.append(ByteClassifier(ranges, reading))
    return sets.count - 1
  }

  // MARK: - Matching

  /// Begins a text of that many bytes.
  mutating func begin(_ byteCount: Int) {
    stepsLeft = byteCount * Self.stepsForByte + Self.freeSteps
    remembers = false
    failures = MatchFailures()
  }

  mutating func firstMatch(
    in text: Span<UInt8>, from start: Int, to end: Int, isFirst: Bool
  ) -> Range<Int>? {
    if end != self.end {
      self.end = end
      failures = MatchFailures()
    }
    var at = start
    while at < end {
      if canBegin[Int(text[at])], let matchEnd = match(program: 0, text, at, end),
        matchEnd > at || at > start || isFirst
      {
        return at..<matchEnd
      }
      at += sets.isEmpty ? 1 : sets[0].scalarLength(in: text, at: at, end: end)
    }
    return nil
  }

  /// The end of the match at `start` of the instructions from `first` on, up to an ``accept``.
  private mutating func match(program first: Int, _ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int? {
    let bottom = alternatives.count
    let openBottom = open.count
    defer {
      alternatives.removeSubrange(bottom...)
      open.removeSubrange(openBottom...)
    }
    var instruction = first
    var at = start
    while true {
      stepsLeft -= 1
      if stepsLeft < 0 { remembers = true }
      var isMatch = !remembers || enter(instruction, at)
      if isMatch {
        switch program[instruction] {
        case .accept: return at
        case .one(let set):
          let length = at < end ? sets[set].length(in: text, at: at, end: end) : 0
          isMatch = length > 0
          at += length
          instruction += 1
        case .run(let set, let minimum, let maximum, let isPossessive):
          isMatch = run(set, minimum, maximum, isPossessive, text, &at, end, after: instruction + 1)
          instruction += 1
        case .fork(let first, let second):
          alternatives.append(Alternative(instruction: second, at: at, lowest: -1, openCount: open.count))
          instruction = first
        case .jump(let target): instruction = target
        case .lookAhead(let isNegated, let after):
          isMatch = (match(program: instruction + 1, text, at, end) != nil) != isNegated
          instruction = after
        case .atomic(let after):
          let innerEnd = match(program: instruction + 1, text, at, end)
          isMatch = innerEnd != nil
          at = innerEnd ?? at
          instruction = after
        }
      }
      if isMatch { continue }
      var next: (instruction: Int, at: Int)?
      while next == nil {
        guard alternatives.count > bottom, let alternative = alternatives.popLast() else {
          close(from: openBottom)
          return nil
        }
        close(from: alternative.openCount)
        next = place(after: alternative, text)
      }
      (instruction, at) = next!
    }
  }

  /// Where to continue after what came before an alternative has failed; nil if that is known to fail too.
  private mutating func place(after alternative: Alternative, _ text: Span<UInt8>) -> (instruction: Int, at: Int)? {
    guard alternative.lowest >= 0 else { return (alternative.instruction, alternative.at) }
    var at = reading.startOfScalar(in: text, before: alternative.at, from: alternative.lowest)
    if remembers {
      // The end of a run is a place of its own, which has the number after all instructions.
      let number = program.count + alternative.instruction
      while failures.contains(.init(instruction: number, at: at)) {
        guard at > alternative.lowest, let lower = failures.last(number, in: alternative.lowest..<at) else {
          return nil
        }
        at = reading.startOfScalar(in: text, before: lower + 1, from: alternative.lowest)
      }
    }
    if at > alternative.lowest {
      var shorter = alternative
      shorter.at = at
      shorter.openCount = open.count
      alternatives.append(shorter)
    }
    if remembers { open.append(.init(instruction: program.count + alternative.instruction, at: at)) }
    return (alternative.instruction, at)
  }

  /// Whether a place may lead to a match; then it is open. Only instructions that leave others for later are places.
  private mutating func enter(_ instruction: Int, _ at: Int) -> Bool {
    switch program[instruction] {
    case .run, .fork: break
    case .one, .jump, .lookAhead, .atomic, .accept: return true
    }
    let place = MatchFailures.Place(instruction: instruction, at: at)
    if failures.contains(place) { return false }
    open.append(place)
    return true
  }

  /// Remembers that the places that were opened last have failed.
  private mutating func close(from count: Int) {
    guard open.count > count else { return }
    for place in open[count...] { failures.insert(place) }
    open.removeSubrange(count...)
  }

  private mutating func run(
    _ set: Int, _ minimum: Int, _ maximum: Int, _ isPossessive: Bool, _ text: Span<UInt8>, _ at: inout Int, _ end: Int,
    after next: Int
  ) -> Bool {
    let start = at
    var count = 0
    var lowest = minimum == 0 ? at : -1
    if maximum == .max, minimum <= 1 {
      let length = at < end ? sets[set].length(in: text, at: at, end: end) : 0
      if length == 0 { return minimum == 0 }
      if minimum == 1 { lowest = at + length }
      at = endOfRun(set, text, from: at + length, to: end)
    } else {
      while count < maximum, at < end {
        let length = sets[set].length(in: text, at: at, end: end)
        if length == 0 { break }
        at += length
        count += 1
        if count == minimum { lowest = at }
      }
      if count < minimum { return false }
    }
    stepsLeft -= (at - start) / 16
    if !isPossessive, at > lowest {
      alternatives.append(
        Alternative(instruction: next, at: at, lowest: lowest, openCount: open.count))
    }
    return true
  }

  private mutating func endOfRun(_ set: Int, _ text: Span<UInt8>, from start: Int, to end: Int) -> Int {
    if remembers, let known = failures.runs[set], known.contains(start) { return known.upperBound }
    let runEnd = sets[set].endOfRun(in: text, from: start, to: end)
    if remembers { failures.runs[set] = start..<runEnd }
    return runEnd
  }
}

/// Splits text into pieces. No token crosses the border of two pieces.
struct PreTokenizer: Sendable {
  /// How pieces are found in the text of one step.
  private enum Action: Sendable {
    case split(SplitBehavior, isInverted: Bool)
    /// Spaces are marks from here on: the bytes of marks become spaces, and a space may be put first.
    case mark([UInt8], MetaspacePrefix)
    case addSpace
  }

  private struct Step: Sendable {
    var action: Action
    var finder: PieceFinder?
  }

  private var steps: [Step] = []
  /// The pattern, if splitting by a known one is all there is to do.
  private(set) var onlyPattern: PieceSplitter?
  /// The reading after all steps.
  private(set) var reading: ScalarReading
  /// Whether the pieces are the text as it is.
  var isEmpty: Bool { steps.isEmpty }

  /// The pieces of the last text.
  private(set) var pieces: [Range<Int>] = []
  private var next: [Range<Int>] = []

  /// - Parameter reading: how the steps read the text at first.
  init(_ list: [PreTokenizerStep], _ reading: ScalarReading) throws(ExpressionParser.Refusal) {
    self.reading = reading
    for step in list {
      switch step {
      case .split(let pattern, let behavior, let isInverted):
        try append(behavior, isInverted, PieceFinder(pattern, self.reading))
      case .digits(let isIndividual):
        let set = ByteClassifier(ScalarRanges(pairs: UnicodeClassRanges.digits), self.reading)
        append(isIndividual ? .isolated : .contiguous, false, .scalars(ScalarFinder(set: set, inRuns: !isIndividual)))
      case .punctuation(let behavior):
        let set = ByteClassifier(ScalarRanges(pairs: UnicodeClassRanges.punctuation), self.reading)
        append(behavior, false, .scalars(ScalarFinder(set: set, inRuns: behavior == .contiguous)))
      case .byteLevel(let addsSpace, let usesPattern):
        if addsSpace { steps.append(Step(action: .addSpace, finder: nil)) }
        if usesPattern {
          try append(.isolated, false, PieceFinder(.expression(SplitPattern.gpt2.expression), self.reading))
        }
        self.reading = .byteLevel
      case .metaspace(let mark, let prefix, let splits):
        steps.append(Step(action: .mark(Array(String(Character(mark)).utf8), prefix), finder: nil))
        self.reading = .marked(mark.value)
        if splits { append(.mergedWithNext, false, .literal(LiteralFinder(" ", .utf8))) }
      }
    }
    if steps.count == 1, case .split(.isolated, false) = steps[0].action, case .known(let finder)? = steps[0].finder {
      onlyPattern = finder.splitter
    }
  }

  private mutating func append(_ behavior: SplitBehavior, _ isInverted: Bool, _ finder: PieceFinder) {
    steps.append(Step(action: .split(behavior, isInverted: isInverted), finder: finder))
  }

  /// Splits a text that is not empty into ``pieces``.
  ///
  /// - Parameters:
  ///   - isStart: whether the text begins the whole text.
  ///   - mayPrefix: whether steps may put a space before it.
  /// - Returns: the text of the pieces if steps have rewritten it, else nil.
  mutating func split(_ text: Span<UInt8>, isStart: Bool, mayPrefix: Bool) -> [UInt8]? {
    pieces.removeAll(keepingCapacity: true)
    pieces.append(0..<text.count)
    var rewritten: [UInt8]?
    for step in steps.indices {
      switch steps[step].action {
      case .split:
        if let rewritten { apply(step, rewritten.span) } else { apply(step, text) }
      case .addSpace, .mark:
        if let text = rewritten {
          rewritten = rewrite(step, text.span, isStart, mayPrefix)
        } else {
          rewritten = rewrite(step, text, isStart, mayPrefix)
        }
      }
    }
    return rewritten
  }

  private mutating func apply(_ step: Int, _ text: Span<UInt8>) {
    guard case .split(let behavior, let isInverted) = steps[step].action else { return }
    switch steps[step].finder {
    case .known(var finder): split(text, &finder, behavior, isInverted)
    case .expression(var finder): split(text, &finder, behavior, isInverted)
    case .literal(var finder): split(text, &finder, behavior, isInverted)
    case .scalars(var finder): split(text, &finder, behavior, isInverted)
    case nil: return
    }
    swap(&pieces, &next)
  }

  /// Splits all pieces into `next`.
  private mutating func split<Finder: MatchFinder>(
    _ text: Span<UInt8>, _ finder: inout Finder, _ behavior: SplitBehavior, _ isInverted: Bool
  ) {
    finder.begin(text.count)
    next.removeAll(keepingCapacity: true)
    var hasEmpty = false
    for piece in pieces {
      var joiner = PieceJoiner(behavior, first: next.count)
      var at = piece.lowerBound
      var isFirst = true
      while let match = finder.firstMatch(in: text, from: at, to: piece.upperBound, isFirst: isFirst) {
        if match.lowerBound > at { joiner.append(at..<match.lowerBound, isMatch: isInverted, to: &next) }
        joiner.append(match, isMatch: !isInverted, to: &next)
        at = match.upperBound
        isFirst = false
        hasEmpty = hasEmpty || match.isEmpty
      }
      if at < piece.upperBound { joiner.append(at..<piece.upperBound, isMatch: isInverted, to: &next) }
      joiner.finish(&next)
    }
    if hasEmpty { next.removeAll(where: \.isEmpty) }
  }

  /// The text with spaces put before pieces, or with spaces for marks.
  private mutating func rewrite(_ step: Int, _ text: Span<UInt8>, _ isStart: Bool, _ mayPrefix: Bool) -> [UInt8] {
    let space = UInt8(ascii: " ")
    var result: [UInt8] = []
    result.reserveCapacity(text.count + pieces.count)
    next.removeAll(keepingCapacity: true)
    for piece in pieces {
      let start = result.count
      switch steps[step].action {
      case .mark(let mark, let prefix):
        let isPrefixed = prefix == .always || (prefix == .first && isStart && piece.lowerBound == 0)
        result.append(space)
        Self.append(text, piece, spacesFor: mark, to: &result)
        if !isPrefixed || !mayPrefix || result[start + 1] == space { result.remove(at: start) }
      default:
        if text[piece.lowerBound] != space, mayPrefix { result.append(space) }
        for at in piece { result.append(text[at]) }
      }
      next.append(start..<result.count)
    }
    swap(&pieces, &next)
    return result
  }

  /// Appends text in which spaces replace the bytes of a mark.
  static func append(_ text: Span<UInt8>, _ range: Range<Int>, spacesFor mark: [UInt8], to result: inout [UInt8]) {
    var at = range.lowerBound
    let first = mark[0]
    while at < range.upperBound {
      if text[at] == first, at + mark.count <= range.upperBound,
        mark.indices.allSatisfy({ text[at + $0] == mark[$0] })
      {
        result.append(UInt8(ascii: " "))
        at += mark.count
      } else {
        result.append(text[at])
        at += 1
      }
    }
  }
}

/// Joins matches and the text between them to the pieces of a behavior.
private struct PieceJoiner {
  private let behavior: SplitBehavior
  /// The number of pieces before those of this text.
  private let first: Int
  private var wasMatch = false
  /// A match that belongs to the text after it, if there is any.
  private var pending: Range<Int>?

  init(_ behavior: SplitBehavior, first: Int) {
    self.behavior = behavior
    self.first = first
  }

  @inline(__always)
  mutating func append(_ range: Range<Int>, isMatch: Bool, to pieces: inout [Range<Int>]) {
    switch behavior {
    case .isolated: pieces.append(range)
    case .removed: if !isMatch { pieces.append(range) }
    case .contiguous: extend(isMatch == wasMatch, range, &pieces)
    case .mergedWithPrevious: extend(isMatch && !wasMatch, range, &pieces)
    case .mergedWithNext:
      if isMatch {
        finish(&pieces)
        pending = range
      } else {
        pieces.append((pending?.lowerBound ?? range.lowerBound)..<range.upperBound)
        pending = nil
      }
    }
    wasMatch = isMatch
  }

  /// Adds a range to the last piece of this text if there is one and `isPart`.
  private func extend(_ isPart: Bool, _ range: Range<Int>, _ pieces: inout [Range<Int>]) {
    if isPart, pieces.count > first {
      pieces[pieces.count - 1] = pieces[pieces.count - 1].lowerBound..<range.upperBound
    } else {
      pieces.append(range)
    }
  }

  mutating func finish(_ pieces: inout [Range<Int>]) {
    if let pending { pieces.append(pending) }
    pending = nil
  }
}

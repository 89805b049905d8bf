/// A step that rewrites text before it is split.
enum NormalizerStep: Equatable, Sendable {
  /// Unicode's normalization form C.
  case nfc
  case prepend(String)
  case replace(Pattern, with: String)
  /// From here on, a space is the scalar `mark`: `replace` of spaces for tokens that are characters.
  case markSpaces(Unicode.Scalar)
  /// SentencePiece's dummy prefix: a space before the text. Added tokens that are found in normalized text are not
  /// prefixed themselves.
  case prependSpace
  /// Drops spaces at both ends and makes one of each run of spaces.
  case collapseSpaces
}

/// Rewrites text before it is split.
struct Normalizer: Sendable {
  private var steps: [Step] = []
  /// How the result spells scalars.
  private(set) var reading = ScalarReading.utf8

  private enum Step: Sendable {
    case nfc
    case prepend([UInt8], isForTokens: Bool)
    case replace(PieceFinder, [UInt8])
    case markSpaces([UInt8])
    case collapseSpaces
  }

  var isEmpty: Bool { steps.isEmpty }

  init(_ list: [NormalizerStep]) throws(ExpressionParser.Refusal) {
    var growth = 1
    for step in list {
      growth *= min(Self.growth(step), Self.largestGrowth + 1)
      if growth > Self.largestGrowth {
        throw ExpressionParser.Refusal(
          found: "making a text \(growth) times as long", expected: "at most \(Self.largestGrowth) times")
      }
      switch step {
      case .nfc: steps.append(.nfc)
      case .prepend(let text): steps.append(.prepend(try bytes(of: text), isForTokens: true))
      case .replace(let pattern, let text):
        steps.append(.replace(try PieceFinder(pattern, reading), try bytes(of: text)))
      case .markSpaces(let mark):
        steps.append(.markSpaces(Array(String(Character(mark)).utf8)))
        reading = .marked(mark.value)
      case .prependSpace: steps.append(.prepend([UInt8(ascii: " ")], isForTokens: false))
      case .collapseSpaces: steps.append(.collapseSpaces)
      }
    }
  }

  /// The largest number of times that steps may make a text longer.
  static let largestGrowth = 1024

  /// How many times as long a step can make a text; that of all steps is their product.
  private static func growth(_ step: NormalizerStep) -> Int {
    switch step {
    case .replace(.literal(let old), let new): max(1, new.utf8.count / max(1, old.utf8.count))
    case .replace(.expression, let new): max(1, new.utf8.count)
    case .prepend(let text): max(1, text.utf8.count)
    case .nfc, .markSpaces, .prependSpace, .collapseSpaces: 1
    }
  }

  private func bytes(of text: String) throws(ExpressionParser.Refusal) -> [UInt8] {
    guard case .marked(let mark) = reading else { return Array(text.utf8) }
    if text.utf8.contains(UInt8(ascii: " ")) {
      throw ExpressionParser.Refusal(
        found: "a step that adds a space after spaces were replaced", expected: "no such step")
    }
    return text.unicodeScalars.flatMap { $0.value == mark ? [UInt8(ascii: " ")] : Array(UTF8.encode($0)!) }
  }

  /// The normalized text, and for each of its bytes the position in `text` that it comes from.
  struct Result {
    var bytes: [UInt8]
    /// Empty if the caller does not want it.
    var origins: [Int]
  }

  /// Normalizes `text`; nil if it stays as it is.
  ///
  /// - Parameters:
  ///   - isToken: whether it is the text of an added token.
  ///   - mayPrefix: whether a prefix is put before it.
  ///   - tracksOrigins: whether the result has the origins of its bytes.
  func normalize(
    _ text: Span<UInt8>, isToken: Bool = false, mayPrefix: Bool = true, tracksOrigins: Bool = false
  ) -> Result? {
    var result: Result?
    for index in steps.indices {
      var builder = Builder(tracksOrigins: tracksOrigins, source: result)
      let isChanged =
        if let result {
          apply(steps[index], result.bytes.span, isToken, mayPrefix, &builder)
        } else {
          apply(steps[index], text, isToken, mayPrefix, &builder)
        }
      if isChanged { result = builder.result }
    }
    return result
  }

  /// Returns false if the step changes nothing; what is built then does not count.
  private func apply(
    _ step: Step, _ text: Span<UInt8>, _ isToken: Bool, _ mayPrefix: Bool, _ builder: inout Builder
  ) -> Bool {
    if text.isEmpty { return false }
    switch step {
    case .nfc: return compose(text, &builder)
    case .prepend(let prefix, let isForTokens):
      if isToken && !isForTokens || !mayPrefix { return false }
      builder.put(prefix, from: 0)
      builder.copy(text, 0..<text.count)
      return true
    case .replace(let finder, let replacement):
      switch finder {
      case .known(var finder): return replace(&finder, replacement, text, &builder)
      case .expression(var finder): return replace(&finder, replacement, text, &builder)
      case .literal(var finder): return replace(&finder, replacement, text, &builder)
      case .scalars(var finder): return replace(&finder, replacement, text, &builder)
      }
    case .markSpaces(let mark): return replaceMarks(mark, text, &builder)
    case .collapseSpaces: return collapse(text, &builder)
    }
  }

  private func replace<Finder: MatchFinder>(
    _ finder: inout Finder, _ replacement: [UInt8], _ text: Span<UInt8>, _ builder: inout Builder
  ) -> Bool {
    finder.begin(text.count)
    var at = 0
    var isFirst = true
    while let match = finder.firstMatch(in: text, from: at, to: text.count, isFirst: isFirst) {
      builder.copy(text, at..<match.lowerBound)
      builder.put(replacement, from: match.lowerBound)
      at = match.upperBound
      isFirst = false
    }
    builder.copy(text, at..<text.count)
    return !isFirst
  }

  private func compose(_ text: Span<UInt8>, _ builder: inout Builder) -> Bool {
    let composition = CanonicalComposition.shared
    var at = 0
    while let affected = composition.firstAffected(in: text, from: at) {
      builder.copy(text, at..<affected.lowerBound)
      builder.put(composition.composed(text, affected), from: affected.lowerBound)
      at = affected.upperBound
    }
    builder.copy(text, at..<text.count)
    return at > 0
  }

  private func replaceMarks(_ mark: [UInt8], _ text: Span<UInt8>, _ builder: inout Builder) -> Bool {
    var copied = 0
    var at = 0
    while at + mark.count <= text.count {
      if text[at] == mark[0], mark.indices.allSatisfy({ text[at + $0] == mark[$0] }) {
        builder.copy(text, copied..<at)
        builder.put([UInt8(ascii: " ")], from: at)
        at += mark.count
        copied = at
      } else {
        at += 1
      }
    }
    if copied == 0 { return false }
    builder.copy(text, copied..<text.count)
    return true
  }

  private func collapse(_ text: Span<UInt8>, _ builder: inout Builder) -> Bool {
    let space = UInt8(ascii: " ")
    var wasSpace = true
    for at in 0..<text.count {
      if text[at] != space || !wasSpace { builder.copy(text, at..<at + 1) }
      wasSpace = text[at] == space
    }
    if builder.bytes.last == space { builder.removeLast() }
    return builder.bytes.count != text.count
  }

  /// Collects the bytes of a step's result with their origins.
  private struct Builder {
    private let source: Result?
    private let tracksOrigins: Bool
    private(set) var bytes: [UInt8] = []
    private var origins: [Int] = []

    var result: Result { Result(bytes: bytes, origins: origins) }

    init(tracksOrigins: Bool, source: Result?) {
      self.tracksOrigins = tracksOrigins
      self.source = source
    }

    private func origin(of at: Int) -> Int {
      guard let source else { return at }
      return at < source.origins.count ? source.origins[at] : (source.origins.last ?? -1) + 1
    }

    mutating func copy(_ text: Span<UInt8>, _ range: Range<Int>) {
      if bytes.isEmpty { bytes.reserveCapacity(text.count + 8) }
      text.withUnsafeBufferPointer { bytes.append(contentsOf: $0[range]) }
      if tracksOrigins { for at in range { origins.append(origin(of: at)) } }
    }

    mutating func put(_ new: [UInt8], from at: Int) {
      bytes.append(contentsOf: new)
      if tracksOrigins { origins.append(contentsOf: repeatElement(origin(of: at), count: new.count)) }
    }

    mutating func removeLast() {
      bytes.removeLast()
      if tracksOrigins { origins.removeLast() }
    }
  }
}

/// Finds added tokens in text: the leftmost, and the longest of those that begin there.
struct AddedTokenFinder: Sendable {
  struct Match {
    /// The token itself.
    var start: Int
    var end: Int
    var id: Int32
    /// The token with the white space that it takes.
    var outerStart: Int
    var outerEnd: Int
  }

  /// Two tokens with the same text.
  struct Duplicate: Error {
    let content: String
  }

  /// All tokens, by their texts.
  private let texts: Tree
  private let given: Tree
  private let normalized: Tree
  /// How normalized text spells scalars.
  private let reading: ScalarReading
  /// Whether special tokens are text. As in Hugging Face tokenizers, no other token begins inside of one.
  private let ignoresSpecialTokens: Bool

  /// Whether there are tokens to be found in normalized text.
  var findsInNormalizedText: Bool { !normalized.isEmpty }

  init(
    _ tokens: [AddedToken], normalizer: Normalizer, ignoringSpecialTokens: Bool
  ) throws(Duplicate) {
    var texts = Tree()
    var given = Tree()
    var normalized = Tree()
    for token in tokens {
      let content = Array(token.content.utf8)
      if !texts.insert(token, as: content) { throw Duplicate(content: token.content) }
      let isNew =
        token.isNormalized
        ? normalized.insert(token, as: normalizer.normalize(content.span, isToken: true)?.bytes ?? content)
        : given.insert(token, as: content)
      if !isNew { throw Duplicate(content: token.content) }
    }
    self.texts = texts
    self.given = given
    self.normalized = normalized
    reading = normalizer.reading
    ignoresSpecialTokens = ignoringSpecialTokens
  }

  /// The first text of a token that begins at `start` or later.
  func firstMatch(in text: Span<UInt8>, from start: Int) -> Match? {
    firstMatch(texts, .utf8, text, start) { _, _ in true }
  }

  /// The first match in text as it was given that begins at `start` or later and that `accept` takes.
  func firstMatch(
    in text: Span<UInt8>, from start: Int, where accept: (_ match: Match, _ isSpecial: Bool) -> Bool
  ) -> Match? {
    firstMatch(given, .utf8, text, start, accept)
  }

  /// The same in normalized text.
  func firstNormalizedMatch(
    in text: Span<UInt8>, from start: Int, where accept: (_ match: Match, _ isSpecial: Bool) -> Bool
  ) -> Match? {
    firstMatch(normalized, reading, text, start, accept)
  }

  private func firstMatch(
    _ tree: Tree, _ reading: ScalarReading, _ text: Span<UInt8>, _ start: Int,
    _ accept: (_ match: Match, _ isSpecial: Bool) -> Bool
  ) -> Match? {
    if tree.isEmpty { return nil }
    var at = start
    while at < text.count {
      guard tree.beginsToken(text[at]), let longest = tree.longest(in: text, at: at, below: text.count + 1) else {
        at += 1
        continue
      }
      if (ignoresSpecialTokens && longest.token.isSpecial)
        || !Self.isWhole(longest.token, reading, text, at, longest.end)
      {
        at = longest.end
        continue
      }
      var found = longest
      while true {
        let match = Match(
          start: at, end: found.end, id: found.token.id,
          outerStart: found.token.stripsLeft ? Self.startOfWhitespace(reading, text, before: at, from: start) : at,
          outerEnd: found.token.stripsRight ? Self.endOfWhitespace(reading, text, from: found.end) : found.end)
        if accept(match, found.token.isSpecial) { return match }
        guard let shorter = tree.longest(in: text, at: at, below: found.end) else { break }
        found = shorter
      }
      at += 1
    }
    return nil
  }

  private static func isWhole(
    _ token: AddedToken, _ reading: ScalarReading, _ text: Span<UInt8>, _ start: Int, _ end: Int
  ) -> Bool {
    if !token.isSingleWord { return true }
    let words = ScalarSet.wordCharacters
    if start > 0 {
      let previous = reading.startOfScalar(in: text, before: start, from: 0)
      if words.contains(reading.scalar(in: text, at: previous, end: start).value) { return false }
    }
    return end == text.count || !words.contains(reading.scalar(in: text, at: end, end: text.count).value)
  }

  private static func startOfWhitespace(
    _ reading: ScalarReading, _ text: Span<UInt8>, before end: Int, from start: Int
  ) -> Int {
    var at = end
    while at > start {
      let previous = reading.startOfScalar(in: text, before: at, from: start)
      guard ScalarSet.whitespace.contains(reading.scalar(in: text, at: previous, end: at).value) else {
        break
      }
      at = previous
    }
    return at
  }

  private static func endOfWhitespace(_ reading: ScalarReading, _ text: Span<UInt8>, from start: Int) -> Int {
    var at = start
    while at < text.count {
      let (scalar, length) = reading.scalar(in: text, at: at, end: text.count)
      guard ScalarSet.whitespace.contains(scalar) else { break }
      at += length
    }
    return at
  }
}

/// Texts of tokens, as a tree of their bytes.
private struct Tree: Sendable {
  private struct Node {
    var byte: UInt8
    var firstChild: Int32 = -1
    var sibling: Int32 = -1
    /// The position of the token whose text ends here, or -1.
    var token: Int32 = -1
  }

  private var tokens: [AddedToken] = []
  private var nodes: [Node] = []
  /// The node of each first byte, or -1.
  private var roots = [Int32](repeating: -1, count: 256)

  var isEmpty: Bool { tokens.isEmpty }

  @inline(__always)
  func beginsToken(_ byte: UInt8) -> Bool { roots[Int(byte)] >= 0 }

  /// Adds a token; false if there is one with these bytes. A token whose bytes are none is never found.
  mutating func insert(_ token: AddedToken, as bytes: [UInt8]) -> Bool {
    guard let first = bytes.first else { return true }
    if roots[Int(first)] < 0 {
      roots[Int(first)] = Int32(nodes.count)
      nodes.append(Node(byte: first))
    }
    var at = Int(roots[Int(first)])
    for byte in bytes.dropFirst() {
      var child = nodes[at].firstChild
      while child >= 0, nodes[Int(child)].byte != byte { child = nodes[Int(child)].sibling }
      if child < 0 {
        child = Int32(nodes.count)
        nodes.append(Node(byte: byte, sibling: nodes[at].firstChild))
        nodes[at].firstChild = child
      }
      at = Int(child)
    }
    if nodes[at].token >= 0 { return false }
    nodes[at].token = Int32(tokens.count)
    tokens.append(token)
    return true
  }

  /// The longest token at `start` that ends before `limit`, and its end.
  func longest(in text: Span<UInt8>, at start: Int, below limit: Int) -> (token: AddedToken, end: Int)? {
    var node = roots[Int(text[start])]
    var at = start + 1
    var found: (token: Int32, end: Int) = (-1, start)
    while node >= 0 {
      let token = nodes[Int(node)].token
      if token >= 0, at < limit { found = (token, at) }
      guard at < text.count, at < limit else { break }
      var child = nodes[Int(node)].firstChild
      while child >= 0, nodes[Int(child)].byte != text[at] { child = nodes[Int(child)].sibling }
      node = child
      at += 1
    }
    return found.token < 0 ? nil : (tokens[Int(found.token)], found.end)
  }
}

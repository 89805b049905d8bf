import Synchronization

/// The tokens of a vocabulary by their bytes, as a tree in the order in which it is walked: a node's children follow it.
package final class TokenTrie: Sendable {
  /// How many tokens the vocabulary has.
  package let vocabulary: Int
  /// By node: its byte, how many bytes lead to it, and the node after all below it. Node 0 is the root.
  let bytes: [UInt8]
  let depths: [UInt16]
  let ends: [Int32]
  /// By node: the first of its tokens in `tokens`; one more for the end.
  let firstTokens: [Int32]
  let tokens: [Int32]
  /// By token: its bytes' place in `text`; one more for the end.
  private let starts: [Int32]
  private let text: [UInt8]
  /// The longest token's bytes.
  let depth: Int
  /// What tokens can do inside strings, which is the same in all schemas.
  let insides = Mutex<[ExpressionTable.Node: TokenSet]>([:])

  /// - Parameters:
  ///   - vocabulary: how many tokens the model has.
  ///   - bytes: a token's text; nil or empty for a token that no constrained text may contain.
  package init(vocabulary: Int, bytes token: (Int32) -> [UInt8]?) {
    self.vocabulary = vocabulary
    var (starts, text): ([Int32], [UInt8]) = ([0], [])
    starts.reserveCapacity(vocabulary + 1)
    var singles = 0
    for id in 0..<Int32(vocabulary) {
      let bytes = token(id) ?? []
      if bytes.count == 1, bytes[0] >= 0x80 { singles += 1 }
      text += bytes
      starts.append(Int32(text.count))
    }
    // Without a token for each byte, a token may end inside a character only if the vocabulary can end that character.
    let hasAllBytes = singles >= 115
    var order = (0..<Int32(vocabulary)).filter { id in
      let range = Int(starts[Int(id)])..<Int(starts[Int(id) + 1])
      return !range.isEmpty && (hasAllBytes || String(validating: text[range], as: UTF8.self) != nil)
    }
    text.withUnsafeBufferPointer { text in
      order.sort { a, b in
        let (x, y) = (Int(starts[Int(a)]), Int(starts[Int(b)]))
        let (n, m) = (Int(starts[Int(a) + 1]) - x, Int(starts[Int(b) + 1]) - y)
        for i in 0..<min(n, m) where text[x + i] != text[y + i] { return text[x + i] < text[y + i] }
        return n != m ? n < m : a < b
      }
    }
    var (bytes, depths, firstTokens): ([UInt8], [UInt16], [Int32]) = ([0], [0], [0])
    var (tokens, path): ([Int32], [UInt8]) = ([], [])
    for id in order {
      let token = text[Int(starts[Int(id)])..<Int(starts[Int(id) + 1])]
      let common = zip(path, token).prefix { $0 == $1 }.count
      for (place, byte) in token.enumerated().dropFirst(common) {
        bytes.append(byte)
        depths.append(UInt16(place + 1))
        firstTokens.append(Int32(tokens.count))
      }
      path = Array(token)
      tokens.append(id)
    }
    firstTokens.append(Int32(tokens.count))
    var ends = [Int32](repeating: Int32(bytes.count), count: bytes.count)
    var open: [Int] = []
    for node in bytes.indices {
      while let last = open.last, depths[last] >= depths[node] { ends[open.removeLast()] = Int32(node) }
      open.append(node)
    }
    (self.bytes, self.depths, self.ends, self.firstTokens, self.tokens) = (bytes, depths, ends, firstTokens, tokens)
    (self.starts, self.text) = (starts, text)
    depth = Int(depths.max() ?? 0)
  }

  /// A token's bytes.
  package func text(of token: Int32) -> ArraySlice<UInt8> {
    guard 0..<vocabulary ~= Int(token) else { return [] }
    return text[Int(starts[Int(token)])..<Int(starts[Int(token) + 1])]
  }
}

/// What tokens can do from a place inside one part of a text, such as a string.
struct TokenSet: Sendable {
  /// A bit for each token that stays inside the part or ends with it: `[ceil(vocabulary / 32)]`.
  var words: [UInt32]
  /// The nodes at which the part can end.
  var exits: [Int32] = []
}

extension TokenTrie {
  func emptyWords() -> [UInt32] { [UInt32](repeating: 0, count: (vocabulary + 31) / 32) }

  /// Sets the bits of a node's tokens.
  @inline(__always)
  func allow(_ node: Int, in words: inout [UInt32]) {
    for place in Int(firstTokens[node])..<Int(firstTokens[node + 1]) {
      let token = tokens[place]
      words[Int(token >> 5)] |= 1 << UInt32(token & 31)
    }
  }

  /// Walks the tokens from a place inside the content of a string, which a quote ends.
  func inside(_ content: ExpressionTable.Node) -> TokenSet {
    // Tokens see no more of a count than their length.
    var key = content
    key.b = min(key.b, Int32(depth) + 1)
    key.c = min(key.c, Int32(depth) + 1)
    if let known = insides.withLock({ $0[key] }) { return known }
    var set = TokenSet(words: emptyWords())
    var stack = [(state: Int32, least: Int32, most: Int32)](repeating: (key.a, key.b, key.c), count: depth + 1)
    var node = 1
    while node < bytes.count {
      let level = Int(depths[node])
      let (state, least, most) = stack[level - 1]
      let byte = bytes[node]
      if state == 0, byte == StringContent.quote {
        if least == 0 {
          allow(node, in: &set.words)
          set.exits.append(Int32(node))
        }
        node = Int(ends[node])
      } else if most > 0, let next = StringContent.next(state, byte) {
        stack[level] = next == 0 ? (0, max(0, least - 1), most - 1) : (next, least, most)
        allow(node, in: &set.words)
        node += 1
      } else {
        node = Int(ends[node])
      }
    }
    insides.withLock { known in
      if known.count >= 512 { known = [:] }
      known[key] = set
    }
    return set
  }

  /// Walks the tokens from a state of an automaton.
  func inside(_ automaton: ByteAutomaton, from state: Int32) -> TokenSet {
    var set = TokenSet(words: emptyWords())
    if automaton.isAccepting[Int(state)] { set.exits.append(0) }
    var stack = [Int32](repeating: state, count: depth + 1)
    var node = 1
    while node < bytes.count {
      let level = Int(depths[node])
      guard let next = automaton.next(stack[level - 1], bytes[node]) else {
        node = Int(ends[node])
        continue
      }
      stack[level] = next
      allow(node, in: &set.words)
      if automaton.isAccepting[Int(next)] { set.exits.append(Int32(node)) }
      node += 1
    }
    return set
  }
}

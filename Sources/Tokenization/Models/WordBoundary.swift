/// The places at spaces where no merge can join what is left and right of them.
///
/// A tokenizer without a pre-tokenizer merges the whole text as one word, but its tokens hardly ever have a space after
/// another character. Where the vocabulary has no token with that character before a space, the two sides merge as if
/// each was a text of its own. Words instead of texts are merged in linear time and found in a cache.
struct WordBoundary: Sendable {
  /// For each byte, whether some token has it before a space.
  private let joins: [Bool]

  /// Nil if the definition has merges whose tokens do not spell the text, such as those of byte tokens.
  init?(_ definition: Tokenizer.Definition) {
    let unknown = definition.characters?.unknownToken
    func isSpelled(_ id: Int32) -> Bool { definition.byteValues[id] == nil && id != unknown }
    if definition.listedMerges.contains(where: { !isSpelled($0.left) || !isSpelled($0.right) }) { return nil }
    var joins = [Bool](repeating: false, count: 256)
    let tokens = definition.vocabulary.list
    for id in 0..<tokens.indexEnd where tokens.lengths[id] > 1 {
      let token = tokens[id]
      for at in token.indices.dropFirst() where token[at] == UInt8(ascii: " ") { joins[Int(token[at - 1])] = true }
    }
    joins[Int(UInt8(ascii: " "))] = true
    self.joins = joins
  }

  /// The first boundary after `start`, or `end`.
  @inline(__always)
  func next(in text: Span<UInt8>, after start: Int, to end: Int) -> Int {
    var at = start + 1
    while at < end {
      if text[at] == UInt8(ascii: " "), !joins[Int(text[at - 1])] { return at }
      at += 1
    }
    return end
  }
}

extension Tokenizer {
  /// The bytes that a token adds to a text that has begun; nil for special tokens and for ids without a token.
  package func textBytes(of id: Int32) -> [UInt8]? {
    guard !isSpecial(id), let bytes = bytes(of: id) else { return nil }
    // The decoder's steps may treat the first token of a text in another way.
    guard decoder != nil, let anchor = self.id(of: [UInt8(ascii: "a")]) else { return bytes }
    let begun = decodedBytes([anchor])
    let both = decodedBytes([anchor, id])
    return both.starts(with: begun) ? Array(both.dropFirst(begun.count)) : nil
  }
}

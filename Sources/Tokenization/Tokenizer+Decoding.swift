extension Tokenizer {
  /// The text of token ids. Their bytes are joined and then read as UTF-8; each maximal part of a broken sequence
  /// becomes one U+FFFD, as in Python and on the web.
  ///
  /// - Parameters:
  ///   - ids: ids that no token has add no text.
  ///   - skippingSpecialTokens: whether special tokens add no text either.
  public func decode(_ ids: some Sequence<Int32>, skippingSpecialTokens: Bool = false) -> String {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(ids.underestimatedCount * 4)
    for id in ids { appendBytes(of: id, to: &bytes, skippingSpecialTokens: skippingSpecialTokens) }
    return String(decoding: bytes, as: UTF8.self)
  }

  func appendBytes(of id: Int32, to bytes: inout [UInt8], skippingSpecialTokens: Bool) {
    if vocabulary.list.hasString(at: Int(id)) {
      bytes.append(contentsOf: vocabulary.list[Int(id)])
    } else if let position = addedPositions[id], !(skippingSpecialTokens && added[position].isSpecial) {
      bytes.append(contentsOf: added[position].content.utf8)
    }
  }
}

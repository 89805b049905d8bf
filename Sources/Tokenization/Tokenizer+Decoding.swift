extension Tokenizer {
  /// The text of token ids: their bytes are joined and then read as UTF-8, where each maximal part of a broken sequence
  /// becomes one U+FFFD, as Python and the web do.
  ///
  /// - Parameters:
  ///   - ids: an id that no token has stands for nothing.
  ///   - skippingSpecials: whether special tokens stand for nothing too.
  public func decode(_ ids: some Sequence<Int32>, skippingSpecials: Bool = false) -> String {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(ids.underestimatedCount * 4)
    for id in ids { appendBytes(of: id, to: &bytes, skippingSpecials: skippingSpecials) }
    return String(decoding: bytes, as: UTF8.self)
  }

  func appendBytes(of id: Int32, to bytes: inout [UInt8], skippingSpecials: Bool) {
    if vocabulary.list.hasString(at: Int(id)) {
      bytes.append(contentsOf: vocabulary.list[Int(id)])
    } else if let position = addedPositions[id], !(skippingSpecials && added[position].isSpecial) {
      bytes.append(contentsOf: added[position].content.utf8)
    }
  }
}

extension Tokenizer {
  /// The text of token ids. In byte-level BPE their bytes are joined and then read as UTF-8; each maximal part of a
  /// broken sequence becomes one U+FFFD, as in Python and on the web. Other tokenizers follow the steps of their
  /// decoder.
  ///
  /// - Parameters:
  ///   - ids: ids that no token has add no text.
  ///   - skippingSpecialTokens: whether special tokens add no text either.
  public func decode(_ ids: some Sequence<Int32>, skippingSpecialTokens: Bool = false) -> String {
    String(
      decoding: decodedBytes(ids, skippingSpecialTokens: skippingSpecialTokens, keepingBytes: false), as: UTF8.self)
  }

  /// The bytes of token ids; as text they are that of ``decode(_:skippingSpecialTokens:)``.
  ///
  /// - Parameter keepingBytes: whether bytes that are not UTF-8 stay as they are, for output that need not be text.
  package func decodedBytes(
    _ ids: some Sequence<Int32>, skippingSpecialTokens: Bool = false, keepingBytes: Bool = true
  ) -> [UInt8] {
    var chain = decoder.map { DecoderChain($0, keepingBytes: keepingBytes) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(ids.underestimatedCount * 4)
    for id in ids {
      if chain != nil {
        if let spelling = spelling(of: id, skippingSpecialTokens) { chain?.append(spelling, to: &bytes) }
      } else if !(skippingSpecialTokens && isSpecial(id)) {
        appendBytes(of: id, to: &bytes)
      }
    }
    chain?.finish(&bytes)
    return bytes
  }

  func isSpecial(_ id: Int32) -> Bool { addedPositions[id].map { added[$0].isSpecial } ?? false }

  /// Appends the bytes of a token by itself; of an added token, those of its text.
  func appendBytes(of id: Int32, to bytes: inout [UInt8]) {
    if let position = addedPositions[id] {
      let content = Array(added[position].content.utf8)
      if let mark {
        PreTokenizer.append(content.span, 0..<content.count, spacesFor: Array(UTF8.encode(mark)!), to: &bytes)
      } else {
        bytes += content
      }
    } else if let byte = byteValues[id] {
      bytes.append(byte)
    } else if vocabulary.list.hasString(at: Int(id)) {
      bytes.append(contentsOf: vocabulary.list[Int(id)])
    }
  }

  /// A token as its file spells it, for the steps of a decoder; nil if no token has this id or if it adds no text.
  func spelling(of id: Int32, _ skipsSpecialTokens: Bool) -> [UInt8]? {
    if let position = addedPositions[id] {
      guard skipsSpecialTokens, added[position].isSpecial else { return Array(added[position].content.utf8) }
      // SentencePiece shows where a character is lost.
      if case .characters(let characters) = initialTokens, characters.replacesLate, characters.unknownToken == id {
        return Array(" \u{2047} ".utf8)
      }
      return nil
    }
    guard vocabulary.list.hasString(at: Int(id)) else { return nil }
    let bytes = vocabulary.list[Int(id)]
    guard let mark, !spacedTokens.contains(id), bytes.contains(UInt8(ascii: " ")) else { return Array(bytes) }
    let spelled = Array(UTF8.encode(mark)!)
    return bytes.flatMap { $0 == UInt8(ascii: " ") ? spelled : [$0] }
  }
}

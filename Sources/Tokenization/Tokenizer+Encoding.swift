extension Tokenizer {
  /// The token ids of a text.
  ///
  /// - Parameters:
  ///   - bos: whether the ids begin with ``bos``, if the tokenizer has it.
  ///   - specials: whether special tokens written in the text, such as `<|eot_id|>`, become those tokens, the longest
  ///     that fits first. Leave it false for text from users: they could otherwise end their turn and speak for the
  ///     model.
  public func encode(_ text: String, bos: Bool = false, specials: Bool = false) -> [Int32] {
    var text = text
    return text.withUTF8 { encode(utf8: $0.span, bos: bos, specials: specials) }
  }

  /// The token ids of bytes, which should be UTF-8: a byte that is not part of a valid sequence is encoded as a piece
  /// of punctuation would be, and decodes to itself.
  package func encode(utf8 bytes: [UInt8], bos: Bool = false, specials: Bool = false) -> [Int32] {
    encode(utf8: bytes.span, bos: bos, specials: specials)
  }

  /// The token ids of bytes, as those of an array of them.
  package func encode(utf8 text: Span<UInt8>, bos: Bool = false, specials: Bool = false) -> [Int32] {
    var ids: [Int32] = []
    ids.reserveCapacity(text.count / 4 + 8)
    if bos, let id = self.bos { ids.append(id) }
    let finder = specials ? allAdded : alwaysRecognised
    var segments = SegmentEncoder(self)
    var start = 0
    while start < text.count {
      let match = finder.firstMatch(in: text, from: start)
      segments.encode(text, start, match?.start ?? text.count, into: &ids)
      guard let match else { break }
      ids.append(match.id)
      start = match.end
    }
    return ids
  }
}

/// Encodes stretches of text that hold no added tokens.
private struct SegmentEncoder {
  private let vocabulary: TokenTable
  private let takesWholePieces: Bool
  private let splitter: PieceSplitter
  private var merger: PieceMerger

  init(_ tokenizer: Tokenizer) {
    vocabulary = tokenizer.vocabulary
    takesWholePieces = tokenizer.takesWholePieces
    splitter = PieceSplitter(tokenizer.split)
    merger = PieceMerger(byteTokens: tokenizer.byteTokens, rule: tokenizer.mergeRule)
  }

  mutating func encode(_ text: Span<UInt8>, _ start: Int, _ end: Int, into ids: inout [Int32]) {
    var at = start
    while at < end {
      let next = splitter.endOfPiece(in: text, from: at, to: end)
      let whole = takesWholePieces ? vocabulary.find(text, at, next) : -1
      if whole >= 0 {
        ids.append(whole)
      } else {
        merger.merge(text, at, next, into: &ids)
      }
      at = next
    }
  }
}

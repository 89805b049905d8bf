extension Tokenizer {
  /// The token ids of a text.
  ///
  /// - Parameters:
  ///   - addingBeginToken: whether the ids begin with ``beginToken``, if the tokenizer has one.
  ///   - parsingSpecialTokens: whether special tokens written in the text, such as `<|eot_id|>`, become those tokens;
  ///     the longest of those that begin at a place counts. Leave it false for text from users: they could otherwise
  ///     end their turn and speak for the model.
  public func encode(
    _ text: String, addingBeginToken: Bool = false, parsingSpecialTokens: Bool = false
  ) -> [Int32] {
    var text = text
    return text.withUTF8 {
      encode(utf8: $0.span, addingBeginToken: addingBeginToken, parsingSpecialTokens: parsingSpecialTokens)
    }
  }

  /// The token ids of bytes, which should be UTF-8. A byte that is not part of a valid sequence is encoded like
  /// punctuation, and decodes to itself.
  package func encode(
    utf8 bytes: [UInt8], addingBeginToken: Bool = false, parsingSpecialTokens: Bool = false
  ) -> [Int32] {
    encode(utf8: bytes.span, addingBeginToken: addingBeginToken, parsingSpecialTokens: parsingSpecialTokens)
  }

  /// The token ids of a span of bytes.
  package func encode(
    utf8 text: Span<UInt8>, addingBeginToken: Bool = false, parsingSpecialTokens: Bool = false
  ) -> [Int32] {
    var ids: [Int32] = []
    ids.reserveCapacity(text.count / 4 + 8)
    if addingBeginToken, let beginToken { ids.append(beginToken) }
    encode(text, finder: parsingSpecialTokens ? allAdded : alwaysRecognised, into: &ids) { _, _ in true }
    return ids
  }

  /// Appends the token ids of a text, in which those of the finder's tokens are recognised that `accept` takes.
  func encode(
    _ text: Span<UInt8>, finder: AddedTokenFinder, into ids: inout [Int32],
    accept: (_ match: AddedTokenFinder.Match, _ isSpecial: Bool) -> Bool
  ) {
    var segments = SegmentEncoder(self)
    var start = 0
    while start < text.count {
      let match = finder.firstMatch(in: text, from: start, where: accept)
      segments.encode(text, start, match?.start ?? text.count, into: &ids)
      guard let match else { break }
      ids.append(match.id)
      start = match.end
    }
  }
}

/// Encodes stretches of text without added tokens.
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

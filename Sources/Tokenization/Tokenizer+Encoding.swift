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
  /// punctuation, and decodes to itself if the vocabulary has bytes.
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
  ///
  /// A prefix that the tokenizer puts before texts is left out where the text continues the tokens in `ids`: where
  /// these do not end in an added token.
  func encode(
    _ text: Span<UInt8>, finder: AddedTokenFinder, into ids: inout [Int32],
    accept: (_ match: AddedTokenFinder.Match, _ isSpecial: Bool) -> Bool
  ) {
    if text.isEmpty { return }
    let isStart = ids.isEmpty || (ids.count == 1 && ids[0] == beginToken)
    var stretches = StretchEncoder(self, finder: finder, byteCount: text.count)
    var start = 0
    var mayPrefix = isStart || ids.last.map { addedPositions[$0] != nil } ?? true
    while start < text.count {
      let match = finder.firstMatch(in: text, from: start, where: accept)
      let end = match?.outerStart ?? text.count
      if start < end {
        stretches.encode(
          text.extracting(start..<end), from: start, isStart: isStart && start == 0, mayPrefix: mayPrefix, into: &ids,
          accept: accept)
      }
      guard let match else { break }
      ids.append(match.id)
      mayPrefix = true
      start = match.outerEnd
    }
  }
}

/// Encodes stretches of text between added tokens.
private struct StretchEncoder {
  private let vocabulary: TokenTable
  private let takesWholePieces: Bool
  private let wordBoundary: WordBoundary?
  private let finder: AddedTokenFinder
  private let normalizer: Normalizer
  private var preTokenizer: PreTokenizer
  private var merger: PieceMerger
  private var cache: WordCache

  init(_ tokenizer: Tokenizer, finder: AddedTokenFinder, byteCount: Int) {
    vocabulary = tokenizer.vocabulary
    takesWholePieces = tokenizer.takesWholePieces
    wordBoundary = tokenizer.wordBoundary
    self.finder = finder
    normalizer = tokenizer.normalizer
    preTokenizer = tokenizer.preTokenizer
    merger = PieceMerger(
      initial: tokenizer.initialTokens, vocabulary: tokenizer.vocabulary, rule: tokenizer.mergeRule)
    cache = WordCache(byteCount: byteCount)
  }

  /// - Parameters:
  ///   - offset: the position of the stretch in the whole text, in which `accept` has its matches.
  ///   - isStart: whether the stretch begins the whole text.
  ///   - mayPrefix: whether steps may put a space before it.
  mutating func encode(
    _ stretch: Span<UInt8>, from offset: Int, isStart: Bool, mayPrefix: Bool, into ids: inout [Int32],
    accept: (_ match: AddedTokenFinder.Match, _ isSpecial: Bool) -> Bool
  ) {
    if !normalizer.isEmpty,
      let normalized = normalizer.normalize(
        stretch, mayPrefix: mayPrefix, tracksOrigins: finder.findsInNormalizedText)
    {
      let (origins, count) = (normalized.origins, stretch.count)
      encodeNormalized(normalized.bytes.span, isStart: isStart, mayPrefix: mayPrefix, into: &ids) { match, isSpecial in
        accept(match.covering(origins, offset, count), isSpecial)
      }
    } else {
      encodeNormalized(stretch, isStart: isStart, mayPrefix: mayPrefix, into: &ids) { match, isSpecial in
        accept(match.moved(offset), isSpecial)
      }
    }
  }

  private mutating func encodeNormalized(
    _ text: Span<UInt8>, isStart: Bool, mayPrefix: Bool, into ids: inout [Int32],
    accept: (_ match: AddedTokenFinder.Match, _ isSpecial: Bool) -> Bool
  ) {
    var start = 0
    while start < text.count {
      let match =
        finder.findsInNormalizedText ? finder.firstNormalizedMatch(in: text, from: start, where: accept) : nil
      let end = match?.outerStart ?? text.count
      if start < end {
        encodeText(
          text.extracting(start..<end), isStart: isStart && start == 0, mayPrefix: mayPrefix || start > 0, into: &ids)
      }
      guard let match else { break }
      ids.append(match.id)
      start = match.outerEnd
    }
  }

  /// Encodes normalized text without added tokens.
  private mutating func encodeText(_ text: Span<UInt8>, isStart: Bool, mayPrefix: Bool, into ids: inout [Int32]) {
    if preTokenizer.isEmpty { return encodePiece(text, 0, text.count, into: &ids) }
    if let splitter = preTokenizer.onlyPattern {
      var at = 0
      while at < text.count {
        let next = splitter.endOfPiece(in: text, from: at, to: text.count)
        encodePiece(text, at, next, into: &ids)
        at = next
      }
      return
    }
    if let rewritten = preTokenizer.split(text, isStart: isStart, mayPrefix: mayPrefix) {
      for piece in preTokenizer.pieces { encodePiece(rewritten.span, piece.lowerBound, piece.upperBound, into: &ids) }
    } else {
      for piece in preTokenizer.pieces { encodePiece(text, piece.lowerBound, piece.upperBound, into: &ids) }
    }
  }

  @inline(__always)
  private mutating func encodePiece(_ text: Span<UInt8>, _ start: Int, _ end: Int, into ids: inout [Int32]) {
    if takesWholePieces, end - start <= TokenList.longestToken {
      let whole = vocabulary.find(text, start, end)
      if whole >= 0 {
        ids.append(whole)
        return
      }
    }
    guard let wordBoundary else { return encodeWord(text, start, end, into: &ids) }
    var at = start
    while at < end {
      let next = wordBoundary.next(in: text, after: at, to: end)
      encodeWord(text, at, next, into: &ids)
      at = next
    }
  }

  @inline(__always)
  private mutating func encodeWord(_ text: Span<UInt8>, _ start: Int, _ end: Int, into ids: inout [Int32]) {
    if cache.appendKnown(text, start, end, to: &ids) { return }
    let first = ids.count
    merger.merge(text, start, end, into: &ids)
    cache.keep(text, start, end, ids, from: first)
  }
}

extension AddedTokenFinder.Match {
  /// The match with the positions of its token in the given text: those of all bytes that became a part of it.
  ///
  /// - Parameters:
  ///   - origins: of each normalized byte, the position in the stretch that it comes from.
  ///   - offset: the position of the stretch in the whole text.
  ///   - count: the length of the stretch.
  fileprivate func covering(_ origins: [Int], _ offset: Int, _ count: Int) -> AddedTokenFinder.Match {
    var match = self
    let last = origins[end - 1]
    match.start = offset + origins[start]
    // Bytes that were composed to several have one origin, so the token's part reaches to the next one.
    match.end = offset + (origins[end...].first { $0 > last } ?? count)
    return match
  }

  /// The match with the positions of its token in the given text, of which the stretch begins at `offset`.
  fileprivate func moved(_ offset: Int) -> AddedTokenFinder.Match {
    var match = self
    match.start += offset
    match.end += offset
    return match
  }
}

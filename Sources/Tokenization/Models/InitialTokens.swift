/// The tokens that a piece has before any merging.
enum InitialTokens: Sendable {
  /// One for each byte value, or -1 for a byte that is dropped: byte-level BPE.
  case bytes([Int32])
  /// One for each character, or others for a character that is no token.
  case characters(Characters)

  struct Characters: Sendable {
    /// The token of each byte value, for characters that are no tokens; nil without byte fallback. -1 for a byte
    /// without a token.
    var byteTokens: [Int32]?
    /// The token for characters that neither are tokens nor have byte tokens; nil if such characters are dropped.
    var unknownToken: Int32?
    /// Whether neighbouring unknown characters are one unknown token.
    var fusesUnknown: Bool
    /// Whether a character that is no token merges like one and is replaced afterwards, as in SentencePiece. In Hugging
    /// Face tokenizers its bytes or the unknown token take its place first.
    var replacesLate: Bool
  }

  /// A character that is no token.
  static let missing: Int32 = -1
}

/// A token of a piece, with its place in the text.
struct Symbol {
  var token: Int32
  var start: Int
}

/// Turns the characters of pieces into tokens.
struct CharacterReader: Sendable {
  let characters: InitialTokens.Characters
  private let vocabulary: TokenTable
  /// The tokens of the ASCII characters.
  private let ascii: [Int32]

  init(_ characters: InitialTokens.Characters, _ vocabulary: TokenTable) {
    self.characters = characters
    self.vocabulary = vocabulary
    ascii = (0..<0x80).map { vocabulary.find([UInt8($0)]) }
  }

  /// Appends the tokens of `text[start..<end]`.
  @inline(__always)
  func append(_ text: Span<UInt8>, _ start: Int, _ end: Int, to symbols: inout [Symbol]) {
    var at = start
    var isUnknown = false
    while at < end {
      let byte = text[at]
      var length = 1
      var token: Int32
      if byte < 0x80 {
        token = ascii[Int(byte)]
      } else {
        length = ScalarReading.longScalar(in: text, at: at, end: end).length
        token = vocabulary.find(text, at, at + length)
      }
      let wasUnknown = isUnknown
      isUnknown = false
      if token >= 0 || characters.replacesLate {
        symbols.append(Symbol(token: token, start: at))
      } else if let bytes = characters.byteTokens, (at..<at + length).allSatisfy({ bytes[Int(text[$0])] >= 0 }) {
        for byte in at..<at + length { symbols.append(Symbol(token: bytes[Int(text[byte])], start: byte)) }
      } else if let unknown = characters.unknownToken {
        isUnknown = true
        if !wasUnknown || !characters.fusesUnknown { symbols.append(Symbol(token: unknown, start: at)) }
      }
      at += length
    }
  }

  /// Appends the tokens in place of a character that is no token, `text[start..<end]`.
  func appendMissing(_ text: Span<UInt8>, _ start: Int, _ end: Int, isRun: Bool, to ids: inout [Int32]) {
    if let bytes = characters.byteTokens, (start..<end).allSatisfy({ bytes[Int(text[$0])] >= 0 }) {
      for at in start..<end { ids.append(bytes[Int(text[at])]) }
    } else if let unknown = characters.unknownToken, !isRun || !characters.fusesUnknown {
      ids.append(unknown)
    }
  }
}

import BitNetJSON

/// The vocabulary and the settings of SentencePiece BPE, from a tokenizer.model or a GGUF file.
struct SentencePieceVocabulary {
  typealias TokenType = GGUFVocabulary.TokenType

  static let mark: Unicode.Scalar = "\u{2581}"

  struct Piece {
    /// With marks for spaces.
    var text: [UInt8]
    var score: Float
    var type: TokenType
    /// Whether a user-defined piece is looked for in the text as it is given, with spaces for spaces, instead of in the
    /// normalized text.
    var isGiven = false
  }

  var pieces: [Piece] = []
  var addsSpace = true
  var collapsesSpaces = false
  var beginToken: Int32?
  var endToken: Int32?

  /// The name of a piece in errors.
  private func name(_ id: Int) -> String { "the piece \(quoted(pieces[id].text)) (\(id))" }

  func definition() throws(TokenizerError) -> Tokenizer.Definition {
    var tokens = TokenList()
    var hidden: Set<Int> = []
    var spaced: Set<Int32> = []
    var added: [AddedToken] = []
    var byteTokens = [Int32](repeating: -1, count: 256)
    var byteValues: [Int32: UInt8] = [:]
    var unknown: Int32?
    for (id, piece) in pieces.enumerated() {
      if let (found, expected) = Tokenizer.fault(ofToken: piece.text) {
        throw TokenizerError(subject: name(id), found: found, expected: expected)
      }
      guard let text = String(validating: piece.text, as: UTF8.self) else {
        throw TokenizerError(subject: name(id), found: "not UTF-8", expected: "a text")
      }
      guard piece.score.isFinite else {
        throw TokenizerError(subject: "the score of \(name(id))", found: "\(piece.score)", expected: "a finite number")
      }
      switch piece.type {
      case .normal: break
      case .userDefined:
        added.append(AddedToken(id: Int32(id), content: text, isSpecial: false, isNormalized: !piece.isGiven))
        if piece.isGiven, piece.text.contains(UInt8(ascii: " ")) {
          hidden.insert(id)
          spaced.insert(Int32(id))
        }
      case .control: added.append(AddedToken(id: Int32(id), content: text, isSpecial: true))
      case .unused: hidden.insert(id)
      case .unknown:
        if unknown != nil {
          throw TokenizerError(subject: name(id), found: "another unknown token", expected: "one")
        }
        unknown = Int32(id)
        added.append(AddedToken(id: Int32(id), content: text, isSpecial: true))
      case .byte:
        guard let byte = DecoderChain.byte(of: piece.text), byteTokens[Int(byte)] < 0 else {
          throw TokenizerError(
            subject: name(id), found: "a byte token", expected: "the name of a byte, such as <0x0A>, each once")
        }
        byteTokens[Int(byte)] = Int32(id)
        byteValues[Int32(id)] = byte
      }
      if [.control, .unknown, .byte].contains(piece.type) { hidden.insert(id) }
      var marked: [UInt8] = []
      PreTokenizer.append(
        piece.text.span, 0..<piece.text.count, spacesFor: Array(UTF8.encode(Self.mark)!), to: &marked)
      tokens.insert(marked, at: id)
    }
    let hasBytes = byteTokens.contains { $0 >= 0 }
    var definition = Tokenizer.Definition(vocabulary: try Tokenizer.table(of: tokens, hiding: hidden))
    definition.characters = InitialTokens.Characters(
      byteTokens: hasBytes ? byteTokens : nil, unknownToken: unknown, fusesUnknown: true, replacesLate: true)
    definition.byteValues = byteValues
    definition.spacedTokens = spaced
    definition.added = added
    definition.mergeOrder = .ranked
    definition.ranks = ranks()
    definition.normalizer = (collapsesSpaces ? [.collapseSpaces] : []) + (addsSpace ? [.prependSpace] : [])
    definition.normalizer.append(.markSpaces(Self.mark))
    definition.preTokenizer = []
    definition.takesWholePieces = false
    definition.decoder =
      (addsSpace ? [.dropFirstMark(Self.mark)] : []) + [
        .replace(String(Character(Self.mark)), with: " "), .byteFallback(keepsCharacters: true), .fuse,
      ]
    definition.beginToken = beginToken
    definition.endToken = endToken
    return definition
  }

  /// For each piece, the number of different scores above its own.
  private func ranks() -> [UInt32] {
    var ranks = [UInt32](repeating: 0, count: pieces.count)
    var rank: UInt32 = 0
    var last: Float?
    for id in pieces.indices.sorted(by: { pieces[$0].score > pieces[$1].score }) {
      if let last, last != pieces[id].score { rank += 1 }
      last = pieces[id].score
      ranks[id] = rank
    }
    return ranks
  }
}

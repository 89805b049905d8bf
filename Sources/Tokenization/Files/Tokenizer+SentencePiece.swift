import BitNetJSON

extension Tokenizer {
  /// Reads a SentencePiece model (tokenizer.model) of type BPE without a normalization table.
  ///
  /// The begin token is the control piece that the file names, usually `<s>`.
  ///
  /// - Throws: `TokenizerError` if the bytes are not such a file or have settings that are not supported; the error
  ///   names the piece or the setting.
  package convenience init(sentencePiece file: [UInt8]) throws(TokenizerError) {
    try Self.checkSize(file.count)
    var model = SentencePieceModel()
    do throws(ProtobufReader.Malformed) {
      try model.read(file)
    } catch {
      throw TokenizerError(
        subject: "the file at byte \(error.position)", found: "broken", expected: "a SentencePiece model (protobuf)")
    }
    try self.init(model.vocabulary().definition())
  }
}

/// The fields of a SentencePiece model that count for encoding and decoding.
private struct SentencePieceModel {
  private static let typeNames = [1: "unigram", 2: "BPE", 3: "word", 4: "char"]

  struct Piece {
    var text: [UInt8] = []
    var score: UInt32 = 0
    var type: UInt64 = 1
  }

  var pieces: [Piece] = []
  /// A field that is missing has the number of the format's default.
  var modelType: UInt64 = 1
  var spacesFollow = false
  var beginPiece = Array("<s>".utf8)
  var normalizer = ""
  var charsMapSize = 0
  var addsSpace = true
  var collapsesSpaces = true
  var escapesSpaces = true

  mutating func read(_ file: [UInt8]) throws(ProtobufReader.Malformed) {
    var fields = ProtobufReader(file, 0..<file.count)
    while let (number, value) = try fields.next() {
      guard case .bytes(let range) = value else { continue }
      switch number {
      case 1: try readPiece(file, range)
      case 2: try readTrainer(file, range)
      case 3: try readNormalizer(file, range)
      default: break  // the trainer's own tests, and rules for detokenization by another table
      }
    }
  }

  private mutating func readPiece(_ file: [UInt8], _ range: Range<Int>) throws(ProtobufReader.Malformed) {
    var piece = Piece()
    var fields = ProtobufReader(file, range)
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let text)): piece.text = Array(file[text])
      case (2, .fixed32(let score)): piece.score = score
      case (3, .number(let type)): piece.type = type
      default: break
      }
    }
    pieces.append(piece)
  }

  private mutating func readTrainer(_ file: [UInt8], _ range: Range<Int>) throws(ProtobufReader.Malformed) {
    var fields = ProtobufReader(file, range)
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (3, .number(let type)): modelType = type
      case (24, .number(let flag)): spacesFollow = flag != 0
      case (46, .bytes(let text)): beginPiece = Array(file[text])
      default: break
      }
    }
  }

  private mutating func readNormalizer(_ file: [UInt8], _ range: Range<Int>) throws(ProtobufReader.Malformed) {
    var fields = ProtobufReader(file, range)
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let text)): normalizer = String(decoding: file[text], as: UTF8.self)
      case (2, .bytes(let map)): charsMapSize = map.count
      case (3, .number(let flag)): addsSpace = flag != 0
      case (4, .number(let flag)): collapsesSpaces = flag != 0
      case (5, .number(let flag)): escapesSpaces = flag != 0
      default: break
      }
    }
  }

  func vocabulary() throws(TokenizerError) -> SentencePieceVocabulary {
    func refusal(_ subject: String, _ found: String, _ expected: String) -> TokenizerError {
      TokenizerError(subject: subject, found: found, expected: expected)
    }
    if pieces.isEmpty { throw refusal("the file", "without pieces", "a SentencePiece model (protobuf)") }
    if pieces.count > Tokenizer.maximumVocabularySize {
      throw refusal("the number of pieces", "\(pieces.count)", "at most \(Tokenizer.maximumVocabularySize)")
    }
    if modelType != 2 {
      let name = Self.typeNames[Int(clamping: modelType)] ?? "\(modelType)"
      throw refusal("trainer_spec.model_type", name, "BPE")
    }
    if spacesFollow { throw refusal("trainer_spec.treat_whitespace_as_suffix", "true", "false") }
    if charsMapSize > 0 {
      throw refusal("normalizer_spec", "\(quoted(normalizer)), with a table of \(charsMapSize) bytes", "no table")
    }
    if !escapesSpaces { throw refusal("normalizer_spec.escape_whitespaces", "false", "true") }
    var vocabulary = SentencePieceVocabulary()
    vocabulary.addsSpace = addsSpace
    vocabulary.collapsesSpaces = collapsesSpaces
    for (id, piece) in pieces.enumerated() {
      guard let number = Int32(exactly: piece.type), let type = GGUFVocabulary.TokenType(rawValue: number) else {
        throw refusal("the type of the piece \(quoted(piece.text)) (\(id))", "\(piece.type)", "a number from 1 to 6")
      }
      if type == .unused {
        throw refusal("the type of the piece \(quoted(piece.text)) (\(id))", "unused", "a piece that is used")
      }
      vocabulary.pieces.append(
        SentencePieceVocabulary.Piece(text: piece.text, score: Float(bitPattern: piece.score), type: type))
      if type == .control, piece.text == beginPiece { vocabulary.beginToken = Int32(id) }
    }
    return vocabulary
  }
}

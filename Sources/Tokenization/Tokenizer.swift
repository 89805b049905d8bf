/// A byte-level BPE tokenizer: text to token ids and back.
///
/// Read one from a Hugging Face tokenizer.json, from a tiktoken rank file (Llama 3's tokenizer.model), or from the
/// compact text a converted model carries (``serialized()``). Encoding is exact: the ids are those of tiktoken for a
/// rank file, and those of Hugging Face tokenizers for a tokenizer.json. Any bytes can be encoded, and decode to
/// themselves.
///
/// A tokenizer never changes, so one can be used from several threads at a time.
public final class Tokenizer: Sendable {
  /// A token that stands for itself wherever it is recognised in text, before the text is split and merged.
  struct AddedToken: Equatable, Sendable {
    var id: Int32
    var content: String
    /// Special tokens control a model: they are recognised only on request, and decoding can leave them out. Others are
    /// always recognised, as any other piece of text.
    var isSpecial: Bool
  }

  /// Everything a file says about a tokenizer; the initializer below checks it.
  struct Definition {
    /// All tokens but the added ones, by id.
    var vocabulary: TokenTable
    var added: [AddedToken] = []
    var mergeOrder = MergeOrder.byID
    /// The merges of order `listed`; not considered otherwise.
    var listedMerges: [Merge] = []
    var split = SplitPattern.llama3
    /// Whether a piece that is itself a token becomes that token, though merging may not lead there. tiktoken does so,
    /// and Hugging Face calls it `ignore_merges`.
    var takesWholePieces = true
    var bos: Int32?
  }

  /// Token ids are below this: 4,194,304, many times the vocabularies in use.
  package static let maximumVocabularySize = 1 << 22

  /// Files beyond this many bytes are refused: 256 MiB.
  package static let maximumFileSize = 256 << 20

  /// One more than the highest token id. Ids in between may be unused.
  public let vocabularySize: Int

  /// The token that begins a sequence, if the tokenizer has one.
  public let bos: Int32?

  /// The special tokens by their text, such as `<|eot_id|>`.
  package let specialTokens: [String: Int32]

  let split: SplitPattern
  let takesWholePieces: Bool
  let vocabulary: TokenTable
  let byteTokens: [Int32]
  let mergeRule: MergeRule
  let added: [AddedToken]
  let allAdded: AddedTokenFinder
  let alwaysRecognised: AddedTokenFinder
  /// Positions in `added` by id.
  let addedPositions: [Int32: Int]

  init(_ definition: Definition) throws(TokenizerError) {
    vocabulary = definition.vocabulary
    let tokens = vocabulary.list
    var byteTokens: [Int32] = []
    for byte in UInt8.min...UInt8.max {
      let token = vocabulary.find([byte])
      if token < 0 {
        throw TokenizerError(
          place: "the vocabulary", found: "no token for the single byte 0x\(String(byte, radix: 16))",
          expected: "one for each of the 256 bytes, as byte-level BPE needs")
      }
      byteTokens.append(token)
    }
    self.byteTokens = byteTokens

    var positions: [Int32: Int] = [:]
    var specials: [String: Int32] = [:]
    for (position, token) in definition.added.enumerated() {
      let place = "the added token \(quoted(token.content))"
      try Self.checkToken(token.content.utf8, id: Int(token.id), place: place)
      if positions[token.id] != nil || tokens.hasString(at: Int(token.id)) {
        throw TokenizerError(
          place: place, found: "id \(token.id), which another token has", expected: "an id of its own")
      }
      positions[token.id] = position
      if token.isSpecial { specials[token.content] = token.id }
    }
    allAdded = try Self.finder(for: definition.added)
    alwaysRecognised = try Self.finder(for: definition.added.filter { !$0.isSpecial })
    let highestAdded = definition.added.map { Int($0.id) }.max() ?? -1
    vocabularySize = max(tokens.indexEnd, highestAdded + 1)
    if let bos = definition.bos, positions[bos] == nil, !tokens.hasString(at: Int(bos)) {
      throw TokenizerError(place: "the BOS token", found: "id \(bos)", expected: "the id of a token")
    }

    mergeRule =
      switch definition.mergeOrder {
      case .byID: .vocabulary(vocabulary, thenByLeft: false)
      case .byIDThenLeft: .vocabulary(vocabulary, thenByLeft: true)
      case .listed: .list(MergeTable(definition.listedMerges))
      }
    added = definition.added
    addedPositions = positions
    specialTokens = specials
    bos = definition.bos
    split = definition.split
    takesWholePieces = definition.takesWholePieces
  }

  /// The table that finds the tokens of a vocabulary.
  static func table(of tokens: TokenList) throws(TokenizerError) -> TokenTable {
    do {
      return try TokenTable(tokens)
    } catch {
      throw TokenizerError(
        place: "the vocabulary",
        found: "\(quoted(tokens[error.first])) under both id \(error.first) and id \(error.second)",
        expected: "each token once")
    }
  }

  /// What finds these added tokens in text.
  static func finder(for added: [AddedToken]) throws(TokenizerError) -> AddedTokenFinder {
    do {
      return try AddedTokenFinder(added)
    } catch {
      throw TokenizerError(
        place: "the added tokens", found: "\(quoted(added[error.first].content)) twice", expected: "each once")
    }
  }

  /// Refuses an id or a length that the tables are not made for, before anything is allocated for it.
  static func checkToken(_ bytes: some Collection<UInt8>, id: Int, place: @autoclosure () -> String)
    throws(TokenizerError)
  {
    if id < 0 || id >= maximumVocabularySize {
      throw TokenizerError(place: place(), found: "id \(id)", expected: "an id in 0..<\(maximumVocabularySize)")
    }
    if bytes.isEmpty {
      throw TokenizerError(place: place(), found: "an empty token", expected: "at least one byte")
    }
    if bytes.count > TokenList.longestToken {
      throw TokenizerError(
        place: place(), found: "a token of \(bytes.count) bytes", expected: "at most \(TokenList.longestToken)")
    }
  }

  /// The id of a special token by its text, such as `<|eot_id|>`; nil if there is none.
  public func id(ofSpecial text: String) -> Int32? { specialTokens[text] }

  /// The id of the token with exactly these bytes, special tokens and other added ones not considered; nil if there is
  /// none.
  package func id(of bytes: [UInt8]) -> Int32? {
    let id = vocabulary.find(bytes)
    return id < 0 ? nil : id
  }

  /// The bytes a token stands for, of a special token the UTF-8 of its text; nil if no token has this id.
  package func bytes(of id: Int32) -> [UInt8]? {
    if vocabulary.list.hasString(at: Int(id)) { return Array(vocabulary.list[Int(id)]) }
    return addedPositions[id].map { Array(added[$0].content.utf8) }
  }
}

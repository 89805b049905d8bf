import BitNetJSON

/// A byte-level BPE tokenizer: text to token ids and back.
///
/// It is read from a Hugging Face tokenizer.json, from a tiktoken rank file (Llama 3's tokenizer.model), or from the
/// compact text in a converted model (``serialized()``). Encoding is exact: the ids equal those of tiktoken for a rank
/// file, and those of Hugging Face tokenizers for a tokenizer.json. Any bytes can be encoded, and decode to themselves.
///
/// A tokenizer never changes, so several threads can use it at a time.
public final class Tokenizer: Sendable {
  /// A token whose text is recognised as a whole, before the text around it is split and merged.
  struct AddedToken: Equatable, Sendable {
    var id: Int32
    var content: String
    /// Special tokens control a model: they are recognised only on request, and decoding can leave them out. Other
    /// added tokens are always recognised.
    var isSpecial: Bool
  }

  /// The contents of a tokenizer file; the initializer below checks them.
  struct Definition {
    /// All tokens but the added ones, by id.
    var vocabulary: TokenTable
    var added: [AddedToken] = []
    var mergeOrder = MergeOrder.byID
    /// The merges, if their order is `listed`; otherwise ignored.
    var listedMerges: [Merge] = []
    var split = SplitPattern.llama3
    /// Whether a piece that is itself a token becomes that token even if merging would not give it. tiktoken does this;
    /// Hugging Face calls it `ignore_merges`.
    var takesWholePieces = true
    var beginToken: Int32?
  }

  /// The limit of token ids, 4,194,304: many times the vocabularies in use.
  package static let maximumVocabularySize = 1 << 22
  static let ids = 0...maximumVocabularySize - 1

  /// The largest size of a tokenizer file: 256 MiB.
  package static let maximumFileSize = 256 << 20

  /// One more than the highest token id. Ids in between may be unused.
  public let vocabularySize: Int

  /// The token that begins a sequence; nil if the tokenizer has none.
  public let beginToken: Int32?

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
          subject: "the token of the single byte 0x\(String(byte, radix: 16))", found: "missing",
          expected: "one token for each of the 256 bytes, as byte-level BPE needs")
      }
      byteTokens.append(token)
    }
    self.byteTokens = byteTokens

    var positions: [Int32: Int] = [:]
    var specials: [String: Int32] = [:]
    for (position, token) in definition.added.enumerated() {
      let name = "the added token \(quoted(token.content))"
      if let (found, expected) = Self.fault(ofToken: token.content.utf8) {
        throw TokenizerError(subject: name, found: found, expected: expected)
      }
      if positions[token.id] != nil || tokens.hasString(at: Int(token.id)) {
        throw TokenizerError(
          subject: "the id of \(name)", found: "\(token.id), the id of another token too", expected: "an id of its own")
      }
      positions[token.id] = position
      if token.isSpecial { specials[token.content] = token.id }
    }
    allAdded = try Self.finder(for: definition.added)
    alwaysRecognised = try Self.finder(for: definition.added.filter { !$0.isSpecial })
    let highestAdded = definition.added.map { Int($0.id) }.max() ?? -1
    vocabularySize = max(tokens.indexEnd, highestAdded + 1)
    if let id = definition.beginToken, positions[id] == nil, !tokens.hasString(at: Int(id)) {
      throw TokenizerError(subject: "the begin token", found: "\(id)", expected: "the id of a token")
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
    beginToken = definition.beginToken
    split = definition.split
    takesWholePieces = definition.takesWholePieces
  }

  /// The table that finds the tokens of a vocabulary.
  static func table(of tokens: TokenList) throws(TokenizerError) -> TokenTable {
    do {
      return try TokenTable(tokens)
    } catch {
      throw TokenizerError(
        subject: "the token \(quoted(tokens[error.first]))",
        found: "given twice, with the ids \(error.first) and \(error.second)", expected: "each token once")
    }
  }

  /// The finder of these added tokens in text.
  static func finder(for added: [AddedToken]) throws(TokenizerError) -> AddedTokenFinder {
    do {
      return try AddedTokenFinder(added)
    } catch {
      throw TokenizerError(
        subject: "the added token \(quoted(added[error.first].content))", found: "given twice",
        expected: "each token once")
    }
  }

  /// The finding and the expectation of an error if a token's length is one that the tables are not made for, else nil.
  static func fault(ofToken bytes: some Collection<UInt8>) -> (found: String, expected: String)? {
    if bytes.isEmpty { return ("an empty token", "at least one byte") }
    if bytes.count > TokenList.longestToken {
      return ("a token of \(bytes.count) bytes", "at most \(TokenList.longestToken)")
    }
    return nil
  }

  /// The id of a special token by its text, such as `<|eot_id|>`; nil if there is none.
  public func id(ofSpecialToken text: String) -> Int32? { specialTokens[text] }

  /// The id of the token with exactly these bytes; nil if there is none. Special tokens and other added tokens are not
  /// searched.
  package func id(of bytes: [UInt8]) -> Int32? {
    let id = vocabulary.find(bytes)
    return id < 0 ? nil : id
  }

  /// The bytes of a token; those of a special token are the UTF-8 of its text. Nil if no token has this id.
  package func bytes(of id: Int32) -> [UInt8]? {
    if vocabulary.list.hasString(at: Int(id)) { return Array(vocabulary.list[Int(id)]) }
    return addedPositions[id].map { Array(added[$0].content.utf8) }
  }
}

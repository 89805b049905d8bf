import BitNetJSON

/// A BPE tokenizer: text to token ids and back.
///
/// It is read from a Hugging Face tokenizer.json, from a tokenizer.model (a tiktoken rank file or a SentencePiece
/// model), from the vocabulary of a GGUF file, or from the compact text in a converted model (``serialized()``).
/// Encoding is exact: the ids equal those of the library that the file was made for.
///
/// A text passes these steps: added tokens are found; the stretches between them are normalized; added tokens that
/// count in normalized text are found; the rest is split into pieces; each piece is merged from its bytes or
/// characters.
///
/// A tokenizer never changes, so several threads can use it at a time.
public final class Tokenizer: Sendable {
  /// The contents of a tokenizer file; the initializer below checks them.
  struct Definition {
    /// All tokens that text can become without being an added token, by id. In a vocabulary of characters whose steps
    /// make spaces to marks, a space stands for the mark.
    var vocabulary: TokenTable
    /// Nil for byte-level BPE.
    var characters: InitialTokens.Characters?
    /// The bytes of byte tokens such as `<0x0A>`.
    var byteValues: [Int32: UInt8] = [:]
    /// Tokens with spaces that are no marks. No text becomes one of them.
    var spacedTokens: Set<Int32> = []
    var added: [AddedToken] = []
    var mergeOrder = MergeOrder.byID
    /// The merges, if their order is `listed`; otherwise ignored.
    var listedMerges: [Merge] = []
    /// The rank of each token, by id, if the merge order is `ranked`; otherwise ignored.
    var ranks: [UInt32] = []
    var normalizer: [NormalizerStep] = []
    var preTokenizer = PreTokenizerStep.splitting(by: .llama3)
    /// Nil if the bytes of tokens are joined.
    var decoder: [DecoderStep]?
    /// Whether a piece that is itself a token becomes that token even if merging would not give it. tiktoken does this;
    /// Hugging Face calls it `ignore_merges`.
    var takesWholePieces = true
    var beginToken: Int32?
    /// The token that follows a text.
    var endToken: Int32?
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

  /// The token that the tokenizer's file puts after a text, as tokenizers of embedding models do; nil if it puts none.
  /// Encoding does not add it.
  package let endToken: Int32?

  /// The special tokens by their text, such as `<|eot_id|>`.
  package let specialTokens: [String: Int32]

  let vocabulary: TokenTable
  let initialTokens: InitialTokens
  let byteValues: [Int32: UInt8]
  let spacedTokens: Set<Int32>
  let mergeRule: MergeRule
  let takesWholePieces: Bool
  let added: [AddedToken]
  let allAdded: AddedTokenFinder
  let alwaysRecognised: AddedTokenFinder
  /// Positions in `added` by id.
  let addedPositions: [Int32: Int]
  let normalizerSteps: [NormalizerStep]
  let preTokenizerSteps: [PreTokenizerStep]
  let normalizer: Normalizer
  let preTokenizer: PreTokenizer
  let wordBoundary: WordBoundary?
  let decoder: [DecoderStep]?
  /// The character that spaces become, in a vocabulary of characters.
  let mark: Unicode.Scalar?

  init(_ definition: Definition) throws(TokenizerError) {
    vocabulary = definition.vocabulary
    let tokens = vocabulary.list
    (normalizer, preTokenizer) = try Self.steps(definition)
    mark = if case .marked(let mark) = preTokenizer.reading { Unicode.Scalar(mark) } else { nil }
    initialTokens = try Self.initialTokens(definition, mark)

    var positions: [Int32: Int] = [:]
    var specials: [String: Int32] = [:]
    for (position, token) in definition.added.enumerated() {
      let name = "the added token \(quoted(token.content))"
      if let (found, expected) = Self.fault(ofToken: token.content.utf8) {
        throw TokenizerError(subject: name, found: found, expected: expected)
      }
      if positions[token.id] != nil || !Self.isSame(token, tokens, mark) {
        throw TokenizerError(
          subject: "the id of \(name)", found: "\(token.id), the id of another token too", expected: "an id of its own")
      }
      positions[token.id] = position
      if token.isSpecial { specials[token.content] = token.id }
    }
    allAdded = try Self.finder(for: definition.added, normalizer, ignoringSpecialTokens: false)
    alwaysRecognised = try Self.finder(for: definition.added, normalizer, ignoringSpecialTokens: true)
    let highestAdded = definition.added.map { Int($0.id) }.max() ?? -1
    vocabularySize = max(tokens.indexEnd, highestAdded + 1)
    for (id, name) in [(definition.beginToken, "begin token"), (definition.endToken, "end token")] {
      if let id, positions[id] == nil, !tokens.hasString(at: Int(id)) {
        throw TokenizerError(subject: "the \(name)", found: "\(id)", expected: "the id of a token")
      }
    }

    mergeRule =
      switch definition.mergeOrder {
      case .byID: .vocabulary(vocabulary, thenByLeft: false)
      case .byIDThenLeft: .vocabulary(vocabulary, thenByLeft: true)
      case .listed: .list(MergeTable(definition.listedMerges))
      case .ranked: .ranked(vocabulary, definition.ranks)
      }
    wordBoundary = mark == nil ? nil : WordBoundary(definition)
    added = definition.added
    addedPositions = positions
    specialTokens = specials
    beginToken = definition.beginToken
    endToken = definition.endToken
    byteValues = definition.byteValues
    spacedTokens = definition.spacedTokens
    normalizerSteps = definition.normalizer
    preTokenizerSteps = definition.preTokenizer
    decoder = definition.decoder
    takesWholePieces = definition.takesWholePieces
  }

  private static func steps(_ definition: Definition) throws(TokenizerError) -> (Normalizer, PreTokenizer) {
    do throws(ExpressionParser.Refusal) {
      let normalizer = try Normalizer(definition.normalizer)
      let preTokenizer = try PreTokenizer(definition.preTokenizer, normalizer.reading)
      let isByteLevel = preTokenizer.reading == .byteLevel
      if isByteLevel != (definition.characters == nil) {
        throw ExpressionParser.Refusal(
          found: isByteLevel ? "splitting text into bytes" : "splitting text into characters",
          expected: "pieces of the form that the vocabulary has")
      }
      var growth = 1
      for case .replace(let old, let new) in definition.decoder ?? [] {
        growth *= min(max(1, new.utf8.count / max(1, old.utf8.count)), Normalizer.largestGrowth + 1)
        if growth > Normalizer.largestGrowth {
          throw ExpressionParser.Refusal(
            found: "making a token \(growth) times as long", expected: "at most \(Normalizer.largestGrowth) times")
        }
      }
      return (normalizer, preTokenizer)
    } catch {
      throw TokenizerError(subject: "a step of the tokenizer", found: error.found, expected: error.expected)
    }
  }

  private static func initialTokens(
    _ definition: Definition, _ mark: Unicode.Scalar?
  ) throws(TokenizerError) -> InitialTokens {
    if let characters = definition.characters {
      if let mark, definition.vocabulary.find([UInt8(ascii: " ")]) < 0 {
        throw TokenizerError(
          subject: "the token \(quoted(String(Character(mark))))", found: "missing",
          expected: "a token for what spaces become")
      }
      return .characters(characters)
    }
    let byteTokens = (UInt8.min...UInt8.max).map { definition.vocabulary.find([$0]) }
    // Some vocabularies lack bytes that no UTF-8 has or that are rare. Hugging Face tokenizers drops them.
    if definition.mergeOrder != .listed || byteTokens.allSatisfy({ $0 < 0 }), let byte = byteTokens.firstIndex(of: -1) {
      throw TokenizerError(
        subject: "the token of the single byte 0x\(String(byte, radix: 16))", found: "missing",
        expected: "one token for each of the 256 bytes, as byte-level BPE needs")
    }
    return .bytes(byteTokens)
  }

  /// Whether a vocabulary has no token of an added token's id but the added token itself.
  private static func isSame(_ token: AddedToken, _ tokens: TokenList, _ mark: Unicode.Scalar?) -> Bool {
    guard tokens.hasString(at: Int(token.id)) else { return true }
    let content = Array(token.content.utf8)
    if tokens[Int(token.id)].elementsEqual(content) { return true }
    guard let mark else { return false }
    var marked: [UInt8] = []
    PreTokenizer.append(content.span, 0..<content.count, spacesFor: Array(UTF8.encode(mark)!), to: &marked)
    return tokens[Int(token.id)].elementsEqual(marked)
  }

  /// The table that finds the tokens of a vocabulary.
  static func table(of tokens: TokenList, hiding hidden: Set<Int> = []) throws(TokenizerError) -> TokenTable {
    do {
      return try TokenTable(tokens, hiding: hidden)
    } catch {
      throw TokenizerError(
        subject: "the token \(quoted(tokens[error.first]))",
        found: "given twice, with the ids \(error.first) and \(error.second)", expected: "each token once")
    }
  }

  /// The finder of these added tokens in text.
  private static func finder(
    for added: [AddedToken], _ normalizer: Normalizer, ignoringSpecialTokens: Bool
  ) throws(TokenizerError) -> AddedTokenFinder {
    do {
      return try AddedTokenFinder(added, normalizer: normalizer, ignoringSpecialTokens: ignoringSpecialTokens)
    } catch {
      throw TokenizerError(
        subject: "the added token \(quoted(error.content))", found: "given twice", expected: "each token once")
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
    var bytes: [UInt8] = []
    appendBytes(of: id, to: &bytes)
    return bytes.isEmpty ? nil : bytes
  }
}

extension PreTokenizerStep {
  /// Byte-level BPE's splitting by one pattern.
  static func splitting(by pattern: SplitPattern) -> [PreTokenizerStep] {
    if pattern == .gpt2 { return [.byteLevel(addsSpace: false, usesPattern: true)] }
    return [
      .split(.expression(pattern.expression), .isolated, isInverted: false),
      .byteLevel(addsSpace: false, usesPattern: false),
    ]
  }
}

/// The parts of a serialized tokenizer, as its lines give them.
struct SerializedParts {
  private let isFirstVersion: Bool
  private var split: SplitPattern?
  private var normalizer: [NormalizerStep] = []
  private var preTokenizer: [PreTokenizerStep] = []
  private var decoder: [DecoderStep] = []
  private var takesWholePieces: Bool?
  private var beginToken: Int32?
  private var endToken: Int32?
  private var characters: InitialTokens.Characters?
  private var byteTokens: [Int32]?
  private var unknownToken: Int32?
  private var tokens = TokenList()
  private var hidden: Set<Int32> = []
  private var spaced: Set<Int32> = []
  private var mergeOrder: MergeOrder?
  private var listedMerges: SerializedReader?
  private var ranks: [UInt32] = []
  private var added: [AddedToken] = []
  private var seen: Set<String> = []

  init(isFirstVersion: Bool) { self.isFirstVersion = isFirstVersion }

  /// Reads a line.
  mutating func read(_ lines: inout SerializedReader) throws(TokenizerError) {
    let keyword = lines.word()
    let isList = ["special", "added", "normalize", "pre", "decode"].contains(keyword)
    if !isList, !seen.insert(keyword).inserted {
      throw lines.error(
        "the keyword", found: "\(quotedWord(keyword)), for the second time", expected: "each keyword once")
    }
    switch keyword {
    case "split":
      split = try lines.choice(among: "llama3 or gpt2") { name in
        [SplitPattern.llama3, .gpt2].first { $0.rawValue == name }
      }
    case "whole-pieces": takesWholePieces = try lines.flag()
    case "bos": beginToken = try lines.id()
    case "tokens": tokens = try lines.tokens()
    case "merges": if try readMerges(&lines) { return }  // the list can only be read when all tokens are known
    case "special", "added": try readAdded(&lines, isSpecial: keyword == "special")
    default:
      guard !isFirstVersion else {
        throw lines.error("the keyword", found: quotedWord(keyword), expected: "one that version 1 knows")
      }
      try readSecondVersion(keyword, &lines)
    }
    try lines.checkEndOfLine()
  }

  private func quotedWord(_ word: String) -> String { "\"\(word.prefix(80))\"" }

  private mutating func readSecondVersion(
    _ keyword: String, _ lines: inout SerializedReader
  ) throws(TokenizerError) {
    switch keyword {
    case "normalize": normalizer.append(try lines.normalizerStep())
    case "pre": preTokenizer.append(try lines.preTokenizerStep())
    case "decode": decoder.append(try lines.decoderStep())
    case "eos": endToken = try lines.id()
    case "characters":
      characters = InitialTokens.Characters(
        byteTokens: nil, unknownToken: nil, fusesUnknown: try lines.flag(), replacesLate: try lines.flag())
    case "bytes":
      var list: [Int32] = []
      while !lines.isAtEnd { list.append(try lines.idOrNone()) }
      if list.count != 256 { throw lines.error("the list", found: "\(list.count) long", expected: "256") }
      byteTokens = list
    case "unknown": unknownToken = try lines.id()
    case "hidden": while !lines.isAtEnd { hidden.insert(try lines.id()) }
    case "spaced": while !lines.isAtEnd { spaced.insert(try lines.id()) }
    default:
      throw lines.error("the keyword", found: quotedWord(keyword), expected: "one that this version knows")
    }
  }

  /// Returns whether the rest of the line is read later.
  private mutating func readMerges(_ lines: inout SerializedReader) throws(TokenizerError) -> Bool {
    mergeOrder = try lines.choice(among: "by-id, by-id-then-left or listed", MergeOrder.init(rawValue:))
    if mergeOrder == .listed {
      listedMerges = lines
      return true
    }
    if mergeOrder == .ranked { while !lines.isAtEnd { ranks.append(UInt32(try lines.id())) } }
    return false
  }

  private mutating func readAdded(_ lines: inout SerializedReader, isSpecial: Bool) throws(TokenizerError) {
    let id = try lines.id()
    var token = AddedToken(id: id, content: String(decoding: try lines.base64(), as: UTF8.self), isSpecial: isSpecial)
    while !lines.isAtEnd, !isFirstVersion {
      let word = lines.word()
      switch word {
      case "lstrip": token.stripsLeft = true
      case "rstrip": token.stripsRight = true
      case "normalized": token.isNormalized = true
      case "single_word": token.isSingleWord = true
      default:
        throw lines.error(found: quotedWord(word), expected: "lstrip, rstrip, normalized or single_word")
      }
    }
    added.append(token)
  }

  func definition() throws(TokenizerError) -> Tokenizer.Definition {
    guard let takesWholePieces, let mergeOrder, tokens.count > 0, split != nil || !isFirstVersion else {
      throw TokenizerError(
        subject: "the serialized tokenizer",
        found: "incomplete, with the lines \(seen.sorted().joined(separator: ", "))",
        expected: "at least split, whole-pieces, tokens and merges")
    }
    let table = try Tokenizer.table(of: tokens, hiding: Set(hidden.map(Int.init)))
    var definition = Tokenizer.Definition(vocabulary: table)
    definition.preTokenizer = split.map(PreTokenizerStep.splitting) ?? preTokenizer
    definition.normalizer = normalizer
    definition.takesWholePieces = takesWholePieces
    definition.beginToken = beginToken
    definition.endToken = endToken
    definition.added = added
    definition.mergeOrder = mergeOrder
    definition.listedMerges =
      try listedMerges.map { list throws(TokenizerError) in
        var list = list
        return try list.merges(of: table)
      } ?? []
    definition.ranks = ranks
    if mergeOrder == .ranked, ranks.count < tokens.indexEnd {
      throw TokenizerError(
        subject: "the list of ranks", found: "\(ranks.count) long",
        expected: "a rank for each of \(tokens.indexEnd) ids")
    }
    if var characters {
      characters.byteTokens = byteTokens
      characters.unknownToken = unknownToken
      definition.characters = characters
      definition.spacedTokens = spaced
      definition.decoder = decoder
      for (byte, id) in (byteTokens ?? []).enumerated() where id >= 0 { definition.byteValues[id] = UInt8(byte) }
    }
    return definition
  }
}

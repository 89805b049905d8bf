import BitNetJSON

/// A tokenizer as other programs can read it from a GGUF file.
package struct GGUFExport: Sendable {
  /// Nil if the keys of GGUF files cannot express the tokenizer.
  package let vocabulary: GGUFVocabulary?
  /// What programs that read only the vocabulary do otherwise than the tokenizer, or why there is no vocabulary: clauses
  /// without a full stop.
  package let notes: [String]

  init(_ vocabulary: GGUFVocabulary, notes: [String] = []) {
    self.vocabulary = vocabulary
    self.notes = notes
  }

  /// - Parameter reason: what GGUF's keys cannot express.
  init(impossible reason: String) {
    vocabulary = nil
    notes = [reason]
  }
}

extension Tokenizer {
  /// The tokenizer in the terms of GGUF files: byte-level BPE whose splitting other programs have a name for, or
  /// SentencePiece.
  ///
  /// The vocabulary adds the begin and the end token that the tokenizer adds, and no others. Ids that no token has are
  /// filled with unused tokens of unique names.
  ///
  /// - Parameter size: the model's vocabulary.
  /// - Throws: `TokenizerError` when a token's id is beyond the model's vocabulary.
  package func ggufExport(size: Int) throws(TokenizerError) -> GGUFExport {
    guard vocabularySize <= size else {
      throw TokenizerError(
        subject: "the tokenizer's highest token id", found: "\(vocabularySize - 1)",
        expected: "at most \(size - 1), because the model has \(size) tokens")
    }
    let export =
      switch initialTokens {
      case .bytes: byteLevelExport(size: size)
      case .characters(let characters): sentencePieceExport(characters, size: size)
      }
    guard var vocabulary = export.vocabulary else { return export }
    vocabulary.beginToken = beginToken.map(Int.init)
    vocabulary.addsBeginToken = beginToken != nil
    vocabulary.endToken = endToken.map(Int.init)
    vocabulary.addsEndToken = endToken != nil
    // Whatever is written must be a vocabulary that can be read.
    do {
      _ = try Tokenizer(vocabulary)
    } catch {
      return GGUFExport(impossible: "\(error.subject) would be \(error.found)")
    }
    return GGUFExport(vocabulary, notes: export.notes + addedTokenNotes)
  }

  /// The properties of added tokens that GGUF files have no key for.
  private var addedTokenNotes: [String] {
    added.compactMap { token in
      let properties = [
        token.stripsLeft ? "lstrip" : nil, token.stripsRight ? "rstrip" : nil, token.isSingleWord ? "single_word" : nil,
      ].compactMap(\.self)
      return properties.isEmpty ? nil : "they ignore \(properties.joined(separator: ", ")) of \(quoted(token.content))"
    }
  }

  /// Unused tokens for ids that no token has; their names are none of `names`.
  fileprivate static func fill(_ tokens: inout [[UInt8]?]) -> [[UInt8]] {
    let names = Set(tokens.compactMap(\.self))
    return tokens.enumerated().map { id, token in
      if let token { return token }
      var name = "[PAD\(id)]"
      while names.contains(Array(name.utf8)) { name = "[\(name)]" }
      return Array(name.utf8)
    }
  }

  fileprivate static func areUnique(_ tokens: [[UInt8]]) -> Bool { Set(tokens).count == tokens.count }
}

// MARK: - Byte-level BPE

extension Tokenizer {
  private func byteLevelExport(size: Int) -> GGUFExport {
    guard let pre = NamedPreTokenizer.name(of: self) else {
      return GGUFExport(impossible: "its rule for splitting text has no name in GGUF files")
    }
    var tokens = [[UInt8]?](repeating: nil, count: size)
    var types = [Int32](repeating: GGUFVocabulary.TokenType.unused.rawValue, count: size)
    func set(_ id: Int, _ token: [UInt8], _ type: GGUFVocabulary.TokenType) {
      tokens[id] = token
      types[id] = type.rawValue
    }
    let hidden = Set(hiddenTokens)
    let list = vocabulary.list
    for id in 0..<list.indexEnd where list.hasString(at: id) {
      set(id, ByteLevelAlphabet.spelling(of: list[id]), hidden.contains(id) ? .unused : .normal)
    }
    for token in added { set(Int(token.id), Array(token.content.utf8), token.isSpecial ? .control : .userDefined) }
    let merges =
      switch mergeRule {
      case .list(let table): table.merges
      case .vocabulary, .ranked: MergeRule.splits(of: vocabulary)
      }
    let names = Self.fill(&tokens)
    guard Self.areUnique(names) else { return GGUFExport(impossible: "two of its tokens have one name in GGUF files") }
    var result = GGUFVocabulary(model: "gpt2", tokens: names)
    result.pre = pre
    result.types = types
    result.merges = merges.map { merge in
      ByteLevelAlphabet.spelling(of: list[Int(merge.left)]) + [UInt8(ascii: " ")]
        + ByteLevelAlphabet.spelling(of: list[Int(merge.right)])
    }
    return GGUFExport(result)
  }

  /// Whether merging the bytes of any token gives that token, so that it is the same whether whole pieces are looked up
  /// or merged.
  var mergesToAllTokens: Bool {
    var merger = PieceMerger(initial: initialTokens, vocabulary: vocabulary, rule: mergeRule)
    let list = vocabulary.list
    let text = list.bytes.span
    var ids: [Int32] = []
    for id in 0..<list.indexEnd where list.hasString(at: id) && addedPositions[Int32(id)] == nil {
      ids.removeAll(keepingCapacity: true)
      let start = Int(list.starts[id])
      merger.merge(text, start, start + Int(list.lengths[id]), into: &ids)
      if ids != [Int32(id)] { return false }
    }
    return true
  }
}

// MARK: - SentencePiece

extension Tokenizer {
  /// What the steps before merging do to spaces.
  private struct SpaceRule {
    var addsPrefix = false
    var collapses = false
    var notes: [String] = []
  }

  /// Nil if SentencePiece does not have these steps.
  private var spaceRule: SpaceRule? {
    var rule = SpaceRule()
    var isMarked = false
    for step in normalizerSteps {
      switch step {
      case .collapseSpaces: rule.collapses = true
      case .prependSpace: rule.addsPrefix = true
      case .prepend(let text) where text == String(Character(SentencePieceVocabulary.mark)): rule.addsPrefix = true
      case .markSpaces(SentencePieceVocabulary.mark): isMarked = true
      default: return nil
      }
    }
    for step in preTokenizerSteps {
      switch step {
      case .metaspace(SentencePieceVocabulary.mark, let prefix, splits: false) where !isMarked:
        isMarked = true
        rule.addsPrefix = prefix != .never
        if rule.addsPrefix { rule.notes = ["they also put a space before text that begins with one"] }
      // Spaces are marks already, so there is nothing to split at.
      case .split(.literal(let text), _, isInverted: false) where isMarked && text.contains(" "): break
      default: return nil
      }
    }
    return isMarked ? rule : nil
  }

  private func sentencePieceExport(_ characters: InitialTokens.Characters, size: Int) -> GGUFExport {
    guard let rule = spaceRule, !takesWholePieces else {
      return GGUFExport(impossible: "SentencePiece has no steps like its own")
    }
    guard let bytes = characters.byteTokens, bytes.allSatisfy({ $0 >= 0 }) else {
      return GGUFExport(impossible: "it lacks tokens for single bytes, which SentencePiece has in GGUF files")
    }
    guard let ranks = exportedRanks() else {
      return GGUFExport(impossible: "scores of tokens, which SentencePiece has, cannot express its list of merges")
    }
    var tokens = [[UInt8]?](repeating: nil, count: size)
    var types = [Int32](repeating: GGUFVocabulary.TokenType.unused.rawValue, count: size)
    let mark = Array(UTF8.encode(SentencePieceVocabulary.mark)!)
    let hidden = Set(hiddenTokens)
    let list = vocabulary.list
    for id in 0..<list.indexEnd where list.hasString(at: id) {
      tokens[id] = list[id].flatMap { $0 == UInt8(ascii: " ") ? mark : [$0] }
      types[id] = (hidden.contains(id) ? GGUFVocabulary.TokenType.unused : .normal).rawValue
    }
    for id in byteValues.keys { types[Int(id)] = GGUFVocabulary.TokenType.byte.rawValue }
    for token in added {
      // Converters write the text of user-defined tokens with plain spaces.
      let text = String(Character(SentencePieceVocabulary.mark))
      let content =
        token.isSpecial
        ? token.content : token.content.split(separator: text, omittingEmptySubsequences: false).joined(separator: " ")
      tokens[Int(token.id)] = Array(content.utf8)
      types[Int(token.id)] = (token.isSpecial ? GGUFVocabulary.TokenType.control : .userDefined).rawValue
    }
    if let unknown = characters.unknownToken {
      types[Int(unknown)] = GGUFVocabulary.TokenType.unknown.rawValue
    }
    let names = Self.fill(&tokens)
    guard Self.areUnique(names) else { return GGUFExport(impossible: "two of its tokens have one name in GGUF files") }
    var result = GGUFVocabulary(model: "llama", tokens: names)
    result.types = types
    result.scores = (0..<size).map { $0 < ranks.count ? -Float(ranks[$0]) : 0 }
    result.unknownToken = characters.unknownToken.map(Int.init)
    result.addsSpacePrefix = rule.addsPrefix
    result.removesExtraSpaces = rule.collapses
    return GGUFExport(result, notes: rule.notes)
  }

  /// The rank of each token by which SentencePiece merges as the tokenizer does; nil if there is none.
  private func exportedRanks() -> [UInt32]? {
    switch mergeRule {
    case .ranked(_, let ranks): return ranks
    case .vocabulary: return nil
    case .list(let table): return exportedRanks(table)
    }
  }

  /// The ranks of the results of a list of merges. SentencePiece merges any two neighbours whose concatenation is a
  /// token, so the list must have all of them, those of one result together.
  private func exportedRanks(_ table: MergeTable) -> [UInt32]? {
    for split in MergeRule.splits(of: vocabulary) where addedPositions[split.result] == nil {
      if table.find(split.left, split.right).result != split.result { return nil }
    }
    let merges = table.merges
    var lastPositions: [Int32: Int] = [:]
    for (position, merge) in merges.enumerated() { lastPositions[merge.result] = position }
    var ranks = [UInt32](repeating: 0, count: vocabulary.list.indexEnd)
    var rank: UInt32 = 0
    var groupEnd = -1
    var group: Set<Int32> = []
    for (position, merge) in merges.enumerated() {
      if position > groupEnd {
        rank += 1
        group = []
      }
      group.insert(merge.result)
      groupEnd = max(groupEnd, lastPositions[merge.result] ?? position)
      ranks[Int(merge.result)] = rank
      // Results whose merges alternate have one score; it does not matter which of two runs of a character is first.
      if group.count > 1, !group.allSatisfy({ addedPositions[$0] != nil || isRun($0) }) { return nil }
    }
    return ranks
  }

  /// Whether a token is one character, repeated.
  private func isRun(_ id: Int32) -> Bool {
    let scalars = String(decoding: vocabulary.list[Int(id)], as: UTF8.self).unicodeScalars
    return scalars.allSatisfy { $0 == scalars.first }
  }
}

import BitNetJSON

extension Tokenizer {
  /// The tokenizer of a GGUF file's vocabulary.
  ///
  /// - Throws: `TokenizerError` about the key that does not have its form or is not supported.
  package convenience init(_ vocabulary: GGUFVocabulary) throws(TokenizerError) {
    switch vocabulary.model {
    case "llama": try self.init(vocabulary.sentencePiece().definition())
    case "gpt2": try self.init(vocabulary.byteLevel())
    default:
      throw TokenizerError(
        subject: "tokenizer.ggml.model", found: quoted(vocabulary.model),
        expected: "\"llama\" (SentencePiece) or \"gpt2\" (byte-level BPE)")
    }
  }
}

/// The splitting of a pre-tokenizer that files name.
struct NamedPreTokenizer {
  var steps: [PreTokenizerStep]
  var composes = false
  var takesWholePieces = false
  /// Whether texts begin with the begin token if the file does not say.
  var addsBeginToken = false

  private static let llama3 = NamedPreTokenizer(
    steps: PreTokenizerStep.splitting(by: .llama3), takesWholePieces: true, addsBeginToken: true)
  private static let qwen2 = NamedPreTokenizer(steps: PreTokenizerStep.splitting(by: .qwen2), composes: true)
  private static let gpt2 = NamedPreTokenizer(steps: PreTokenizerStep.splitting(by: .gpt2))
  private static let falcon = NamedPreTokenizer(steps: [
    .punctuation(.contiguous), .byteLevel(addsSpace: false, usesPattern: true), .digits(isIndividual: false),
    .split(.expression("[0-9][0-9][0-9]"), .isolated, isInverted: false),
  ])
  private static let singleDigits = NamedPreTokenizer(steps: [
    .digits(isIndividual: true), .byteLevel(addsSpace: false, usesPattern: true),
  ])

  static let named: [String: NamedPreTokenizer] = [
    "llama3": llama3, "llama-v3": llama3, "llama-bpe": llama3, "falcon3": llama3, "falcon_e": llama3,
    "falcon-e": llama3, "falcon-h1": llama3, "qwen2": qwen2, "deepseek-r1-qwen": qwen2, "gpt-2": gpt2, "phi-2": gpt2,
    "falcon": falcon, "smollm": singleDigits, "starcoder": singleDigits, "refact": singleDigits,
    "command-r": singleDigits,
  ]

  /// BitNet's own files have no name: their tokenizer is Llama 3's.
  static let unnamed = llama3

  /// The names to write, one for each rule.
  private static let written = ["llama-bpe", "qwen2", "gpt-2", "falcon", "smollm"]

  /// The name of a tokenizer's splitting; nil if it has none.
  static func name(of tokenizer: Tokenizer) -> String? {
    written.first { name in
      guard let rule = named[name], rule.steps == tokenizer.preTokenizerSteps,
        (rule.composes ? [.nfc] : []) == tokenizer.normalizerSteps
      else { return false }
      return rule.takesWholePieces == tokenizer.takesWholePieces || tokenizer.mergesToAllTokens
    }
  }
}

extension GGUFVocabulary {
  private static func refusal(_ key: String, _ found: String, _ expected: String) -> TokenizerError {
    TokenizerError(subject: "tokenizer.ggml.\(key)", found: found, expected: expected)
  }

  private func checkTokens() throws(TokenizerError) {
    if tokens.isEmpty || tokens.count > Tokenizer.maximumVocabularySize {
      throw Self.refusal("tokens", "an array of \(tokens.count)", "1 to \(Tokenizer.maximumVocabularySize) tokens")
    }
    if !types.isEmpty, types.count != tokens.count {
      throw Self.refusal("token_type", "an array of \(types.count)", "\(tokens.count), one for each token")
    }
  }

  private func type(of id: Int) throws(TokenizerError) -> TokenType {
    if types.isEmpty { return .normal }
    guard let type = TokenType(rawValue: types[id]) else {
      throw Self.refusal("token_type[\(id)]", "\(types[id])", "a number from 1 to 6")
    }
    return type
  }

  /// The id if it is added to texts.
  private func token(_ id: Int?, _ key: String, isAdded: Bool) throws(TokenizerError) -> Int32? {
    guard isAdded, let id else { return nil }
    if !tokens.indices.contains(id) {
      throw Self.refusal(key, "\(id)", "the id of a token, 0 to \(tokens.count - 1)")
    }
    return Int32(id)
  }

  // MARK: - SentencePiece

  fileprivate func sentencePiece() throws(TokenizerError) -> SentencePieceVocabulary {
    try checkTokens()
    if scores.count != tokens.count {
      throw Self.refusal("scores", "an array of \(scores.count)", "\(tokens.count), one for each token")
    }
    if !charsMap.isEmpty {
      throw Self.refusal("precompiled_charsmap", "a table of \(charsMap.count) bytes", "no table")
    }
    var vocabulary = SentencePieceVocabulary()
    vocabulary.addsSpace = addsSpacePrefix ?? true
    vocabulary.collapsesSpaces = removesExtraSpaces ?? false
    let mark = Array(UTF8.encode(SentencePieceVocabulary.mark)!)
    for (id, token) in tokens.enumerated() {
      let type = try type(of: id)
      // Converters write user-defined tokens as text, with spaces in place of marks. llama.cpp looks for them in the
      // given text; with a prefix, it would then put spaces after them that SentencePiece does not.
      let isGiven = type == .userDefined && !vocabulary.addsSpace
      let isMarked = type == .userDefined && vocabulary.addsSpace
      let text = isMarked ? token.flatMap { $0 == UInt8(ascii: " ") ? mark : [$0] } : token
      vocabulary.pieces.append(
        SentencePieceVocabulary.Piece(text: text, score: scores[id], type: type, isGiven: isGiven))
    }
    vocabulary.beginToken = try self.token(beginToken, "bos_token_id", isAdded: addsBeginToken ?? true)
    vocabulary.endToken = try self.token(endToken, "eos_token_id", isAdded: addsEndToken ?? false)
    return vocabulary
  }

  // MARK: - Byte-level BPE

  fileprivate func byteLevel() throws(TokenizerError) -> Tokenizer.Definition {
    try checkTokens()
    let named = try preTokenizer()
    var list = TokenList()
    var hidden: Set<Int> = []
    var added: [AddedToken] = []
    var token: [UInt8] = []
    for (id, name) in tokens.enumerated() {
      let type = try type(of: id)
      let subject = "tokens[\(id)]"
      if let (found, expected) = Tokenizer.fault(ofToken: name) { throw Self.refusal(subject, found, expected) }
      switch type {
      case .control, .unknown, .userDefined:
        guard let text = String(validating: name, as: UTF8.self) else {
          throw Self.refusal(subject, "not UTF-8", "a text")
        }
        added.append(AddedToken(id: Int32(id), content: text, isSpecial: type != .userDefined))
      case .normal, .unused, .byte:
        token.removeAll(keepingCapacity: true)
        if ByteLevelAlphabet.decode(name, 0, name.count, into: &token) {
          list.insert(token, at: id)
        } else if type == .unused {
          list.insert(name, at: id)
        } else {
          throw Self.refusal(subject, quoted(name), "only characters of the byte-level alphabet")
        }
        if type == .unused { hidden.insert(id) }
      }
    }
    var definition = Tokenizer.Definition(vocabulary: try Tokenizer.table(of: list, hiding: hidden))
    definition.added = added
    definition.mergeOrder = .listed
    definition.listedMerges = try listedMerges(definition.vocabulary)
    definition.normalizer = named.composes ? [.nfc] : []
    definition.preTokenizer = named.steps
    definition.takesWholePieces = named.takesWholePieces
    definition.beginToken = try self.token(
      beginToken, "bos_token_id", isAdded: addsBeginToken ?? named.addsBeginToken)
    definition.endToken = try self.token(endToken, "eos_token_id", isAdded: addsEndToken ?? false)
    return definition
  }

  private func preTokenizer() throws(TokenizerError) -> NamedPreTokenizer {
    guard let pre else { return .unnamed }
    guard let known = NamedPreTokenizer.named[pre] else {
      throw Self.refusal("pre", quoted(pre), "one of \(NamedPreTokenizer.named.keys.sorted().joined(separator: ", "))")
    }
    return known
  }

  private func listedMerges(_ vocabulary: TokenTable) throws(TokenizerError) -> [Merge] {
    var result: [Merge] = []
    var joined: [UInt8] = []
    for (position, merge) in merges.enumerated() {
      let space = merge.firstIndex(of: UInt8(ascii: " ")) ?? 0
      joined.removeAll(keepingCapacity: true)
      guard space > 0, space + 1 < merge.count, ByteLevelAlphabet.decode(merge, 0, space, into: &joined) else {
        throw Self.refusal("merges[\(position)]", quoted(merge), "two tokens with one space in between")
      }
      let cut = joined.count
      let isSpelled = ByteLevelAlphabet.decode(merge, space + 1, merge.count, into: &joined)
      let left = vocabulary.find(joined.span, 0, cut)
      let right = isSpelled ? vocabulary.find(joined.span, cut, joined.count) : -1
      let whole = isSpelled ? vocabulary.find(joined) : -1
      guard left >= 0, right >= 0, whole >= 0 else {
        throw Self.refusal("merges[\(position)]", quoted(merge), "two tokens whose concatenation is a token")
      }
      result.append(Merge(left: left, right: right, result: whole))
    }
    return result
  }
}

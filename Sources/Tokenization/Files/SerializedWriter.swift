/// Writes the lines of a serialized tokenizer.
struct SerializedWriter {
  private(set) var text: [UInt8] = []

  mutating func line(_ words: String...) {
    append(words.joined(separator: " "))
    append("\n")
  }

  private mutating func append(_ string: String) { text.append(contentsOf: string.utf8) }

  private func base64(_ text: String) -> String {
    var encoded: [UInt8] = []
    Base64.encode(Array(text.utf8)[...], into: &encoded)
    return String(decoding: encoded, as: UTF8.self)
  }

  private func base64(_ scalar: Unicode.Scalar) -> String { base64(String(Character(scalar))) }

  private func words(_ pattern: Pattern) -> String {
    switch pattern {
    case .literal(let text): "literal \(base64(text))"
    case .expression(let text): "expression \(base64(text))"
    }
  }

  mutating func steps(of tokenizer: Tokenizer) {
    for step in tokenizer.normalizerSteps {
      switch step {
      case .nfc: line("normalize nfc")
      case .prepend(let text): line("normalize prepend", base64(text))
      case .replace(let pattern, let text): line("normalize replace", words(pattern), base64(text))
      case .markSpaces(let mark): line("normalize mark", base64(mark))
      case .prependSpace: line("normalize prepend-space")
      case .collapseSpaces: line("normalize collapse-spaces")
      }
    }
    for step in tokenizer.preTokenizerSteps {
      switch step {
      case .split(let pattern, let behavior, let isInverted):
        line("pre split", words(pattern), behavior.rawValue, "\(isInverted)")
      case .digits(let isIndividual): line("pre digits", "\(isIndividual)")
      case .punctuation(let behavior): line("pre punctuation", behavior.rawValue)
      case .byteLevel(let addsSpace, let usesPattern): line("pre bytes", "\(addsSpace)", "\(usesPattern)")
      case .metaspace(let mark, let prefix, let splits):
        line("pre metaspace", base64(mark), prefix.rawValue, "\(splits)")
      }
    }
    for step in tokenizer.decoder ?? [] {
      switch step {
      case .replace(let old, let new): line("decode replace", base64(old), base64(new))
      case .byteFallback(let keeps): line("decode byte-fallback", "\(keeps)")
      case .fuse: line("decode fuse")
      case .strip(let scalar, let start, let stop): line("decode strip", base64(scalar), "\(start)", "\(stop)")
      case .metaspace(let mark, let drops): line("decode metaspace", base64(mark), "\(drops)")
      case .dropFirstMark(let mark): line("decode drop", base64(mark))
      }
    }
  }

  mutating func characters(of tokenizer: Tokenizer) {
    if case .characters(let characters) = tokenizer.initialTokens {
      line("characters", "\(characters.fusesUnknown)", "\(characters.replacesLate)")
      if let bytes = characters.byteTokens {
        line("bytes", bytes.map { $0 < 0 ? "-" : "\($0)" }.joined(separator: " "))
      }
      if let unknown = characters.unknownToken { line("unknown", "\(unknown)") }
    }
    if let end = tokenizer.endToken { line("eos", "\(end)") }
    let hidden = tokenizer.hiddenTokens
    if !hidden.isEmpty { line("hidden", hidden.map(String.init).joined(separator: " ")) }
    if !tokenizer.spacedTokens.isEmpty {
      line("spaced", tokenizer.spacedTokens.sorted().map(String.init).joined(separator: " "))
    }
  }

  /// The tokens without those that are added tokens only.
  mutating func tokens(of tokenizer: Tokenizer) {
    let list = tokenizer.vocabulary.list
    text.reserveCapacity(text.count + list.bytes.count * 2)
    let merging = mergingTokens(of: tokenizer)
    append("tokens")
    var expectedID = 0
    for id in 0..<list.indexEnd where list.hasString(at: id) {
      if tokenizer.addedPositions[Int32(id)] != nil, !merging.contains(Int32(id)) { continue }
      append(id == expectedID ? " " : " @\(id) ")
      Base64.encode(list[id], into: &text)
      expectedID = id + 1
    }
    append("\n")
  }

  /// The added tokens that text can also become by merging, or that are one byte or character.
  private func mergingTokens(of tokenizer: Tokenizer) -> Set<Int32> {
    var merging: Set<Int32> = []
    if case .list(let table) = tokenizer.mergeRule {
      for merge in table.merges { merging.formUnion([merge.left, merge.right, merge.result]) }
    }
    let list = tokenizer.vocabulary.list
    for token in tokenizer.added where list.hasString(at: Int(token.id)) && !token.isSpecial {
      var isInitial = list[Int(token.id)].count == 1
      if case .characters = tokenizer.initialTokens { isInitial = true }
      if isInitial { merging.insert(token.id) }
    }
    return merging
  }

  mutating func merges(of tokenizer: Tokenizer) {
    append("merges ")
    switch tokenizer.mergeRule {
    case .vocabulary(_, let thenByLeft):
      append((thenByLeft ? MergeOrder.byIDThenLeft : .byID).rawValue)
    case .list(let table):
      let merges = table.merges
      if !tokenizer.dropsBytes, merges == MergeRule.splits(of: tokenizer.vocabulary) {
        append(MergeOrder.byIDThenLeft.rawValue)
      } else {
        append(MergeOrder.listed.rawValue)
        for merge in merges { append(" \(merge.left) \(merge.right)") }
      }
    case .ranked(_, let ranks):
      append(MergeOrder.ranked.rawValue)
      for rank in ranks { append(" \(rank)") }
    }
    append("\n")
  }

  mutating func added(_ token: AddedToken) {
    var words = [token.isSpecial ? "special" : "added", "\(token.id)", base64(token.content)]
    if token.stripsLeft { words.append("lstrip") }
    if token.stripsRight { words.append("rstrip") }
    if token.isNormalized { words.append("normalized") }
    if token.isSingleWord { words.append("single_word") }
    line(words.joined(separator: " "))
  }
}

extension Tokenizer {
  /// Reads a Hugging Face tokenizer.json.
  ///
  /// It must describe byte-level BPE: no normalizer, the split pattern of Llama 3 or of GPT-2, a model of type BPE
  /// whose vocabulary has all 256 bytes, and a post-processor that at most adds tokens. The first special token that it
  /// puts before a text is the BOS token. A vocabulary entry that is also an added token is taken as the added token
  /// only.
  ///
  /// - Throws: if the bytes are not such a file; the error names the field, or the line of broken JSON.
  package convenience init(tokenizerJSON file: [UInt8]) throws(TokenizerError) {
    try Self.checkSize(file.count)
    try self.init(Self.definition(of: JSONValue(document: JSONDocument(file))))
  }

  private static func definition(of file: JSONValue) throws(TokenizerError) -> Definition {
    if let normalizer = try file.optional("normalizer") {
      throw try (normalizer.optional("type") ?? normalizer).error(expected: "no normalizer, but null")
    }
    if let type = try file.optional("decoder")?["type"], try type.string() != "ByteLevel" {
      throw type.error(expected: "\"ByteLevel\"")
    }
    let model = try file["model"]
    // Before the rest, which has another form in other models.
    if let type = try model.optional("type"), try type.string() != "BPE" { throw type.error(expected: "\"BPE\"") }
    let split = try splitPattern(of: file["pre_tokenizer"])
    let added = try addedTokens(of: file)
    var definition = Definition(vocabulary: try table(of: tokens(of: model, except: added)))
    definition.split = split
    definition.added = added
    definition.takesWholePieces = try model.optional("ignore_merges")?.bool() ?? false
    definition.mergeOrder = .listed
    definition.listedMerges = try merges(of: model["merges"], definition.vocabulary)
    if let postProcessor = try file.optional("post_processor") { definition.bos = try bos(of: postProcessor) }
    return definition
  }

  private static func splitPattern(of component: JSONValue) throws(TokenizerError) -> SplitPattern {
    let isSequence = try component["type"].string() == "Sequence"
    let steps = isSequence ? try component["pretokenizers"].elements() : [component]
    guard let byteLevel = steps.last, steps.count <= 2 else {
      throw TokenizerError(
        place: component.path, found: "\(steps.count) steps", expected: "a Split and ByteLevel, or ByteLevel alone")
    }
    let type = try byteLevel["type"]
    if try type.string() != "ByteLevel" { throw type.error(expected: "\"ByteLevel\"") }
    if let prefix = try byteLevel.optional("add_prefix_space"), try prefix.bool() {
      throw prefix.error(expected: "false")
    }
    let usesOwnPattern = try byteLevel.optional("use_regex")?.bool() ?? true
    if steps.count == 1 {
      if usesOwnPattern { return .gpt2 }
      throw TokenizerError(
        place: component.path, found: "ByteLevel with use_regex false", expected: "a Split before it")
    }
    if usesOwnPattern {
      throw TokenizerError(place: byteLevel.path, found: "use_regex true after a Split", expected: "use_regex false")
    }
    let splitType = try steps[0]["type"]
    if try splitType.string() != "Split" { throw splitType.error(expected: "\"Split\"") }
    let behavior = try steps[0]["behavior"]
    if try behavior.string() != "Isolated" { throw behavior.error(expected: "\"Isolated\"") }
    if let invert = try steps[0].optional("invert"), try invert.bool() { throw invert.error(expected: "false") }
    let regex = try steps[0]["pattern"]["Regex"]
    let expression = try regex.string()
    guard let pattern = SplitPattern.allCases.first(where: { $0.expression == expression }) else {
      // Not cut: it is what a reader compares with the known one.
      throw TokenizerError(
        place: regex.path, found: expression, expected: "Llama 3's, \(SplitPattern.llama3.expression)")
    }
    return pattern
  }

  private static func addedTokens(of file: JSONValue) throws(TokenizerError) -> [AddedToken] {
    var added: [AddedToken] = []
    for token in try file.optional("added_tokens")?.elements() ?? [] {
      let content = try token["content"].string()
      let id = try token["id"].integer()
      let place = "\(token.path), \(quoted(content))"
      try checkToken(content.utf8, id: id, place: place)
      for name in ["lstrip", "rstrip", "single_word"] {
        if let value = try token.optional(name), try value.bool() {
          throw TokenizerError(place: place, found: "\(name) true", expected: "false")
        }
      }
      added.append(
        AddedToken(id: Int32(id), content: content, isSpecial: try token.optional("special")?.bool() ?? false))
    }
    return added
  }

  private static func tokens(of model: JSONValue, except added: [AddedToken]) throws(TokenizerError) -> TokenList {
    if let dropout = try model.optional("dropout"), dropout.written != "0.0" && dropout.written != "0" {
      throw dropout.error(expected: "null")
    }
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let value = try model.optional(name), try value.string() != "" { throw value.error(expected: "null") }
    }
    let finder = try finder(for: added)
    let vocab = try model["vocab"]
    let document = vocab.document
    var tokens = TokenList()
    var spelling: [UInt8] = []
    var token: [UInt8] = []
    for key in try vocab.keys() {
      spelling.removeAll(keepingCapacity: true)
      document.appendString(key, to: &spelling)
      func error(found: String, expected: String) -> TokenizerError {
        TokenizerError(place: "model.vocab[\(quoted(spelling))]", found: found, expected: expected)
      }
      guard let id = document.integer(key + 1) else {
        throw error(found: JSONValue(document: document, index: key + 1).written, expected: "an integer")
      }
      if let addedID = finder.id(of: spelling) {
        if id != addedID { throw error(found: "id \(id)", expected: "\(addedID), as in added_tokens") }
        continue
      }
      token.removeAll(keepingCapacity: true)
      guard ByteLevelAlphabet.decode(spelling, 0, spelling.count, into: &token) else {
        throw error(
          found: "a character that stands for no byte",
          expected: "only those of the byte-level alphabet, except in added tokens")
      }
      try checkToken(token, id: id, place: "model.vocab[\(quoted(spelling))]")
      if tokens.hasString(at: id) {
        throw error(found: "id \(id), which another token has", expected: "an id of its own")
      }
      tokens.insert(token, at: id)
    }
    return tokens
  }

  private static func merges(of list: JSONValue, _ vocabulary: TokenTable) throws(TokenizerError) -> [Merge] {
    let document = list.document
    let elements = try list.elementNodes()
    var merges: [Merge] = []
    merges.reserveCapacity(elements.count)
    var spelling: [UInt8] = []
    var joined: [UInt8] = []
    for (position, node) in elements.enumerated() {
      func error(found: String, expected: String) -> TokenizerError {
        TokenizerError(place: "\(list.path)[\(position)]", found: found, expected: expected)
      }
      // Both spellings, "a b" and ["a", "b"], become the first: no token's spelling has a space.
      spelling.removeAll(keepingCapacity: true)
      let spells = document.nodes[node].kind == .array ? Array(node + 1..<document.nodes[node].next) : [node]
      for (part, spell) in spells.enumerated() {
        let half = JSONValue(document: document, index: spell)
        if half.kind != .string { throw error(found: half.written, expected: "a string") }
        if part > 0 { spelling.append(UInt8(ascii: " ")) }
        document.appendString(spell, to: &spelling)
      }
      let halves = spelling.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
      guard halves.count == 2, !halves[0].isEmpty, !halves[1].isEmpty else {
        throw error(found: quoted(spelling), expected: "two tokens, as \"a b\" or [\"a\", \"b\"]")
      }
      joined.removeAll(keepingCapacity: true)
      let isLeftSpelled = ByteLevelAlphabet.decode(spelling, 0, halves[0].endIndex, into: &joined)
      let cut = joined.count
      let isRightSpelled = ByteLevelAlphabet.decode(spelling, halves[1].startIndex, spelling.count, into: &joined)
      let left = isLeftSpelled ? vocabulary.find(joined.span, 0, cut) : -1
      let right = isRightSpelled ? vocabulary.find(joined.span, cut, joined.count) : -1
      if left < 0 || right < 0 {
        throw error(found: quoted(halves[left < 0 ? 0 : 1]), expected: "a token of model.vocab")
      }
      let result = vocabulary.find(joined)
      if result < 0 { throw error(found: quoted(spelling), expected: "two tokens that joined are in model.vocab") }
      merges.append(Merge(left: left, right: right, result: result))
    }
    return merges
  }

  /// The token that a post-processor puts first.
  private static func bos(of processor: JSONValue) throws(TokenizerError) -> Int32? {
    let type = try processor["type"]
    switch try type.string() {
    case "ByteLevel":  // it only trims offsets
      return nil
    case "Sequence":
      var first: Int32?
      // Each step wraps what the one before gave, so the last to add a token has it in front.
      for step in try processor["processors"].elements() { first = try bos(of: step) ?? first }
      return first
    case "TemplateProcessing":
      guard let name = try processor["single"].elements().first?.optional("SpecialToken")?["id"].string() else {
        return nil
      }
      let ids = try processor["special_tokens"][name]["ids"]
      guard let first = try ids.elements().first else { throw ids.error(expected: "the id of \(quoted(name))") }
      let id = try first.integer()
      guard (0..<maximumVocabularySize).contains(id) else { throw first.error(expected: "a token id") }
      return Int32(id)
    default:
      throw type.error(expected: "ByteLevel, TemplateProcessing or a Sequence of them")
    }
  }
}

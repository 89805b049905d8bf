import BitNetJSON

extension Tokenizer {
  /// Reads a Hugging Face tokenizer.json.
  ///
  /// It must describe byte-level BPE: no normalizer, the split pattern of Llama 3 or of GPT-2, a model of type BPE
  /// whose vocabulary has all 256 bytes, and a post-processor that at most adds tokens. The first special token that it
  /// puts before a text is the begin token. A vocabulary entry that is also an added token is an added token only.
  ///
  /// - Throws: `TokenizerError` if the bytes are not such a file; the error names the field, or the line and column of
  ///   broken JSON.
  package convenience init(tokenizerJSON file: [UInt8]) throws(TokenizerError) {
    try Self.checkSize(file.count)
    try self.init(Self.definition(of: file))
  }

  /// The parts of a tokenizer.json that can be read on their own; vocabulary and merges need these first.
  private struct Parts {
    let model: JSONValue
    let split: SplitPattern
    let added: [AddedToken]
    let takesWholePieces: Bool
    let beginToken: Int32?

    init(_ file: JSONValue) throws(JSONError) {
      if let normalizer = try file["normalizer"].ifPresent {
        let type = try normalizer.kind == .object ? normalizer["type"] : normalizer
        throw (type.ifPresent ?? normalizer).error(expected: "no normalizer, but null")
      }
      if let decoder = try file["decoder"].ifPresent {
        try decoder["type"].require("ByteLevel")
      }
      model = try file["model"]
      // Before the other parts, whose form depends on the type of the model.
      if let type = try model["type"].ifPresent { try type.require("BPE") }
      split = try Tokenizer.splitPattern(of: file["pre_tokenizer"])
      added = try Tokenizer.addedTokens(of: file)
      takesWholePieces = try model["ignore_merges"].ifPresent?.bool() ?? false
      beginToken = try file["post_processor"].ifPresent.flatMap(Tokenizer.beginToken)
    }
  }

  private static func definition(of file: [UInt8]) throws(TokenizerError) -> Definition {
    let parts: Parts = try reading { () throws(JSONError) in
      try Parts(JSONDocument(file, limits: JSONLimits(byteCount: maximumFileSize)).root)
    }
    let finder = try finder(for: parts.added)
    let tokens = try reading { () throws(JSONError) in try Self.tokens(of: parts.model, except: finder) }
    var definition = Definition(vocabulary: try table(of: tokens))
    definition.split = parts.split
    definition.added = parts.added
    definition.takesWholePieces = parts.takesWholePieces
    definition.mergeOrder = .listed
    definition.listedMerges = try reading { () throws(JSONError) in
      try merges(of: parts.model["merges"], definition.vocabulary)
    }
    definition.beginToken = parts.beginToken
    return definition
  }

  /// Runs `body`, whose errors become those of a tokenizer.
  private static func reading<Result>(_ body: () throws(JSONError) -> Result) throws(TokenizerError) -> Result {
    do {
      return try body()
    } catch {
      throw TokenizerError(error)
    }
  }

  private static func splitPattern(of component: JSONValue) throws(JSONError) -> SplitPattern {
    let isSequence = try component["type"].string() == "Sequence"
    let steps = isSequence ? Array(try component["pretokenizers"].elements()) : [component]
    guard let byteLevel = steps.last, steps.count <= 2 else {
      throw component.error(
        found: "a sequence of \(steps.count) steps", expected: "a Split and ByteLevel, or ByteLevel alone")
    }
    try byteLevel["type"].require("ByteLevel")
    try byteLevel["add_prefix_space"].requireIfPresent(false)
    let expression = try byteLevel["use_regex"]
    let usesOwnPattern = try expression.ifPresent?.bool() ?? true
    if steps.count == 1 {
      if usesOwnPattern { return .gpt2 }
      throw expression.error(found: "false", expected: "true, or a Split before the ByteLevel")
    }
    if usesOwnPattern {
      throw expression.error(found: "true, its default, after a Split", expected: "false")
    }
    try steps[0]["type"].require("Split")
    try steps[0]["behavior"].require("Isolated")
    try steps[0]["invert"].requireIfPresent(false)
    let regex = try steps[0]["pattern"]["Regex"]
    let written = try regex.string()
    guard let pattern = SplitPattern.allCases.first(where: { $0.expression == written }) else {
      // Not shortened: readers compare it with the known one.
      throw regex.error(found: written, expected: "Llama 3's, \(SplitPattern.llama3.expression)")
    }
    return pattern
  }

  private static func addedTokens(of file: JSONValue) throws(JSONError) -> [AddedToken] {
    guard let list = try file["added_tokens"].ifPresent else { return [] }
    var added: [AddedToken] = []
    for token in try list.elements() {
      let text = try token["content"]
      let content = try text.string()
      let id = try token["id"]
      try check(content.utf8, text)
      for name in ["lstrip", "rstrip", "single_word"] { try token[name].requireIfPresent(false) }
      added.append(
        AddedToken(
          id: Int32(try id.integer(in: ids)), content: content,
          isSpecial: try token["special"].ifPresent?.bool() ?? false))
    }
    return added
  }

  /// - Throws: `JSONError` about `place` if a token has no bytes or too many.
  private static func check(_ token: some Collection<UInt8>, _ place: JSONValue) throws(JSONError) {
    if let (found, expected) = fault(ofToken: token) { throw place.error(found: found, expected: expected) }
  }

  private static func tokens(of model: JSONValue, except added: AddedTokenFinder) throws(JSONError) -> TokenList {
    if let dropout = try model["dropout"].ifPresent, try dropout.number() != 0 {
      throw dropout.error(expected: "null or 0")
    }
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let value = try model[name].ifPresent, try value.string() != "" { throw value.error(expected: "null") }
    }
    var tokens = TokenList()
    var spelling: [UInt8] = []
    var token: [UInt8] = []
    for (name, value) in try model["vocab"].members() {
      spelling.removeAll(keepingCapacity: true)
      try name.appendString(to: &spelling)
      let id = try value.integer(in: ids)
      if let addedID = added.id(of: spelling) {
        if id != Int(addedID) { throw value.error(expected: "\(addedID), its id in added_tokens") }
        continue
      }
      token.removeAll(keepingCapacity: true)
      guard ByteLevelAlphabet.decode(spelling, 0, spelling.count, into: &token) else {
        throw value.error(
          found: "the id of a token with a character that no byte has",
          expected: "only characters of the byte-level alphabet, except in added tokens")
      }
      try check(token, value)
      if tokens.hasString(at: id) {
        throw value.error(found: "\(id), the id of another token too", expected: "an id of its own")
      }
      tokens.insert(token, at: id)
    }
    return tokens
  }

  private static func merges(of list: JSONValue, _ vocabulary: TokenTable) throws(JSONError) -> [Merge] {
    var merges: [Merge] = []
    var spelling: [UInt8] = []
    var joined: [UInt8] = []
    for element in try list.elements() {
      // Both spellings, "a b" and ["a", "b"], become the first: no token's spelling has a space.
      spelling.removeAll(keepingCapacity: true)
      if element.kind == .array {
        for (position, half) in try element.elements().enumerated() {
          if position > 0 { spelling.append(UInt8(ascii: " ")) }
          try half.appendString(to: &spelling)
        }
      } else {
        try element.appendString(to: &spelling)
      }
      let space = spelling.firstIndex(of: UInt8(ascii: " ")) ?? 0
      guard space > 0, space + 1 < spelling.count, !spelling[(space + 1)...].contains(UInt8(ascii: " ")) else {
        throw element.error(found: quoted(spelling), expected: "two tokens, as \"a b\" or [\"a\", \"b\"]")
      }
      joined.removeAll(keepingCapacity: true)
      let isLeftSpelled = ByteLevelAlphabet.decode(spelling, 0, space, into: &joined)
      let cut = joined.count
      let isRightSpelled = ByteLevelAlphabet.decode(spelling, space + 1, spelling.count, into: &joined)
      let left = isLeftSpelled ? vocabulary.find(joined.span, 0, cut) : -1
      let right = isRightSpelled ? vocabulary.find(joined.span, cut, joined.count) : -1
      if left < 0 || right < 0 {
        let unknown = left < 0 ? spelling[..<space] : spelling[(space + 1)...]
        throw element.error(found: "a merge of \(quoted(unknown))", expected: "merges of tokens in model.vocab")
      }
      let result = vocabulary.find(joined)
      if result < 0 {
        throw element.error(
          found: quoted(spelling), expected: "two tokens whose concatenation is a token in model.vocab")
      }
      merges.append(Merge(left: left, right: right, result: result))
    }
    return merges
  }

  /// The token that a post-processor puts first.
  private static func beginToken(of processor: JSONValue) throws(JSONError) -> Int32? {
    let type = try processor["type"]
    switch try type.string() {
    case "ByteLevel":  // it only trims offsets
      return nil
    case "Sequence":
      var first: Int32?
      // Each step wraps the result of the one before, so the last step that adds a token has it in front.
      for step in try processor["processors"].elements() { first = try beginToken(of: step) ?? first }
      return first
    case "TemplateProcessing":
      var pieces = try processor["single"].elements()
      guard let token = try pieces.next()?["SpecialToken"].ifPresent else { return nil }
      let name = try token["id"].string()
      let list = try processor["special_tokens"][name]["ids"]
      var listed = try list.elements()
      guard let first = listed.next() else {
        throw list.error(found: "an empty array", expected: "the id of \(quoted(name))")
      }
      return Int32(try first.integer(in: ids))
    default:
      throw type.error(expected: "ByteLevel, TemplateProcessing or a Sequence of them")
    }
  }
}

extension JSONValue {
  fileprivate func require(_ text: String) throws(JSONError) {
    if try string() != text { throw error(expected: quoted(text)) }
  }

  fileprivate func requireIfPresent(_ value: Bool) throws(JSONError) {
    if let found = try ifPresent?.bool(), found != value { throw error(expected: "\(value)") }
  }
}

import BitNetJSON

extension Tokenizer {
  /// Reads a Hugging Face tokenizer.json with a model of type BPE: byte-level, if its pre-tokenizer has a ByteLevel,
  /// else of characters, such as those made of SentencePiece models.
  ///
  /// Components and settings that are not supported are refused. `truncation` and `padding` are not applied: they are
  /// about batches, and callers choose them.
  ///
  /// - Throws: `TokenizerError` if the bytes are not such a file; the error names the field, or the line and column of
  ///   broken JSON.
  package convenience init(tokenizerJSON file: [UInt8]) throws(TokenizerError) {
    try Self.checkSize(file.count)
    let reader: HuggingFaceReader = try Self.reading { () throws(JSONError) in
      try HuggingFaceReader(JSONDocument(file, limits: JSONLimits(byteCount: Self.maximumFileSize)).root)
    }
    let merges = try Self.reading { () throws(JSONError) in try reader.tokens() }
    let table = try Self.table(of: merges.tokens, hiding: merges.hidden)
    try self.init(Self.reading { () throws(JSONError) in try reader.definition(merges, table) })
  }

  /// Runs `body`, whose errors become those of a tokenizer.
  private static func reading<Result>(_ body: () throws(JSONError) -> Result) throws(TokenizerError) -> Result {
    do {
      return try body()
    } catch {
      throw TokenizerError(error)
    }
  }
}

/// The parts of a tokenizer.json.
private struct HuggingFaceReader {
  /// A vocabulary of which the merges are still to be read.
  struct Vocabulary {
    var tokens = TokenList()
    /// Tokens that no text becomes.
    var hidden: Set<Int> = []
    var spaced: Set<Int32> = []
    var byteValues: [Int32: UInt8] = [:]
    var unknown: Int32?
  }

  private let model: JSONValue
  private let added: [AddedToken]
  /// The positions in `added` by text.
  private let addedPositions: [[UInt8]: Int]
  private let normalizer: [NormalizerStep]
  private let preTokenizer: [PreTokenizerStep]
  private let decoder: [DecoderStep]?
  private let ends: (begin: Int32?, end: Int32?)
  private let isByteLevel: Bool
  /// The UTF-8 of the character that spaces become.
  private let mark: [UInt8]?
  private let takesWholePieces: Bool
  private let hasByteFallback: Bool
  private let fusesUnknown: Bool
  private let unknownName: JSONValue?

  init(_ file: JSONValue) throws(JSONError) {
    var fields = try file.fields()
    for name in ["version", "truncation", "padding"] { _ = fields[name] }
    model = fields["model"]
    var settings = try model.fields()
    // Before the other parts, whose form depends on the type of the model.
    if let type = settings["type"].ifPresent { try type.require("BPE") }
    if let component = fields["pre_tokenizer"].ifPresent {
      preTokenizer = try HuggingFaceSteps.preTokenizer(of: component)
    } else {
      preTokenizer = []
    }
    isByteLevel = preTokenizer.contains { if case .byteLevel = $0 { true } else { false } }
    if let component = fields["normalizer"].ifPresent {
      normalizer = try HuggingFaceSteps.normalizer(of: component, marksSpaces: !isByteLevel)
    } else {
      normalizer = []
    }
    let decoderComponent = fields["decoder"]
    let steps = try decoderComponent.ifPresent.map(HuggingFaceSteps.decoder) ?? nil
    if isByteLevel == (steps != nil) || (!isByteLevel && decoderComponent.ifPresent == nil) {
      let found = decoderComponent.ifPresent == nil ? "missing" : isByteLevel ? "not ByteLevel" : "ByteLevel"
      throw decoderComponent.error(
        found: found, expected: isByteLevel ? "ByteLevel, as pre_tokenizer has it" : "one of steps, such as Fuse")
    }
    decoder = steps
    added = try Self.addedTokens(of: fields["added_tokens"])
    addedPositions = Dictionary(
      added.enumerated().map { (Array($1.content.utf8), $0) }, uniquingKeysWith: { first, _ in first })
    ends = try fields["post_processor"].ifPresent.map(HuggingFaceSteps.ends) ?? (nil, nil)
    try HuggingFaceSteps.checkAllRead(fields, of: file)

    mark = try Self.mark(normalizer, preTokenizer, file)
    takesWholePieces = try settings["ignore_merges"].ifPresent?.bool() ?? false
    hasByteFallback = try settings["byte_fallback"].ifPresent?.bool() ?? false
    fusesUnknown = try settings["fuse_unk"].ifPresent?.bool() ?? false
    unknownName = settings["unk_token"].ifPresent
    if let dropout = settings["dropout"].ifPresent, try dropout.number() != 0 {
      throw dropout.error(expected: "null or 0")
    }
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let value = settings[name].ifPresent, try value.string() != "" { throw value.error(expected: "null") }
    }
    for name in ["vocab", "merges"] { _ = settings[name] }
    try HuggingFaceSteps.checkAllRead(settings, of: model)
  }

  private static func mark(
    _ normalizer: [NormalizerStep], _ preTokenizer: [PreTokenizerStep], _ file: JSONValue
  ) throws(JSONError) -> [UInt8]? {
    var marks: [Unicode.Scalar] = []
    for case .markSpaces(let mark) in normalizer { marks.append(mark) }
    for case .metaspace(let mark, _, _) in preTokenizer { marks.append(mark) }
    if marks.count == 2, marks[0] != marks[1] {
      throw try file["pre_tokenizer"].error(
        found: "a Metaspace with another character than the normalizer's", expected: "the same")
    }
    return marks.first.map { Array(UTF8.encode($0)!) }
  }

  private static func addedTokens(of list: JSONValue) throws(JSONError) -> [AddedToken] {
    guard let list = list.ifPresent else { return [] }
    var added: [AddedToken] = []
    for token in try list.elements() {
      var fields = try token.fields()
      let text = fields["content"]
      let content = try text.string()
      let id = fields["id"]
      try check(content.utf8, text)
      let isSpecial = try fields["special"].ifPresent?.bool() ?? false
      added.append(
        AddedToken(
          id: Int32(try id.integer(in: Tokenizer.ids)), content: content, isSpecial: isSpecial,
          isNormalized: try fields["normalized"].ifPresent?.bool() ?? !isSpecial,
          stripsLeft: try fields["lstrip"].ifPresent?.bool() ?? false,
          stripsRight: try fields["rstrip"].ifPresent?.bool() ?? false,
          isSingleWord: try fields["single_word"].ifPresent?.bool() ?? false))
      try HuggingFaceSteps.checkAllRead(fields, of: token)
    }
    return added
  }

  /// - Throws: `JSONError` about `place` if a token has no bytes or too many.
  private static func check(_ token: some Collection<UInt8>, _ place: JSONValue) throws(JSONError) {
    if let (found, expected) = Tokenizer.fault(ofToken: token) { throw place.error(found: found, expected: expected) }
  }

  // MARK: - Vocabulary

  /// Appends the bytes that a token's name spells; false if it spells none.
  private func appendBytes(of name: [UInt8], to bytes: inout [UInt8]) -> Bool {
    if isByteLevel { return ByteLevelAlphabet.decode(name, 0, name.count, into: &bytes) }
    if let mark {
      PreTokenizer.append(name.span, 0..<name.count, spacesFor: mark, to: &bytes)
    } else {
      bytes += name
    }
    return true
  }

  func tokens() throws(JSONError) -> Vocabulary {
    var vocabulary = Vocabulary()
    let unknown = try unknownName?.string()
    var name: [UInt8] = []
    var token: [UInt8] = []
    for (key, value) in try model["vocab"].members() {
      name.removeAll(keepingCapacity: true)
      try key.appendString(to: &name)
      let id = try value.integer(in: Tokenizer.ids)
      let addedToken = addedPositions[name].map { added[$0] }
      if let addedToken, id != Int(addedToken.id) {
        throw value.error(expected: "\(addedToken.id), its id in added_tokens")
      }
      token.removeAll(keepingCapacity: true)
      let isSpelled = appendBytes(of: name, to: &token)
      if unknown?.utf8.elementsEqual(name) == true { vocabulary.unknown = Int32(id) }
      // Text never becomes a special token by merging.
      if let addedToken, !isSpelled || (isByteLevel && addedToken.isSpecial) { continue }
      guard isSpelled else {
        throw value.error(
          found: "the id of a token with a character that no byte has",
          expected: "only characters of the byte-level alphabet, except in added tokens")
      }
      try Self.check(token, value)
      if vocabulary.tokens.hasString(at: id) {
        throw value.error(found: "\(id), the id of another token too", expected: "an id of its own")
      }
      vocabulary.tokens.insert(token, at: id)
      if addedToken?.isSpecial == true { vocabulary.hidden.insert(id) }
      if mark != nil, name.contains(UInt8(ascii: " ")) {
        vocabulary.hidden.insert(id)
        vocabulary.spaced.insert(Int32(id))
      }
      if hasByteFallback, !isByteLevel, let byte = DecoderChain.byte(of: name), name[3...4].allSatisfy(isUpperHex) {
        vocabulary.byteValues[Int32(id)] = byte
      }
    }
    if let unknownName, !isByteLevel, vocabulary.unknown == nil {
      throw unknownName.error(expected: "a token in model.vocab")
    }
    return vocabulary
  }

  private func isUpperHex(_ character: UInt8) -> Bool {
    (0x30...0x39).contains(character) || (0x41...0x46).contains(character)
  }

  func definition(_ vocabulary: Vocabulary, _ table: TokenTable) throws(JSONError) -> Tokenizer.Definition {
    var definition = Tokenizer.Definition(vocabulary: table)
    if !isByteLevel {
      var byteTokens = [Int32](repeating: -1, count: 256)
      for (id, byte) in vocabulary.byteValues { byteTokens[Int(byte)] = id }
      definition.characters = InitialTokens.Characters(
        byteTokens: hasByteFallback ? byteTokens : nil, unknownToken: vocabulary.unknown,
        fusesUnknown: fusesUnknown, replacesLate: false)
      definition.byteValues = vocabulary.byteValues
      definition.spacedTokens = vocabulary.spaced
    }
    definition.added = normalizer.isEmpty ? Self.foundAtOnce(added) : added
    definition.mergeOrder = .listed
    definition.listedMerges = try merges(table)
    definition.normalizer = normalizer
    definition.preTokenizer = preTokenizer
    definition.decoder = decoder
    definition.takesWholePieces = takesWholePieces
    definition.beginToken = ends.begin
    definition.endToken = ends.end
    return definition
  }

  /// The same tokens, to be found in one pass where that gives the same tokens as two: without a normalizer, if no
  /// token of one pass overlaps one of the other.
  private static func foundAtOnce(_ tokens: [AddedToken]) -> [AddedToken] {
    let given = tokens.filter { !$0.isNormalized }.map { Array($0.content.utf8) }
    let normalized = tokens.filter(\.isNormalized).map { Array($0.content.utf8) }
    if given.count * normalized.count > 1 << 14 { return tokens }
    func overlap(_ a: [UInt8], _ b: [UInt8]) -> Bool {
      (1 - b.count..<a.count).contains { offset in
        (max(0, offset)..<min(a.count, offset + b.count)).allSatisfy { a[$0] == b[$0 - offset] }
      }
    }
    if given.contains(where: { token in normalized.contains { overlap(token, $0) } }) { return tokens }
    return tokens.map { token in
      var token = token
      token.isNormalized = false
      return token
    }
  }

  // MARK: - Merges

  /// The names of the two tokens of a merge: "a b" or ["a", "b"].
  private func halves(of element: JSONValue, _ left: inout [UInt8], _ right: inout [UInt8]) throws(JSONError) {
    let expected = "two tokens, as \"a b\" or [\"a\", \"b\"]"
    left.removeAll(keepingCapacity: true)
    right.removeAll(keepingCapacity: true)
    if element.kind == .array {
      var count = 0
      for half in try element.elements() {
        count += 1
        if count == 1 { try half.appendString(to: &left) }
        if count == 2 { try half.appendString(to: &right) }
        if count > 2 { _ = try half.string() }
      }
      if count != 2 { throw element.error(found: "an array of \(count)", expected: expected) }
    } else {
      try element.appendString(to: &left)
      let space = left.firstIndex(of: UInt8(ascii: " ")) ?? 0
      guard space > 0, space + 1 < left.count, !left[(space + 1)...].contains(UInt8(ascii: " ")) else {
        throw element.error(found: quoted(left), expected: expected)
      }
      right += left[(space + 1)...]
      left.removeSubrange(space...)
    }
  }

  private func merges(_ vocabulary: TokenTable) throws(JSONError) -> [Merge] {
    var merges: [Merge] = []
    var left: [UInt8] = []
    var right: [UInt8] = []
    var joined: [UInt8] = []
    for element in try model["merges"].elements() {
      try halves(of: element, &left, &right)
      joined.removeAll(keepingCapacity: true)
      let isLeftSpelled = appendBytes(of: left, to: &joined)
      let cut = joined.count
      let isRightSpelled = appendBytes(of: right, to: &joined)
      let leftID = isLeftSpelled && cut > 0 ? vocabulary.find(joined.span, 0, cut) : -1
      let rightID = isRightSpelled && cut < joined.count ? vocabulary.find(joined.span, cut, joined.count) : -1
      if leftID < 0 || rightID < 0 {
        let unknown = leftID < 0 ? left : right
        throw element.error(found: "a merge of \(quoted(unknown))", expected: "merges of tokens in model.vocab")
      }
      let result = vocabulary.find(joined)
      if result < 0 {
        throw element.error(
          found: quoted(left + [UInt8(ascii: " ")] + right),
          expected: "two tokens whose concatenation is a token in model.vocab")
      }
      merges.append(Merge(left: leftID, right: rightID, result: result))
    }
    return merges
  }
}

extension JSONValue {
  fileprivate func require(_ text: String) throws(JSONError) {
    if try string() != text { throw error(expected: quoted(text)) }
  }
}

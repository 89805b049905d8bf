import BitNetJSON

extension Tokenizer {
  /// The special tokens of Llama 3 in the order of their ids, which follow those of its 128,000 other tokens.
  static let llama3SpecialTokens: [String] = {
    func reserved(_ numbers: Range<Int>) -> [String] { numbers.map { "<|reserved_special_token_\($0)|>" } }
    return ["<|begin_of_text|>", "<|end_of_text|>"] + reserved(0..<4) + ["<|start_header_id|>", "<|end_header_id|>"]
      + reserved(4..<5) + ["<|eot_id|>"] + reserved(5..<251)
  }()

  /// The number of tokens in Llama 3's rank file.
  static let llama3RankCount = 128_000

  /// Reads a tiktoken rank file, such as Llama 3's tokenizer.model: each line has a token in base64, a space and the
  /// token's rank, which is its id.
  ///
  /// A rank file names neither a split pattern nor special tokens. The pattern is assumed to be Llama 3's. A file of
  /// 128,000 tokens also gets Llama 3's 256 special tokens and its begin token; any other file gets none.
  ///
  /// - Throws: `TokenizerError` if the bytes are not such a file, if a token or id occurs twice, or if one of the 256
  ///   single bytes is missing.
  package convenience init(tiktoken file: [UInt8]) throws(TokenizerError) {
    try Self.checkSize(file.count)
    var tokens = TokenList()
    let text = file.span
    var token: [UInt8] = []
    var lineNumber = 0
    var at = 0
    while at < text.count {
      lineNumber += 1
      let start = at
      var space = -1
      while at < text.count && text[at] != UInt8(ascii: "\n") {
        if space < 0 && text[at] == UInt8(ascii: " ") { space = at }
        at += 1
      }
      let end = at > start && text[at - 1] == UInt8(ascii: "\r") ? at - 1 : at
      at += 1
      if end == start { continue }
      token.removeAll(keepingCapacity: true)
      guard space > start, Base64.decode(text, start, space, into: &token), let id = decimal(text, space + 1, end)
      else {
        throw TokenizerError(
          subject: "line \(lineNumber)", found: quoted(copy(text, start, min(end, start + 100))),
          expected: "a token in base64, a space and its rank")
      }
      if let (found, expected) = Self.fault(ofToken: token) {
        throw TokenizerError(subject: "the token in line \(lineNumber)", found: found, expected: expected)
      }
      if id >= Self.maximumVocabularySize || tokens.hasString(at: id) {
        throw TokenizerError(
          subject: "the rank in line \(lineNumber)",
          found: id >= Self.maximumVocabularySize ? "\(id)" : "\(id), as in an earlier line",
          expected: "a number from 0 to \(Self.ids.upperBound), each once")
      }
      tokens.insert(token, at: id)
    }
    var definition = Definition(vocabulary: try Self.table(of: tokens))
    if tokens.count == Self.llama3RankCount && tokens.indexEnd == Self.llama3RankCount {
      definition.added = Self.llama3SpecialTokens.enumerated().map { offset, content in
        AddedToken(id: Int32(Self.llama3RankCount + offset), content: content, isSpecial: true)
      }
      definition.beginToken = definition.added[0].id
    }
    try self.init(definition)
  }
}

import BitNetJSON

extension Tokenizer {
  private static let header = "swift-bitnet tokenizer "

  /// The tokenizer as a compact text that loads fast, for converted model files. ``init(serialized:)`` reads it.
  ///
  /// The text is ASCII; newlines are its only characters that JSON escapes in a string. Each line is a keyword and its
  /// values, separated by single spaces. Texts and bytes are in base64.
  ///
  ///     swift-bitnet tokenizer 1
  ///     split llama3                    the split pattern: llama3 or gpt2
  ///     whole-pieces true               whether a piece that is a token becomes that token without merging
  ///     bos 128000                      the begin token; absent if there is none
  ///     tokens IQ== Ig== @7 Iw== …      each token's bytes, ids counting up from 0; @7: the next id is 7
  ///     merges by-id                    or by-id-then-left: all splits of tokens into two, by ascending id of the
  ///                                     whole and then, in a text, leftmost first, or else by the left half's id
  ///     special 128000 PHxiZWd…         a special token: its id, its text
  ///     added 128256 PHRoaW5…           an added token that is not special
  ///
  /// Merges that follow neither rule are listed: `merges listed 64 71 220 83 …`, the ids of the left and the right
  /// token of each merge, in order.
  ///
  /// What this cannot say makes the text's version 2, in which any of these lines may replace the one of `split`:
  ///
  ///     normalize nfc                   or prepend TEXT, replace literal TEXT TEXT, replace expression TEXT TEXT, mark
  ///                                     TEXT, prepend-space, collapse-spaces; one line for each step, in order
  ///     pre split literal TEXT Isolated false        the pattern, the behavior, whether it is inverted
  ///     pre digits true                 or punctuation BEHAVIOR, bytes ADDS-SPACE USES-PATTERN, metaspace TEXT
  ///                                     PREFIX SPLITS
  ///     decode replace TEXT TEXT        or byte-fallback KEEPS, fuse, strip TEXT START STOP, metaspace TEXT DROPS,
  ///                                     drop TEXT
  ///     characters true false           a vocabulary of characters: whether unknown ones are fused, and whether they
  ///                                     are replaced late
  ///     bytes 3 4 5 …                   the 256 byte tokens, - for one that is missing
  ///     unknown 0                       the token of unknown characters
  ///     eos 2                           the token that follows a text
  ///     hidden 17 18 …                  tokens that no text becomes
  ///     spaced 17 …                     those of them whose spaces are no marks
  ///     merges ranked 0 0 1 …           the rank of each id
  ///     special 5 PGE+ lstrip …         an added token with lstrip, rstrip, normalized or single_word
  package func serialized() -> String {
    var writer = SerializedWriter()
    let isFirstVersion = firstVersionSplit != nil
    writer.line(Self.header + (isFirstVersion ? "1" : "2"))
    if let split = firstVersionSplit { writer.line("split", split.rawValue) } else { writer.steps(of: self) }
    writer.line("whole-pieces", "\(takesWholePieces)")
    if let beginToken { writer.line("bos", "\(beginToken)") }
    if !isFirstVersion { writer.characters(of: self) }
    writer.tokens(of: self)
    writer.merges(of: self)
    for token in added { writer.added(token) }
    return String(decoding: writer.text, as: UTF8.self)
  }

  /// The split pattern, if version 1 of the text can say all that there is to say.
  private var firstVersionSplit: SplitPattern? {
    guard case .bytes = initialTokens, normalizerSteps.isEmpty, endToken == nil, hiddenTokens.isEmpty,
      added.allSatisfy(\.isPlain)
    else { return nil }
    return [SplitPattern.llama3, .gpt2].first { PreTokenizerStep.splitting(by: $0) == preTokenizerSteps }
  }

  /// Whether some bytes have no token, so that what is left and right of them merges, which only a list of merges says.
  var dropsBytes: Bool {
    if case .bytes(let tokens) = initialTokens { tokens.contains { $0 < 0 } } else { false }
  }

  /// The tokens that the vocabulary does not find, but for special tokens.
  var hiddenTokens: [Int] {
    (0..<vocabulary.list.indexEnd).filter {
      vocabulary.list.hasString(at: $0) && !isSpecial(Int32($0))
        && vocabulary.find(Array(vocabulary.list[$0])) != Int32($0)
    }
  }

  /// Whether a file's content begins like the text of ``serialized()``.
  static func isSerialized(_ file: [UInt8]) -> Bool {
    file.starts(with: (header + "1\n").utf8) || file.starts(with: (header + "2\n").utf8)
  }

  /// Reads the text that ``serialized()`` returns.
  ///
  /// - Throws: `TokenizerError` naming the first line that does not have its form.
  package convenience init(serialized text: String) throws(TokenizerError) {
    let text = Array(text.utf8)
    try Self.checkSize(text.count)
    try self.init(Self.parse(text))
  }

  private static func parse(_ text: [UInt8]) throws(TokenizerError) -> Definition {
    var lines = SerializedReader(text)
    guard lines.nextLine(), [header + "1", header + "2"].contains(lines.restOfLine()) else {
      throw TokenizerError(subject: "line 1", found: quoted(text.prefix(40)), expected: quoted(header + "1"))
    }
    var parts = SerializedParts(isFirstVersion: lines.restOfLine() == header + "1")
    while lines.nextLine() { try parts.read(&lines) }
    return try parts.definition()
  }
}

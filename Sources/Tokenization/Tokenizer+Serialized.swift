import BitNetJSON

extension Tokenizer {
  private static let header = "swift-bitnet tokenizer 1"

  /// The tokenizer as a compact text that loads fast, for converted model files. ``init(serialized:)`` reads it.
  ///
  /// The text is ASCII; newlines are its only characters that JSON escapes in a string. Each line is a keyword and its
  /// values, separated by single spaces:
  ///
  ///     swift-bitnet tokenizer 1
  ///     split llama3                    the split pattern: llama3 or gpt2
  ///     whole-pieces true               whether a piece that is a token becomes that token without merging
  ///     bos 128000                      the begin token; absent if there is none
  ///     tokens IQ== Ig== @7 Iw== …      each token's bytes in base64, ids counting up from 0; @7: the next id is 7
  ///     merges by-id                    or by-id-then-left: all splits of tokens into two, by ascending id of the
  ///                                     whole and then, in a text, leftmost first, or else by the left half's id
  ///     special 128000 PHxiZWd…         a special token: its id, its text in base64
  ///     added 128256 PHRoaW5…           an added token that is not special
  ///
  /// Merges that follow neither rule are listed: `merges listed 64 71 220 83 …`, the ids of the left and the right
  /// token of each merge, in order.
  package func serialized() -> String {
    var text: [UInt8] = []
    text.reserveCapacity(vocabulary.list.bytes.count * 2)
    func append(_ string: String) { text.append(contentsOf: string.utf8) }
    append("\(Self.header)\nsplit \(split.rawValue)\nwhole-pieces \(takesWholePieces)\n")
    if let beginToken { append("bos \(beginToken)\n") }
    append("tokens")
    var expectedID = 0
    for id in 0..<vocabulary.list.indexEnd where vocabulary.list.hasString(at: id) {
      append(id == expectedID ? " " : " @\(id) ")
      Base64.encode(vocabulary.list[id], into: &text)
      expectedID = id + 1
    }
    append("\nmerges ")
    switch mergeRule {
    case .vocabulary(_, let thenByLeft):
      append((thenByLeft ? MergeOrder.byIDThenLeft : .byID).rawValue)
    case .list(let table):
      let merges = table.merges
      if merges == MergeRule.splits(of: vocabulary) {
        append(MergeOrder.byIDThenLeft.rawValue)
      } else {
        append(MergeOrder.listed.rawValue)
        for merge in merges { append(" \(merge.left) \(merge.right)") }
      }
    }
    append("\n")
    for token in added {
      append("\(token.isSpecial ? "special" : "added") \(token.id) ")
      Base64.encode(Array(token.content.utf8)[...], into: &text)
      append("\n")
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// Whether a file's content begins like the text of ``serialized()``.
  static func isSerialized(_ file: [UInt8]) -> Bool { file.starts(with: "\(header)\n".utf8) }

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
    guard lines.nextLine(), lines.restOfLine() == header else {
      throw TokenizerError(subject: "line 1", found: quoted(text.prefix(40)), expected: quoted(header))
    }
    var split: SplitPattern?
    var takesWholePieces: Bool?
    var beginToken: Int32?
    var tokens = TokenList()
    var mergeOrder: MergeOrder?
    var listedMerges: SerializedReader?
    var added: [AddedToken] = []
    var seen: Set<String> = []
    while lines.nextLine() {
      let keyword = lines.word()
      if keyword != "special" && keyword != "added" && !seen.insert(keyword).inserted {
        throw lines.error(
          "the keyword", found: "\(quoted(keyword)), for the second time", expected: "each keyword once")
      }
      switch keyword {
      case "split":
        split = try lines.choice(among: "llama3 or gpt2", SplitPattern.init(rawValue:))
      case "whole-pieces":
        takesWholePieces = try lines.choice(among: "true or false", Bool.init)
      case "bos":
        beginToken = try lines.id()
      case "tokens":
        tokens = try lines.tokens()
      case "merges":
        mergeOrder = try lines.choice(among: "by-id, by-id-then-left or listed", MergeOrder.init(rawValue:))
        if mergeOrder == .listed {
          listedMerges = lines
          continue  // the list can only be read when all tokens are known
        }
      case "special", "added":
        let id = try lines.id()
        let content = String(decoding: try lines.base64(), as: UTF8.self)
        added.append(AddedToken(id: id, content: content, isSpecial: keyword == "special"))
      default:
        throw lines.error("the keyword", found: quoted(keyword), expected: "one that this version knows")
      }
      try lines.checkEndOfLine()
    }
    guard let split, let takesWholePieces, let mergeOrder, tokens.count > 0 else {
      throw TokenizerError(
        subject: "the serialized tokenizer",
        found: "incomplete, with the lines \(seen.sorted().joined(separator: ", "))",
        expected: "at least split, whole-pieces, tokens and merges")
    }
    var definition = Definition(vocabulary: try table(of: tokens))
    definition.split = split
    definition.takesWholePieces = takesWholePieces
    definition.beginToken = beginToken
    definition.added = added
    definition.mergeOrder = mergeOrder
    definition.listedMerges = try listedMerges?.merges(of: definition.vocabulary) ?? []
    return definition
  }
}

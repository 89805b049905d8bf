package import BitNetInference
package import BitNetModelFiles
package import BitNetTokenization

extension GGUFVocabulary {
  /// The vocabulary in a GGUF file's metadata.
  ///
  /// - Throws: `ModelFileError` for a key of another type. The vocabulary's contents are not checked.
  package init(_ metadata: GGUFMetadata) throws(ModelFileError) {
    func key(_ name: String) -> String { "tokenizer.ggml.\(name)" }
    self.init(
      model: try metadata.string(key("model")) ?? "", tokens: try metadata.byteStrings(key("tokens")) ?? [])
    pre = try metadata.string(key("pre"))
    scores = try metadata.numbers(key("scores"))?.map { Float($0) } ?? []
    types = try metadata.integers(key("token_type"))?.map { Int32(clamping: $0) } ?? []
    merges = try metadata.byteStrings(key("merges")) ?? []
    beginToken = try metadata.integer(key("bos_token_id"))
    endToken = try metadata.integer(key("eos_token_id"))
    unknownToken = try metadata.integer(key("unknown_token_id"))
    addsBeginToken = try metadata.bool(key("add_bos_token"))
    addsEndToken = try metadata.bool(key("add_eos_token"))
    addsSpacePrefix = try metadata.bool(key("add_space_prefix"))
    removesExtraSpaces = try metadata.bool(key("remove_extra_whitespaces"))
    charsMap = try metadata.integers(key("precompiled_charsmap"))?.map { UInt8(truncatingIfNeeded: $0) } ?? []
  }
}

extension GGUFTokenizer {
  /// A model's tokenizer for other programs. A token that the tokenizer adds has the key of its purpose; one that only
  /// the model names has it where the tokenizer adds none.
  ///
  /// - Throws: `TokenizerError` when a token's id is beyond the model's vocabulary.
  package init(_ tokenizer: Tokenizer, of model: ModelConfiguration) throws(TokenizerError) {
    let export = try tokenizer.ggufExport(size: model.vocabularySize)
    guard var vocabulary = export.vocabulary else {
      self.init(keys: [], notes: export.notes)
      return
    }
    vocabulary.beginToken = vocabulary.beginToken ?? model.beginToken.map(Int.init)
    var endTokens = model.endTokens.map(Int.init)
    if let added = vocabulary.endToken { endTokens = [added] + endTokens.filter { $0 != added } }
    vocabulary.endToken = endTokens.first
    self.init(keys: vocabulary.keys(furtherEndTokens: endTokens.dropFirst()), notes: export.notes)
  }
}

extension GGUFVocabulary {
  /// The keys as they are written.
  ///
  /// - Parameter furtherEndTokens: tokens besides ``endToken`` that end a text, of which two have keys.
  fileprivate func keys(furtherEndTokens: some Sequence<Int>) -> [(name: String, value: GGUFTokenizer.Value)] {
    var keys: [(name: String, value: GGUFTokenizer.Value?)] = [
      ("model", .text(model)), ("pre", pre.map { .text($0) }), ("tokens", .texts(tokens)),
      ("scores", scores.isEmpty ? nil : .numbers(scores)), ("token_type", .integers(types)),
      ("merges", merges.isEmpty ? nil : .texts(merges)), ("bos_token_id", beginToken.map { .integer($0) }),
      ("eos_token_id", endToken.map { .integer($0) }),
    ]
    for (name, token) in zip(["eot_token_id", "eom_token_id"], furtherEndTokens) {
      keys.append((name, .integer(token)))
    }
    keys += [
      ("unknown_token_id", unknownToken.map { .integer($0) }), ("add_bos_token", addsBeginToken.map { .flag($0) }),
      ("add_eos_token", addsEndToken.map { .flag($0) }), ("add_space_prefix", addsSpacePrefix.map { .flag($0) }),
      ("remove_extra_whitespaces", removesExtraSpaces.map { .flag($0) }),
    ]
    return keys.compactMap { key in key.value.map { ("tokenizer.ggml.\(key.name)", $0) } }
  }
}

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

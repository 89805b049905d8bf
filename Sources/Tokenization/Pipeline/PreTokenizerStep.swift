/// A step that splits text into pieces before any merging, as a tokenizer.json describes it.
enum PreTokenizerStep: Equatable, Sendable {
  /// - isInverted: matches are the text between pieces, and the other way round.
  case split(Pattern, SplitBehavior, isInverted: Bool)
  /// Splits off runs of digits, or each digit by itself.
  case digits(isIndividual: Bool)
  case punctuation(SplitBehavior)
  /// From here on, the text's bytes are characters of the byte-level alphabet.
  ///
  /// - addsSpace: before the text, unless it begins with one.
  /// - usesPattern: whether GPT-2's pattern splits the text first.
  case byteLevel(addsSpace: Bool, usesPattern: Bool)
  /// From here on, a space is the scalar `mark`.
  ///
  /// - splits: whether a piece ends before each mark.
  case metaspace(mark: Unicode.Scalar, MetaspacePrefix, splits: Bool)
}

/// When Metaspace puts a space before a text that does not begin with one.
enum MetaspacePrefix: String, Sendable, CaseIterable {
  /// Before each stretch of text between added tokens.
  case always
  /// Only at the start of the whole text.
  case first
  case never
}

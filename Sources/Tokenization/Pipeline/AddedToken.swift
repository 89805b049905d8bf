/// A token whose text is recognised as a whole, before the text around it is split and merged.
struct AddedToken: Equatable, Sendable {
  var id: Int32
  var content: String
  /// Special tokens control a model: they are recognised only on request, and decoding can leave them out. Other
  /// added tokens are always recognised.
  var isSpecial: Bool
  /// Whether the token is looked for in the normalized text instead of the text as it was given.
  var isNormalized = false
  /// Whether white space before the token is part of it.
  var stripsLeft = false
  /// Whether white space after the token is part of it.
  var stripsRight = false
  /// Whether the token is recognised only where no letter, digit or underscore touches it.
  var isSingleWord = false

  /// Whether the token has no property that the first version of serialized tokenizers lacks.
  var isPlain: Bool { !isNormalized && !stripsLeft && !stripsRight && !isSingleWord }
}

/// What a Split or Replace step looks for.
enum Pattern: Hashable, Sendable {
  /// A text, byte for byte.
  case literal(String)
  /// A regular expression.
  case expression(String)
}

/// The pieces that a step makes of matches and of the text between them.
enum SplitBehavior: String, Sendable, CaseIterable {
  /// A match is a piece.
  case isolated = "Isolated"
  /// A match is dropped.
  case removed = "Removed"
  /// Matches without text between them are one piece.
  case contiguous = "Contiguous"
  /// A match belongs to the text before it.
  case mergedWithPrevious = "MergedWithPrevious"
  /// A match belongs to the text after it.
  case mergedWithNext = "MergedWithNext"
}

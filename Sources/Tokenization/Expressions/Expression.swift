/// A regular expression of a tokenizer file, parsed.
///
/// It has the part of Oniguruma's syntax that split patterns use: alternatives, groups, `(?i:…)`, look-ahead, classes
/// with `\p{…}`, and greedy, lazy and possessive repetition. Everything else is refused by name.
indirect enum Expression: Equatable, Sendable {
  case empty
  case set(ScalarRanges)
  case sequence([Expression])
  case alternatives([Expression])
  case repetition(Expression, Repetition)
  /// The rest of the text must match, or must not if `isNegated`; the match does not include it.
  case lookAhead(Expression, isNegated: Bool)
  /// Matches as it does first, without other attempts.
  case atomic(Expression)

  struct Repetition: Equatable, Sendable {
    enum Kind: Sendable {
      case greedy, lazy, possessive
    }

    var minimum: Int
    /// Nil if there is no limit.
    var maximum: Int?
    var kind: Kind
  }

  /// Whether the expression can match without consuming anything.
  var canBeEmpty: Bool {
    switch self {
    case .empty, .lookAhead: true
    case .set: false
    case .sequence(let parts): parts.allSatisfy(\.canBeEmpty)
    case .alternatives(let parts): parts.contains(where: \.canBeEmpty)
    case .repetition(let part, let repetition): repetition.minimum == 0 || part.canBeEmpty
    case .atomic(let part): part.canBeEmpty
    }
  }

  /// The scalars with which a match that is not empty can begin.
  var firstScalars: ScalarRanges {
    switch self {
    case .empty, .lookAhead: return ScalarRanges()
    case .set(let ranges): return ranges
    case .alternatives(let parts): return parts.reduce(ScalarRanges()) { $0.union($1.firstScalars) }
    case .repetition(let part, _), .atomic(let part): return part.firstScalars
    case .sequence(let parts):
      var first = ScalarRanges()
      for part in parts {
        first = first.union(part.firstScalars)
        if !part.canBeEmpty { break }
      }
      return first
    }
  }
}

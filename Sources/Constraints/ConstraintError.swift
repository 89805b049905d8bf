/// A schema that cannot become a constraint, in one sentence.
package struct ConstraintError: Error, Equatable, CustomStringConvertible {
  /// The place in the schema, such as `properties.age.minimum`.
  package let subject: String
  /// Follows "is".
  package let found: String
  package let expected: String

  package init(subject: String, found: String, expected: String) {
    (self.subject, self.found, self.expected) = (subject, found, expected)
  }

  package var description: String { "\(subject) is \(found); expected \(expected)" }
}

/// Limits that keep a hostile schema from taking noticeable time or memory.
enum SchemaLimits {
  /// Bytes of a schema's text.
  static let byteCount = 256 << 10
  /// How deep a schema's arrays and objects may nest.
  static let depth = 64
  /// References and combinations on the way to one schema's keywords.
  static let indirection = 64
  /// Alternatives of one schema, after all anyOf, oneOf and lists of types.
  static let alternatives = 256
  /// Combinations of subschemas that one value must satisfy.
  static let goals = 4096
  /// Properties of all objects together.
  static let properties = 20_000
  /// Different patterns and formats: a mask may need a walk through all tokens for each.
  static let patterns = 64
  /// States of an automaton.
  static let states = 20_000
  /// Steps of the work on one automaton.
  static let work = 2_000_000
  /// Comparisons of the names of properties where keywords are merged.
  static let comparisons = 300_000
  /// How often a recursive schema may contain itself, beyond what its required parts need.
  static let recursion = 12
}

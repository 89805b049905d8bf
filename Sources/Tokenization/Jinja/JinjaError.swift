/// Why a chat template does not parse or render.
package struct JinjaError: Error, Equatable, CustomStringConvertible {
  package enum Kind: Sendable {
    /// The template is not Jinja.
    case syntax
    /// The template asks for something that its values do not allow.
    case runtime
    /// The template takes more steps, memory or depth than any chat needs.
    case limit
    /// The template called `raise_exception`.
    case raised
  }

  package let kind: Kind
  /// The line of the template, from 1 on.
  package let line: Int
  /// The finding and the expectation, or for ``Kind/raised`` the template's own words.
  package let message: String

  init(_ kind: Kind, line: Int, _ message: String) {
    self.kind = kind
    self.line = line
    self.message = message
  }

  package var description: String {
    kind == .raised
      ? "the chat template refuses the chat at line \(line): \(message)"
      : "the chat template at line \(line) fails: \(message)"
  }
}

/// The bounds of one rendering.
///
/// A template comes with a model and is as trustworthy as its author; no template may hang or exhaust the program. The
/// bounds grow with the values that are given, so that a long chat does not meet them.
package struct JinjaLimits: Sendable {
  /// Steps: evaluated nodes, iterations, and one for every 8 characters that are copied or compared, or for each one
  /// whose properties are looked up.
  package var steps = 200_000
  /// Further steps for each character of the variables.
  package var stepsPerCharacter = 8
  /// Further steps for each value of the variables.
  package var stepsPerValue = 500
  /// Further steps for each pair of values: some templates look through all messages for every message.
  package var stepsPerPair = 4
  /// The largest number of steps, whatever the variables.
  package var largestSteps = 20_000_000
  /// The longest text, and the longest rendering, in characters.
  package var characters = 1 << 18
  /// Further characters for each character of the variables.
  package var charactersPerCharacter = 4
  /// The characters of all texts that are made, which bounds memory: each takes four bytes while its text is in use.
  package var allCharacters = 1 << 26
  /// How deep macros, loops and expressions may nest while they run.
  package var depth = 1_000
  /// How deep lists and dictionaries may nest.
  package var nesting = 100
  /// The longest `range`, as in Jinja's sandbox.
  package var range = 100_000

  package init() {}
}

package import BitNetConstraints

/// The form of a generated text. Whatever the model, a text that ends by itself has the form; one that is cut by the
/// maximum number of tokens begins like one that has it.
public struct ResponseFormat: Sendable, Equatable {
  /// Nil for any text.
  package let constraint: TextConstraint?

  package init(_ constraint: TextConstraint?) { self.constraint = constraint }

  /// Any text.
  public static let text = ResponseFormat(nil)
  /// A JSON object.
  public static let json = ResponseFormat(.jsonObject)

  /// A JSON value that satisfies a schema.
  ///
  /// - Parameter schema: a JSON schema, as JSON text. Documentation/constraints.md lists the keywords.
  /// - Throws: ``BitNetError/Code/invalidArgument`` for a text that is no schema, for a keyword that is not supported,
  ///   naming it, and for a schema that no value satisfies.
  public static func jsonSchema(_ schema: String) throws(BitNetError) -> ResponseFormat {
    let constraint = TextConstraint(schema: Array(schema.utf8))
    try withPublicErrors { try constraint.check() }
    return ResponseFormat(constraint)
  }
}

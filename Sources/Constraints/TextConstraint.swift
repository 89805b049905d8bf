/// What a text must look like: fixed parts, and values of JSON schemas.
package struct TextConstraint: Sendable, Hashable {
  package enum Part: Sendable, Hashable {
    case text(String)
    /// A value that satisfies a JSON schema, given as JSON.
    case json(schema: [UInt8])
  }

  /// The text consists of the parts of one alternative.
  package var alternatives: [[Part]]

  package init(alternatives: [[Part]]) { self.alternatives = alternatives }

  package init(schema: [UInt8]) { alternatives = [[.json(schema: schema)]] }

  /// Any JSON object.
  package static let jsonObject = TextConstraint(schema: Array(#"{"type":"object"}"#.utf8))

  /// - Throws: what `ConstraintMachine` throws for the constraint.
  package func check() throws(ConstraintError) { _ = try program() }

  /// - Throws: `ConstraintError` for a schema that is not JSON, that no value satisfies, or with keywords that are not
  ///   supported.
  func program() throws(ConstraintError) -> (SchemaProgram, roots: [[Int32?]]) {
    var tree = SchemaTree()
    var roots: [[Int32?]] = []
    for alternative in alternatives {
      var numbers: [Int32?] = []
      for part in alternative {
        guard case .json(let schema) = part else {
          numbers.append(nil)
          continue
        }
        numbers.append(try tree.add(schema))
      }
      roots.append(numbers)
    }
    return (try SchemaProgram(tree, roots: roots.joined().compactMap { $0 }), roots)
  }
}

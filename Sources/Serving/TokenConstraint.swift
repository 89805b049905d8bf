package import BitNetInference

/// Restricts which tokens a generation may consist of, depending on the tokens before.
package protocol TokenConstraint: Sendable {
  /// The state of a new generation.
  ///
  /// - Parameter ends: the tokens that end the generation, which are allowed exactly where it may end.
  func begin(ends: Set<Int32>) -> any TokenConstraintState
}

/// How far one generation has come.
package protocol TokenConstraintState {
  /// The tokens that may be next. A mask that allows none ends the generation with an error.
  var mask: TokenMask { get }
  /// Goes on by a token that `mask` allowed.
  mutating func append(_ token: Int32)
}

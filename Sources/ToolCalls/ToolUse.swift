package import BitNetConstraints

/// A function that a model may call.
package struct ToolFunction: Sendable, Equatable {
  package var name: String
  /// The JSON schema of the arguments, which are an object.
  package var parameters: [UInt8]

  package init(name: String, parameters: [UInt8]) { (self.name, self.parameters) = (name, parameters) }
}

/// Whether and what a model must call.
package enum ToolChoice: Sendable, Equatable {
  case none, auto, required
  case named(String)
}

/// What a request's functions mean for its answer.
package struct ToolUse: Sendable {
  package let style: ToolCallStyle
  /// The form that the answer must have; nil where the model decides.
  package let constraint: TextConstraint?
  /// Whether the answer is a call in any case.
  package let isForced: Bool
  /// Whether the answer ends with its first call.
  package let isSingle: Bool
  private let names: Set<String>

  /// - Parameters:
  ///   - functions: those that may be called.
  ///   - shown: the style of the model's chat template; nil if it has none.
  ///   - isParallel: whether an answer may have several calls.
  ///   - format: the form of an answer without calls; nil for any text.
  /// - Returns: nil where no call is possible: for the choice `none`, without functions, and for a name that none of
  ///   them has.
  package init?(
    _ functions: [ToolFunction], choice: ToolChoice, shown: ToolCallStyle?, isParallel: Bool = true,
    format: TextConstraint? = nil
  ) {
    style = shown ?? .object
    var callable = functions
    switch choice {
    case .none: return nil
    case .auto:
      isForced = false
      // With a format, the answer is one call or a text of that form.
      constraint = format.map {
        TextConstraint(alternatives: (shown ?? .object).constraint(calling: functions).alternatives + $0.alternatives)
      }
    case .required:
      isForced = true
      constraint = style.constraint(calling: functions)
    case .named(let name):
      isForced = true
      callable = functions.filter { $0.name == name }
      constraint = style.constraint(calling: callable)
    }
    guard !callable.isEmpty else { return nil }
    names = Set(callable.map(\.name))
    isSingle = isForced || !isParallel
  }

  /// Reads the calls in an answer.
  package var parser: ToolCallParser { ToolCallParser(style, functions: names) }
}

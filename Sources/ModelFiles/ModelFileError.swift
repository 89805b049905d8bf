import BitNetInference
import BitNetTernary

/// What is wrong with a model's files, as one sentence: the file, the field or tensor, what was found and what was
/// expected.
package struct ModelFileError: Error, Equatable, CustomStringConvertible {
  package enum Kind: Sendable, Equatable {
    /// The operating system refused: the file is missing, not readable, not a regular file, the disk is full.
    case system
    /// The file is not what its format says: a broken header, a truncated file, JSON that does not parse.
    case malformed
    /// A field of the configuration is missing or out of range.
    case configuration
    /// A tensor is missing, has another type or shape than the configuration asks for, or holds values that cannot be
    /// used.
    case tensor
    /// The file is sound, but of a kind that this library does not read.
    case unsupported
  }

  package let kind: Kind
  /// The file's path as it was given, or a name for bytes in memory.
  package let file: String
  /// The field or tensor at fault, or "the file".
  package let subject: String
  /// What was found, as the predicate of a sentence about the subject: "has shape [3, 4]".
  package let finding: String
  package let expected: String?

  package init(_ kind: Kind, file: String, subject: String = "the file", finding: String, expected: String? = nil) {
    self.kind = kind
    self.file = file
    self.subject = subject
    self.finding = finding
    self.expected = expected
  }

  package var description: String { "\(file): \(subject) \(finding)" + (expected.map { "; expected \($0)" } ?? "") }
}

extension ModelFileError {
  init(tensor: String, file: String, finding: String, expected: String? = nil) {
    self.init(.tensor, file: file, subject: "tensor \(tensor)", finding: finding, expected: expected)
  }

  init(_ error: ConfigurationError, file: String) {
    self.init(.configuration, file: file, subject: error.field, finding: "is \(error.found)", expected: error.expected)
  }

  /// A check of the weights as a whole that failed after each tensor had passed its own.
  init(weights error: any Error, file: String) {
    switch error {
    case let error as ModelFileError: self = error
    case let error as ConfigurationError: self.init(error, file: file)
    case let error as ModelWeightsError:
      self.init(.tensor, file: file, subject: error.tensor, finding: "has \(error.found)", expected: error.expected)
    default: self.init(.tensor, file: file, subject: "a weight", finding: "cannot be used: \(error)")
    }
  }
}

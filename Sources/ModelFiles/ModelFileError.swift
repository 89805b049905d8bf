import BitNetInference
import BitNetTernary

/// A fault in a model's files, as one sentence: the file, the field or tensor, the finding and the expectation.
package struct ModelFileError: Error, Equatable, CustomStringConvertible {
  package enum Kind: Sendable, Equatable {
    /// The operating system refused: for instance, the file is missing or not readable, or the disk is full.
    case system
    /// The file does not follow its format: a broken header, a truncated file, malformed JSON.
    case malformed
    /// A field of the configuration is missing or out of range.
    case configuration
    /// A tensor is missing, has another type or shape than the configuration says, or has unusable values.
    case tensor
    /// The file is valid, but of a kind that this library does not support.
    case unsupported
  }

  package let kind: Kind
  /// The file's path as given, or a name for bytes in memory.
  package let file: String
  /// The field or tensor at fault, or "the file".
  package let subject: String
  /// The finding, as the predicate of a sentence about the subject: "has shape [3, 4]".
  package let finding: String
  package let expected: String?

  package init(_ kind: Kind, file: String, subject: String = "the file", finding: String, expected: String? = nil) {
    self.kind = kind
    self.file = file
    self.subject = subject
    self.finding = finding
    self.expected = expected
  }

  package var description: String {
    "\(file.isEmpty ? "\"\"" : file): \(subject) \(finding)" + (expected.map { "; expected \($0)" } ?? "")
  }
}

extension ModelFileError {
  init(tensor: String, file: String, finding: String, expected: String? = nil) {
    self.init(.tensor, file: file, subject: "tensor \(tensor)", finding: finding, expected: expected)
  }

  init(_ error: ConfigurationError, file: String) {
    self.init(.configuration, file: file, subject: error.field, finding: "is \(error.found)", expected: error.expected)
  }

  /// A fault of the weights as a whole, found after each tensor passed its own check.
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

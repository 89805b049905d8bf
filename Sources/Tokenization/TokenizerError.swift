import BitNetJSON

/// Why a tokenizer could not be read or used: one sentence with the place, the finding and the expectation.
package struct TokenizerError: Error, Equatable, CustomStringConvertible {
  /// The file's path; nil if the error is not about a file.
  package let file: String?
  /// The field or line at fault, such as `model.vocab["the"]` or `line 17`, or "the file".
  package let subject: String
  /// The finding; it follows "is" in the sentence.
  package let found: String
  /// The requirement; nil where "is missing" says enough.
  package let expected: String?

  package init(file: String? = nil, subject: String, found: String, expected: String?) {
    self.file = file
    self.subject = subject
    self.found = found
    self.expected = expected
  }

  init(_ error: JSONError) {
    self.init(subject: error.subject(in: "the file"), found: error.found, expected: error.expected)
  }

  package var description: String {
    (file.map { "\($0): " } ?? "") + "\(subject) is \(found)" + (expected.map { "; expected \($0)" } ?? "")
  }

  /// The same error with the path of its file.
  func inFile(_ path: String) -> TokenizerError {
    TokenizerError(file: path, subject: subject, found: found, expected: expected)
  }
}

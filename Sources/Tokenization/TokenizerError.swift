/// Why a tokenizer could not be read or used: one sentence that says where, what was found there and what was expected.
package struct TokenizerError: Error, Equatable, CustomStringConvertible {
  /// The file, field or line the error is about, such as `model.vocab["the"]` or `line 17`.
  package let place: String
  /// What stands there.
  package let found: String
  /// What should have stood there.
  package let expected: String

  package init(place: String, found: String, expected: String) {
    self.place = place
    self.found = found
    self.expected = expected
  }

  package var description: String { "\(place): found \(found), expected \(expected)." }

  /// The same error, with the file it was met in put before the place.
  func inFile(_ path: String) -> TokenizerError {
    TokenizerError(place: "\(path): \(place)", found: found, expected: expected)
  }
}

/// `text` as it may stand in an error message: quoted, escaped and cut to a readable length, whatever a hostile file
/// holds.
func quoted(_ text: some StringProtocol) -> String {
  let limit = 80
  let scalars = text.unicodeScalars
  let shown = scalars.prefix(limit).map { $0.escaped(asASCII: false) }.joined()
  return scalars.dropFirst(limit).isEmpty ? "\"\(shown)\"" : "\"\(shown)…\""
}

/// Bytes that need not be UTF-8, for an error message.
func quoted(_ bytes: some Sequence<UInt8>) -> String {
  quoted(String(decoding: Array(bytes.prefix(400)), as: UTF8.self))
}

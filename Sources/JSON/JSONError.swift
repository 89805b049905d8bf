/// Why a JSON text cannot be used: one sentence with the place, what was found there and what was expected.
package struct JSONError: Error, Equatable, CustomStringConvertible {
  package enum Kind: Sendable {
    /// The text is not JSON, or not in UTF-8, or gives a name twice in one object.
    case syntax
    /// The text has more bytes or nests deeper than the caller allows.
    case limit
    /// The text is JSON, but a value is missing, has another type or is out of range.
    case value
  }

  package let kind: Kind
  /// The names and positions that lead to the value, such as `rope_scaling.factor`, `messages[2].role` or
  /// `vocab["!"]`; empty for the whole text.
  package let path: String
  /// The line of the place, from 1 on.
  package let line: Int
  /// The column of the place, from 1 on, in Unicode scalars.
  package let column: Int
  /// The finding, such as `"auto"`, `missing` or `given twice`; it follows "is" in the sentence.
  package let found: String
  /// The requirement; nil where "is missing" says enough.
  package let expected: String?

  /// The subject of the sentence.
  ///
  /// - Parameter text: the name of the whole text, such as "the file" or "the request".
  package func subject(in text: String = "the JSON text") -> String {
    switch kind {
    case .syntax: "\(text) at line \(line), column \(column)" + (path.isEmpty ? "" : ", in \(path),")
    case .limit: text
    case .value: path.isEmpty ? text : path
    }
  }

  /// The sentence, `SUBJECT is FOUND; expected EXPECTED`.
  ///
  /// - Parameter text: the name of the whole text, such as "the file" or "the request".
  package func sentence(about text: String) -> String {
    "\(subject(in: text)) is \(found)" + (expected.map { "; expected \($0)" } ?? "")
  }

  package var description: String { sentence(about: "the JSON text") }
}

/// `text` for an error message: in quotes, escaped and cut to 80 characters, so that a hostile text stays readable.
package func quoted(_ text: some StringProtocol) -> String { "\"\(shown(text, limit: 80))\"" }

/// Bytes that need not be UTF-8, for an error message.
package func quoted(_ bytes: some Sequence<UInt8>) -> String {
  quoted(String(decoding: Array(bytes.prefix(400)), as: UTF8.self))
}

/// `text`, escaped and cut.
func shown(_ text: some StringProtocol, limit: Int) -> String {
  let scalars = text.unicodeScalars
  let shown = scalars.prefix(limit).map { $0.escaped(asASCII: false) }.joined()
  return scalars.dropFirst(limit).isEmpty ? shown : shown + "…"
}

extension String {
  /// This path, followed by an object's name: `.name` if it has only ASCII letters, digits, `_`, `-` and `.`, else
  /// `["name"]`.
  func appendingJSONName(_ name: String) -> String {
    let isPlain =
      !name.isEmpty
      && name.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
          true
        default: false
        }
      }
    if !isPlain { return self + "[\(quoted(name))]" }
    return self + (isEmpty ? "" : ".") + shown(name, limit: 80)
  }
}

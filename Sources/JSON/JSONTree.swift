/// A JSON value that is to be written.
///
/// ```swift
/// let body: JSONTree = ["id": .string(id), "usage": ["prompt_tokens": 12]]
/// let bytes = try body.serialized()
/// ```
package enum JSONTree: Sendable, Equatable {
  case null
  case bool(Bool)
  case integer(Int64)
  case unsigned(UInt64)
  case number(Double)
  case string(String)
  case array([JSONTree])
  /// Members in order; the names must differ.
  case object([Member])

  package struct Member: Sendable, Equatable {
    package var name: String
    package var value: JSONTree

    package init(_ name: String, _ value: JSONTree) {
      self.name = name
      self.value = value
    }
  }

  package static func integer(_ value: Int) -> JSONTree { .integer(Int64(value)) }

  /// An object without the members whose value is nil.
  package static func object(_ members: KeyValuePairs<String, JSONTree?>) -> JSONTree {
    .object(members.compactMap { name, value in value.map { Member(name, $0) } })
  }

  /// The value as JSON in UTF-8 on one line: the same bytes for the same value every time.
  ///
  /// Strings are escaped only where JSON requires it, by the short escapes where there are any; slashes and characters
  /// beyond ASCII stay as they are. Numbers have the fewest digits that read back as the same Double, whole numbers
  /// no fraction.
  ///
  /// - Parameter sortingNames: whether members are written in the order of their names' bytes instead of as given.
  /// - Throws: `JSONError` for a number that is not finite, which JSON cannot hold.
  package func serialized(sortingNames: Bool = false) throws(JSONError) -> [UInt8] {
    var bytes: [UInt8] = []
    try append(to: &bytes, sortingNames ? .sorted : .asGiven, path: "")
    return bytes
  }

  enum Style { case asGiven, sorted, canonical }

  func append(to bytes: inout [UInt8], _ style: Style, path: String) throws(JSONError) {
    func require(_ condition: Bool, _ found: String, _ expected: String) throws(JSONError) {
      guard condition else {
        throw JSONError(kind: .value, path: path, line: 1, column: 1, found: found, expected: expected)
      }
    }
    switch self {
    case .null: bytes += "null".utf8
    case .bool(let value): bytes += (value ? "true" : "false").utf8
    case .integer(let value):
      let fits = style != .canonical || -Self.exactIntegers...Self.exactIntegers ~= value
      try require(fits, "\(value)", "an integer from -2^53 to 2^53")
      bytes += String(value).utf8
    case .unsigned(let value):
      let fits = style != .canonical || value <= UInt64(Self.exactIntegers)
      try require(fits, "\(value)", "an integer from -2^53 to 2^53")
      bytes += String(value).utf8
    case .number(let value):
      try require(value.isFinite, "\(value)", "a finite number")
      if style == .canonical {
        bytes += Self.ecmaScript(value).utf8
      } else {
        let text = value.description
        bytes += text.hasSuffix(".0") ? text.utf8.dropLast(2) : text.utf8[...]
      }
    case .string(let text): Self.append(text, to: &bytes)
    case .array(let elements):
      bytes.append(UInt8(ascii: "["))
      for (position, element) in elements.enumerated() {
        if position > 0 { bytes.append(UInt8(ascii: ",")) }
        try element.append(to: &bytes, style, path: "\(path)[\(position)]")
      }
      bytes.append(UInt8(ascii: "]"))
    case .object(let members):
      let members =
        switch style {
        case .asGiven: members
        case .sorted: members.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        case .canonical: members.sorted { $0.name.utf16.lexicographicallyPrecedes($1.name.utf16) }
        }
      bytes.append(UInt8(ascii: "{"))
      for (position, member) in members.enumerated() {
        if position > 0 { bytes.append(UInt8(ascii: ",")) }
        Self.append(member.name, to: &bytes)
        bytes.append(UInt8(ascii: ":"))
        try member.value.append(to: &bytes, style, path: path.appendingJSONName(member.name))
      }
      bytes.append(UInt8(ascii: "}"))
    }
  }

  private static func append(_ text: String, to bytes: inout [UInt8]) {
    bytes.append(UInt8(ascii: "\""))
    var text = text
    text.withUTF8 { utf8 in
      // Runs without escapes are copied whole.
      var start = 0
      for (at, byte) in utf8.enumerated() {
        guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else { continue }
        bytes += utf8[start..<at]
        bytes += escape(of: byte).utf8
        start = at + 1
      }
      bytes += utf8[start...]
    }
    bytes.append(UInt8(ascii: "\""))
  }

  private static func escape(of byte: UInt8) -> String {
    switch byte {
    case UInt8(ascii: "\""): "\\\""
    case UInt8(ascii: "\\"): "\\\\"
    case 0x08: "\\b"
    case 0x09: "\\t"
    case 0x0A: "\\n"
    case 0x0C: "\\f"
    case 0x0D: "\\r"
    default: "\\u00\(byte < 0x10 ? "0" : "")\(String(byte, radix: 16))"
    }
  }
}

extension JSONTree: ExpressibleByDictionaryLiteral, ExpressibleByArrayLiteral, ExpressibleByStringLiteral,
  ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral
{
  package init(dictionaryLiteral elements: (String, JSONTree)...) {
    self = .object(elements.map { Member($0.0, $0.1) })
  }
  package init(arrayLiteral elements: JSONTree...) { self = .array(elements) }
  package init(stringLiteral value: String) { self = .string(value) }
  package init(integerLiteral value: Int64) { self = .integer(value) }
  package init(floatLiteral value: Double) { self = .number(value) }
  package init(booleanLiteral value: Bool) { self = .bool(value) }
}

import BitNetJSON

/// The values of one or several schemas' texts, by number.
struct SchemaTree {
  enum Value {
    case null
    case bool(Bool)
    case number([UInt8])
    case string(String)
    case array([Int32])
    /// Names in their order.
    case object([(name: String, value: Int32)])
  }

  private(set) var values: [Value] = []
  /// The array or object that each value is in, and its place there, for errors.
  private var places: [(parent: Int32, step: String)] = []
  /// The root of each value's text.
  private(set) var roots: [Int32] = []

  /// - Returns: the number of the text's value.
  mutating func add(_ text: [UInt8]) throws(ConstraintError) -> Int32 {
    let document: JSONDocument
    do throws(JSONError) {
      document = try JSONDocument(
        text, limits: JSONLimits(byteCount: SchemaLimits.byteCount, depth: SchemaLimits.depth))
      return try add(document.root, root: nil, in: -1, at: "")
    } catch {
      throw ConstraintError(
        subject: error.subject(in: "the schema"), found: error.found, expected: error.expected ?? "a JSON schema")
    }
  }

  private mutating func add(
    _ json: JSONValue, root: Int32?, in parent: Int32, at step: String
  ) throws(JSONError) -> Int32 {
    let number = Int32(values.count)
    let root = root ?? number
    values.append(.null)
    places.append((parent, step))
    roots.append(root)
    let value: Value
    switch json.kind {
    case nil, .null: value = .null
    case .bool: value = .bool(try json.bool())
    case .number: value = .number(Array(json.text))
    case .string: value = .string(try json.string())
    case .array:
      var elements: [Int32] = []
      for element in try json.elements() {
        elements.append(try add(element, root: root, in: number, at: "[\(elements.count)]"))
      }
      value = .array(elements)
    case .object:
      var members: [(name: String, value: Int32)] = []
      for (name, member) in try json.members() {
        let name = try name.string()
        members.append((name, try add(member, root: root, in: number, at: ".\(shortened(name))")))
      }
      value = .object(members)
    }
    values[Int(number)] = value
    return number
  }

  subscript(number: Int32) -> Value { values[Int(number)] }

  func member(_ name: String, of number: Int32) -> Int32? {
    guard case .object(let members) = self[number] else { return nil }
    return members.first { $0.name == name }?.value
  }

  /// An error about a value of the schema.
  ///
  /// - Parameter found: nil for the value itself.
  func error(_ number: Int32, found: String? = nil, expected: String) -> ConstraintError {
    let path = path(of: number)
    return ConstraintError(
      subject: path.isEmpty ? "the schema" : "\(path) of the schema", found: found ?? written(number),
      expected: expected)
  }

  private func path(of number: Int32) -> String {
    var steps: [String] = []
    var at = number
    while places[Int(at)].parent >= 0 {
      steps.append(places[Int(at)].step)
      at = places[Int(at)].parent
    }
    let path = steps.reversed().joined()
    return path.hasPrefix(".") ? String(path.dropFirst()) : path
  }

  private func shortened(_ name: String) -> String { name.utf8.count > 80 ? String(name.prefix(60)) + "…" : name }

  private func written(_ number: Int32) -> String {
    switch self[number] {
    case .array: "an array"
    case .object: "an object"
    case .string(let text): quoted(text)
    default: String(decoding: serialized(number).prefix(40), as: UTF8.self)
    }
  }

  /// A value as JSON without spaces; numbers as they are written.
  func serialized(_ number: Int32) -> [UInt8] {
    switch self[number] {
    case .null: return Array("null".utf8)
    case .bool(let value): return Array((value ? "true" : "false").utf8)
    case .number(let text): return text
    case .string(let text): return Self.serialized(text)
    case .array(let elements):
      let inner = elements.map { serialized($0) }.joined(separator: [UInt8(ascii: ",")])
      return [UInt8(ascii: "[")] + inner + [UInt8(ascii: "]")]
    case .object(let members):
      let inner = members.map { Self.serialized($0.name) + [UInt8(ascii: ":")] + serialized($0.value) }
        .joined(separator: [UInt8(ascii: ",")])
      return [UInt8(ascii: "{")] + inner + [UInt8(ascii: "}")]
    }
  }

  static func serialized(_ text: String) -> [UInt8] {
    var bytes = [StringContent.quote]
    for byte in text.utf8 {
      if let escape = StringContent.escape(UInt32(byte)), byte < 0x80 { bytes += escape } else { bytes.append(byte) }
    }
    return bytes + [StringContent.quote]
  }

  /// The value that a reference such as `#/$defs/node` leads to.
  func resolve(_ reference: String, from number: Int32) throws(ConstraintError) -> Int32 {
    guard reference == "#" || reference.hasPrefix("#/") else {
      throw error(number, expected: "# or a reference inside the schema such as #/$defs/name")
    }
    var at = roots[Int(number)]
    for part in reference.dropFirst().split(separator: "/") {
      let name = Self.unescaped(String(part))
      if let member = member(name, of: at) {
        at = member
      } else if case .array(let elements) = self[at], let place = Int(name), elements.indices.contains(place) {
        at = elements[place]
      } else {
        throw error(number, expected: "a reference to a part that the schema has; \(quoted(name)) is missing")
      }
    }
    return at
  }

  /// A part of a JSON pointer in a URI.
  private static func unescaped(_ part: String) -> String {
    var bytes: [UInt8] = []
    var rest = Array(part.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%"), rest.count >= 2,
        let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      {
        bytes.append(value)
        rest = rest.dropFirst(2)
      } else if byte == UInt8(ascii: "~"), rest.first == UInt8(ascii: "0") || rest.first == UInt8(ascii: "1") {
        bytes.append(rest.removeFirst() == UInt8(ascii: "0") ? UInt8(ascii: "~") : UInt8(ascii: "/"))
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

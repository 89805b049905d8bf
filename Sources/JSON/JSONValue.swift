/// A place in a ``JSONDocument``: a value, or a field that is missing. Its readers return the value or throw an error
/// that names the path, the finding and the expectation.
///
/// ```swift
/// let request = try JSONDocument(body, limits: JSONLimits(byteCount: 1 << 20)).root
/// var fields = try request.fields()
/// let model = try fields["model"].string()
/// let choices = try fields["n"].ifPresent?.integer(in: 1...8) ?? 1
/// let temperature = try fields["temperature"].ifPresent?.number(in: 0...2)
/// if let name = fields.unread.first { throw request.error(found: "given \(name)", expected: "…") }
/// ```
package struct JSONValue: Sendable {
  package let document: JSONDocument
  /// The node of the value, or of the object that lacks the field.
  let index: Int
  /// The field's name if it is missing.
  var missingName: String?

  init(document: JSONDocument, index: Int, missingName: String? = nil) {
    self.document = document
    self.index = index
    self.missingName = missingName
  }

  private var node: JSONDocument.Node { document.nodes[index] }

  /// Nil for a missing field.
  package var kind: JSONDocument.Kind? { missingName == nil ? node.kind : nil }

  /// The value itself; nil if the field is missing or null.
  package var ifPresent: JSONValue? { missingName == nil && node.kind != .null ? self : nil }

  /// Such as `model.merges[7]`; empty for the whole text.
  package var path: String {
    let path = document.path(to: index)
    return missingName.map(path.appendingJSONName) ?? path
  }

  /// The finding, for errors: `"auto"`, `1.5`, `null`, `an array`, `missing`.
  package var written: String {
    guard missingName == nil else { return "missing" }
    switch node.kind {
    case .string: return quoted(String(decoding: document.bytes[node.range].prefix(400), as: UTF8.self))
    case .array: return "an array"
    case .object: return "an object"
    case .null, .bool, .number:
      let text = String(decoding: document.bytes[node.range].prefix(40), as: UTF8.self)
      return node.range.count > 40 ? text + "…" : text
    }
  }

  /// The value as the text has it; of a string, what is between its quotes. Empty if the value is missing.
  package var text: ArraySlice<UInt8> { missingName == nil ? document.bytes[node.range] : [] }

  /// The error that this value is not the expected one.
  package func error(expected: String) -> JSONError { error(found: written, expected: expected) }

  /// - Parameter found: follows "is" in the sentence.
  package func error(found: String, expected: String?) -> JSONError {
    let (line, column) = document.place(of: index)
    return JSONError(kind: .value, path: path, line: line, column: column, found: found, expected: expected)
  }

  private func check(_ kind: JSONDocument.Kind, _ name: String) throws(JSONError) {
    if self.kind != kind { throw error(expected: name) }
  }

  // MARK: - Single values

  package func string() throws(JSONError) -> String {
    try check(.string, "a string")
    return JSONDocument.string(node, in: document.bytes)
  }

  /// Appends a string's UTF-8. Callers that read many strings allocate no object for each this way.
  package func appendString(to bytes: inout [UInt8]) throws(JSONError) {
    try check(.string, "a string")
    JSONDocument.append(node, of: document.bytes, to: &bytes)
  }

  package func bool() throws(JSONError) -> Bool {
    try check(.bool, "true or false")
    return document.bytes[Int(node.start)] == UInt8(ascii: "t")
  }

  /// A whole number, exactly: even 64-bit numbers never become a Double. `24.0` and `1e2` are whole numbers.
  ///
  /// - Parameter range: the accepted values; all of Int's when nil.
  package func integer(in range: ClosedRange<Int>? = nil) throws(JSONError) -> Int {
    // Without generic code, which is slow from another module: a tokenizer has 100,000 numbers.
    if missingName == nil, node.kind == .number, !node.isMarked, let number = smallInteger(),
      range?.contains(number) ?? true
    {
      return number
    }
    return try integer(as: Int.self, in: range)
  }

  /// A whole number of another type.
  ///
  /// - Parameter range: the accepted values; all of the type's values when nil.
  package func integer<Value: FixedWidthInteger>(
    as type: Value.Type, in range: ClosedRange<Value>? = nil
  ) throws(JSONError) -> Value {
    let range = range ?? .min ... .max
    guard kind == .number, let number = exactInteger(), let value = Value(exactly: number), range.contains(value) else {
      let isAny = Value.self == Int.self && range.lowerBound == .min && range.upperBound == .max
      throw error(expected: "an integer" + (isAny ? "" : " from \(range.lowerBound) to \(range.upperBound)"))
    }
    return value
  }

  /// A number, correctly rounded.
  ///
  /// - Parameter range: the accepted values; all finite numbers when nil.
  package func number(in range: ClosedRange<Double>? = nil) throws(JSONError) -> Double {
    let expected = range.map { "a number from \($0.lowerBound) to \($0.upperBound)" } ?? "a number"
    try check(.number, expected)
    guard let value = Double(String(decoding: document.bytes[node.range], as: UTF8.self)), value.isFinite else {
      throw error(expected: "a number that a Double can hold")
    }
    if let range, !range.contains(value) { throw error(expected: expected) }
    return value
  }

  /// The number if it is whole and its magnitude fits 64 bits. 128 bits hold both Int64 and UInt64.
  private func exactInteger() -> Int128? {
    var digits = document.bytes[node.range]
    let isNegative = digits.first == UInt8(ascii: "-")
    if isNegative { digits.removeFirst() }
    var exponent = 0
    if node.isMarked {
      if let mark = digits.firstIndex(where: { $0 | 0x20 == UInt8(ascii: "e") }) {
        guard let written = Int(String(decoding: digits[(mark + 1)...], as: UTF8.self)) else { return nil }
        // Beyond any number of digits that a text can have.
        exponent = max(-(1 << 40), min(written, 1 << 40))
        digits = digits[..<mark]
      }
      if let point = digits.firstIndex(of: UInt8(ascii: ".")) {
        let fraction = digits[(point + 1)...]
        exponent -= fraction.count
        digits = digits[..<point] + fraction
      }
      while exponent < 0, digits.last == UInt8(ascii: "0") {
        digits.removeLast()
        exponent += 1
      }
      digits = digits.drop { $0 == UInt8(ascii: "0") }
      if digits.isEmpty { return 0 }
      if exponent < 0 { return nil }
    }
    guard digits.count <= 20, exponent <= 20, digits.count + exponent <= 20 else { return nil }
    var magnitude: Int128 = 0
    for digit in digits { magnitude = magnitude * 10 + Int128(digit - UInt8(ascii: "0")) }
    for _ in 0..<exponent { magnitude *= 10 }
    return isNegative ? -magnitude : magnitude
  }

  /// The number, which has no fraction or exponent; nil if it is longer than 18 characters.
  private func smallInteger() -> Int? {
    let bytes = document.bytes
    let (start, end) = (Int(node.start), Int(node.end))
    let isNegative = bytes[start] == UInt8(ascii: "-")
    guard end - start <= 18 else { return nil }
    var magnitude = 0
    for at in (isNegative ? start + 1 : start)..<end { magnitude = magnitude * 10 + Int(bytes[at] - UInt8(ascii: "0")) }
    return isNegative ? -magnitude : magnitude
  }

  // MARK: - Arrays and objects

  package func elements() throws(JSONError) -> JSONElements {
    try check(.array, "an array")
    return JSONElements(document: document, at: index + 1, end: Int(node.next))
  }

  /// An object's names and values in the text's order.
  package func members() throws(JSONError) -> JSONMembers {
    try check(.object, "an object")
    return JSONMembers(document: document, at: index + 1, end: Int(node.next))
  }

  /// An object's field. Use ``fields()`` to read several: each subscript searches the object from its start.
  package subscript(name: String) -> JSONValue {
    get throws(JSONError) {
      for (key, value) in try members() where key.hasName(name) { return value }
      return JSONValue(document: document, index: index, missingName: name)
    }
  }

  package func fields() throws(JSONError) -> JSONFields { JSONFields(try members(), of: self) }

  /// Whether the text of this string is `name`, byte for byte.
  package func hasName(_ name: String) -> Bool {
    if node.isMarked { return JSONDocument.string(node, in: document.bytes).utf8.elementsEqual(name.utf8) }
    return node.range.count == name.utf8.count && document.bytes[node.range].elementsEqual(name.utf8)
  }
}

/// The elements of an array.
package struct JSONElements: Sequence, IteratorProtocol, Sendable {
  let document: JSONDocument
  private var at: Int
  private let end: Int

  init(document: JSONDocument, at: Int, end: Int) {
    self.document = document
    self.at = at
    self.end = end
  }

  package mutating func next() -> JSONValue? {
    guard at < end else { return nil }
    defer { at = Int(document.nodes[at].next) }
    return JSONValue(document: document, index: at)
  }
}

/// The names and values of an object.
package struct JSONMembers: Sequence, IteratorProtocol, Sendable {
  let document: JSONDocument
  private var at: Int
  private let end: Int

  init(document: JSONDocument, at: Int, end: Int) {
    self.document = document
    self.at = at
    self.end = end
  }

  package mutating func next() -> (name: JSONValue, value: JSONValue)? {
    guard at < end else { return nil }
    let value = at + 1
    defer { at = Int(document.nodes[value].next) }
    return (JSONValue(document: document, index: at), JSONValue(document: document, index: value))
  }
}

/// An object that is read field by field and records which fields have been read.
package struct JSONFields: Sendable {
  private let object: JSONValue
  private let members: [(name: JSONValue, value: JSONValue)]
  private var isRead: [Bool]

  init(_ members: JSONMembers, of object: JSONValue) {
    self.object = object
    self.members = Array(members)
    isRead = [Bool](repeating: false, count: self.members.count)
  }

  /// The field of that name. If it is missing, its readers throw, and ``JSONValue/ifPresent`` is nil.
  package subscript(name: String) -> JSONValue {
    mutating get {
      guard let position = members.firstIndex(where: { $0.name.hasName(name) }) else {
        return JSONValue(document: object.document, index: object.index, missingName: name)
      }
      isRead[position] = true
      return members[position].value
    }
  }

  /// The names of the fields that have not been read, in the text's order.
  package var unread: [String] {
    members.indices.filter { !isRead[$0] }.map { index in
      JSONDocument.string(object.document.nodes[members[index].name.index], in: object.document.bytes)
    }
  }
}

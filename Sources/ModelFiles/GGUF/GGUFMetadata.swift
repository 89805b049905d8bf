package import BitNetTernary

/// The metadata of a GGUF file: typed values by key. Reading a value that is missing returns nil; one of the wrong type
/// throws.
package struct GGUFMetadata: Sendable {
  package struct Entry: Sendable, Equatable {
    package let key: String
    package let value: GGUFValue
  }

  /// In the order of the file.
  package let entries: [Entry]
  /// The file's name, for errors.
  package let file: String
  /// The whole file.
  package let bytes: SharedBytes
  private let indices: [String: Int]

  init(_ entries: [Entry], bytes: SharedBytes, file: String) throws(ModelFileError) {
    self.entries = entries
    self.bytes = bytes
    self.file = file
    var indices: [String: Int] = [:]
    for (index, entry) in entries.enumerated() where indices.updateValue(index, forKey: entry.key) != nil {
      throw ModelFileError(
        .malformed, file: file, subject: "key \(entry.key)", finding: "is given twice", expected: "each key once")
    }
    self.indices = indices
  }

  package subscript(key: String) -> GGUFValue? { indices[key].map { entries[$0].value } }

  /// An error about a key's value.
  package func refusal(_ key: String, _ finding: String, expected: String) -> ModelFileError {
    ModelFileError(.configuration, file: file, subject: "key \(key)", finding: finding, expected: expected)
  }

  /// The value, or an error that it is missing.
  package func required<Value>(_ key: String, _ value: Value?) throws(ModelFileError) -> Value {
    guard let value else {
      throw ModelFileError(.configuration, file: file, subject: "key \(key)", finding: "is missing")
    }
    return value
  }

  // MARK: - Single values

  /// A string.
  package func string(_ key: String) throws(ModelFileError) -> String? {
    guard let value = self[key] else { return nil }
    guard value.type == .string else { throw wrongType(key, value, "a string") }
    var offset = value.range.lowerBound
    return try text(at: &offset, key)
  }

  /// A whole number of any integer type.
  package func integer(_ key: String) throws(ModelFileError) -> Int? {
    guard let value = self[key] else { return nil }
    guard let found = integer(value.type, at: value.range.lowerBound) else {
      throw wrongType(key, value, "a whole number below 2^63")
    }
    return found
  }

  /// A number of any type.
  package func number(_ key: String) throws(ModelFileError) -> Double? {
    guard let value = self[key] else { return nil }
    guard let found = number(value.type, at: value.range.lowerBound) else { throw wrongType(key, value, "a number") }
    return found
  }

  /// A bool: any byte but 0 is true.
  package func bool(_ key: String) throws(ModelFileError) -> Bool? {
    guard let value = self[key] else { return nil }
    guard value.type == .bool else { throw wrongType(key, value, "a bool") }
    return load(value.range.lowerBound, as: UInt8.self) != 0
  }

  // MARK: - Arrays

  /// An array of strings.
  ///
  /// - Throws: also for a string that is not UTF-8.
  package func strings(_ key: String) throws(ModelFileError) -> [String]? {
    guard let value = self[key] else { return nil }
    guard value.elementType == .string else { throw wrongType(key, value, "an array of strings") }
    var strings: [String] = []
    strings.reserveCapacity(value.count)
    var offset = value.range.lowerBound
    for _ in 0..<value.count { strings.append(try text(at: &offset, key)) }
    return strings
  }

  /// The bytes of an array of strings.
  package func byteStrings(_ key: String) throws(ModelFileError) -> [[UInt8]]? {
    guard let value = self[key] else { return nil }
    guard value.elementType == .string else { throw wrongType(key, value, "an array of strings") }
    var strings: [[UInt8]] = []
    strings.reserveCapacity(value.count)
    var offset = value.range.lowerBound
    for _ in 0..<value.count {
      let range = place(at: &offset)
      strings.append(bytes.withUnsafeBytes { Array($0[range]) })
    }
    return strings
  }

  /// An array of whole numbers of any integer type.
  package func integers(_ key: String) throws(ModelFileError) -> [Int]? {
    try array(key, "an array of whole numbers below 2^63") { type, offset in integer(type, at: offset) }
  }

  /// An array of numbers of any type.
  package func numbers(_ key: String) throws(ModelFileError) -> [Double]? {
    try array(key, "an array of numbers") { type, offset in number(type, at: offset) }
  }

  private func array<Element>(
    _ key: String, _ expected: String, _ read: (GGUFValueType, Int) -> Element?
  ) throws(ModelFileError) -> [Element]? {
    guard let value = self[key] else { return nil }
    guard let type = value.elementType, let size = type.byteCount else { throw wrongType(key, value, expected) }
    var elements: [Element] = []
    elements.reserveCapacity(value.count)
    for index in 0..<value.count {
      guard let element = read(type, value.range.lowerBound + index * size) else {
        throw wrongType(key, value, expected)
      }
      elements.append(element)
    }
    return elements
  }

  // MARK: - Bytes

  private func wrongType(_ key: String, _ value: GGUFValue, _ expected: String) -> ModelFileError {
    let found = value.elementType.map { "an array of type \($0.name)" } ?? "of type \(value.type.name)"
    return refusal(key, "is \(found)", expected: expected)
  }

  private func load<Value: FixedWidthInteger>(_ offset: Int, as type: Value.Type) -> Value {
    bytes.withUnsafeBytes { Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self)) }
  }

  private func text(at offset: inout Int, _ key: String) throws(ModelFileError) -> String {
    let range = place(at: &offset)
    guard let text = bytes.withUnsafeBytes({ String(validating: $0[range], as: UTF8.self) }) else {
      throw refusal(key, "holds a string that is not UTF-8", expected: "UTF-8")
    }
    return text
  }

  /// The place of a string's text; `offset` moves to its end.
  private func place(at offset: inout Int) -> Range<Int> {
    // The header's reader has checked that the text is in the file.
    let start = offset + 8
    offset = start + Int(load(offset, as: UInt64.self))
    return start..<offset
  }

  private func integer(_ type: GGUFValueType, at offset: Int) -> Int? {
    switch type {
    case .u8: Int(load(offset, as: UInt8.self))
    case .i8: Int(load(offset, as: Int8.self))
    case .u16: Int(load(offset, as: UInt16.self))
    case .i16: Int(load(offset, as: Int16.self))
    case .u32: Int(load(offset, as: UInt32.self))
    case .i32: Int(load(offset, as: Int32.self))
    case .u64: Int(exactly: load(offset, as: UInt64.self))
    case .i64: Int(load(offset, as: Int64.self))
    case .f32, .f64, .bool, .string, .array: nil
    }
  }

  private func number(_ type: GGUFValueType, at offset: Int) -> Double? {
    switch type {
    case .f32: Double(Float(bitPattern: load(offset, as: UInt32.self)))
    case .f64: Double(bitPattern: load(offset, as: UInt64.self))
    default: integer(type, at: offset).map(Double.init)
    }
  }
}

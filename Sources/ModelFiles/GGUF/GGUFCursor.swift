import BitNetTernary

/// Reads the header of a GGUF file from its start, with every read checked against the file's size.
struct GGUFCursor {
  let bytes: SharedBytes
  let file: String
  private(set) var offset = 0

  /// - Parameters:
  ///   - bytes: the whole file.
  ///   - file: the file's name, for errors.
  init(_ bytes: SharedBytes, file: String) {
    self.bytes = bytes
    self.file = file
  }

  private var remaining: Int { bytes.count - offset }

  func refusal(_ subject: String, _ finding: String, _ expected: String) -> ModelFileError {
    ModelFileError(.malformed, file: file, subject: subject, finding: finding, expected: expected)
  }

  private mutating func skip(_ count: Int, _ subject: String) throws(ModelFileError) -> Range<Int> {
    guard count <= remaining else {
      throw refusal(
        subject, "has \(count) bytes at byte \(offset)", "an end inside the file, which has \(bytes.count) bytes")
    }
    defer { offset += count }
    return offset..<offset + count
  }

  mutating func magic() throws(ModelFileError) -> [UInt8] {
    let range = try skip(4, "the file's mark")
    return bytes.withUnsafeBytes { Array($0[range]) }
  }

  mutating func integer<Value: FixedWidthInteger>(
    _ type: Value.Type, _ subject: String
  ) throws(ModelFileError) -> Value {
    let range = try skip(MemoryLayout<Value>.size, subject)
    return bytes.withUnsafeBytes {
      Value(littleEndian: $0.loadUnaligned(fromByteOffset: range.lowerBound, as: Value.self))
    }
  }

  /// A number of things that take at least `smallest` bytes each.
  mutating func count(_ subject: String, smallest: Int) throws(ModelFileError) -> Int {
    let count = try integer(UInt64.self, subject)
    guard let count = Int(exactly: count), count <= remaining / smallest else {
      throw refusal(
        subject, "is \(count)", "at most \(remaining / smallest), as the file ends \(remaining) bytes after it")
    }
    return count
  }

  /// A string's text: its length, then its bytes.
  private mutating func text(_ subject: String) throws(ModelFileError) -> Range<Int> {
    let length = try integer(UInt64.self, subject)
    guard let count = Int(exactly: length), count <= remaining else {
      throw refusal(subject, "has \(length) bytes", "at most \(remaining), up to the end of the file")
    }
    return try skip(count, subject)
  }

  /// A name, which must be UTF-8.
  mutating func string(_ subject: String) throws(ModelFileError) -> String {
    let range = try text(subject)
    guard let string = bytes.withUnsafeBytes({ String(validating: $0[range], as: UTF8.self) }) else {
      throw refusal(subject, "is not UTF-8 text", "UTF-8")
    }
    return string
  }

  /// The value after its key. Its bytes are in the file, down to the last string of an array.
  mutating func value(of key: String) throws(ModelFileError) -> GGUFValue {
    let subject = "key \(key)"
    let type = try type(subject)
    let start = offset
    if type == .array {
      let element = try self.type(subject)
      guard element != .array else { throw refusal(subject, "is an array of arrays", "an array of plain values") }
      let count = try count("the length of \(subject)", smallest: element.byteCount ?? 8)
      let first = offset
      if let size = element.byteCount {
        _ = try skip(count * size, subject)
      } else {
        for _ in 0..<count { _ = try text(subject) }
      }
      return GGUFValue(type: type, elementType: element, count: count, range: first..<offset)
    }
    if let size = type.byteCount { _ = try skip(size, subject) } else { _ = try text(subject) }
    return GGUFValue(type: type, elementType: nil, count: 1, range: start..<offset)
  }

  private mutating func type(_ subject: String) throws(ModelFileError) -> GGUFValueType {
    let number = try integer(UInt32.self, subject)
    guard let type = GGUFValueType(rawValue: number) else {
      throw refusal(subject, "has value type \(number)", "0 to 12")
    }
    return type
  }
}

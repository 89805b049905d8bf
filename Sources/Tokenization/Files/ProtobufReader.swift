/// Reads the fields of a protobuf message.
struct ProtobufReader {
  /// A field's value, as its wire type has it.
  enum Value {
    case number(UInt64)
    case fixed32(UInt32)
    case fixed64(UInt64)
    /// A text, bytes or a message: their range in the file.
    case bytes(Range<Int>)
  }

  /// The file ends within a field, or a field has a type that no longer exists.
  struct Malformed: Error {
    let position: Int
  }

  private let file: [UInt8]
  private var at: Int
  private let end: Int

  init(_ file: [UInt8], _ range: Range<Int>) {
    self.file = file
    at = range.lowerBound
    end = range.upperBound
  }

  /// The next field; nil at the end of the message.
  mutating func next() throws(Malformed) -> (number: Int, value: Value)? {
    if at == end { return nil }
    let start = at
    let key = try varint()
    let number = Int(truncatingIfNeeded: key >> 3)
    guard number > 0, number < 1 << 29 else { throw Malformed(position: start) }
    switch key & 7 {
    case 0: return (number, .number(try varint()))
    case 1: return (number, .fixed64(try fixed(8)))
    case 5: return (number, .fixed32(UInt32(try fixed(4))))
    case 2:
      let count = try varint()
      guard count <= UInt64(end - at) else { throw Malformed(position: start) }
      defer { at += Int(count) }
      return (number, .bytes(at..<at + Int(count)))
    default: throw Malformed(position: start)
    }
  }

  private mutating func varint() throws(Malformed) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: 0, to: 70, by: 7) {
      guard at < end else { break }
      let byte = file[at]
      at += 1
      value |= UInt64(byte & 0x7F) << UInt64(shift)
      if byte < 0x80 { return value }
    }
    throw Malformed(position: at)
  }

  private mutating func fixed(_ count: Int) throws(Malformed) -> UInt64 {
    guard end - at >= count else { throw Malformed(position: at) }
    defer { at += count }
    return (0..<count).reduce(0) { $0 | UInt64(file[at + $1]) << UInt64(8 * $1) }
  }
}

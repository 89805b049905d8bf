/// The alphabet in which a tokenizer.json spells the bytes of its tokens: one visible character for each byte.
///
/// Bytes that are visible in Latin-1 are written as themselves; the others, in ascending order, as U+0100, U+0101 and
/// so on. A space, for example, is "Ġ".
enum ByteLevelAlphabet {
  private static func isVisible(_ byte: UInt8) -> Bool {
    (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte)
  }

  /// The byte of each scalar of the alphabet; -1 for scalars that are not part of it.
  private static let bytes: [Int16] = {
    var bytes = [Int16](repeating: -1, count: 0x100)
    for byte in UInt8.min...UInt8.max {
      if isVisible(byte) { bytes[Int(byte)] = Int16(byte) } else { bytes.append(Int16(byte)) }
    }
    return bytes
  }()

  /// The scalar of each byte.
  static let scalars: [UInt32] = {
    var scalars = [UInt32](repeating: 0, count: 256)
    for (scalar, byte) in bytes.enumerated() where byte >= 0 { scalars[Int(byte)] = UInt32(scalar) }
    return scalars
  }()

  /// The UTF-8 of the characters that spell bytes.
  static func spelling(of bytes: some Sequence<UInt8>) -> [UInt8] {
    let scalars = scalars
    return bytes.flatMap { Array(String(Character(Unicode.Scalar(scalars[Int($0)])!)).utf8) }
  }

  /// Appends the bytes that `spelling[start..<end]`, UTF-8, spells. Returns false, with any bytes appended, if a
  /// character is not part of the alphabet.
  static func decode(_ spelling: [UInt8], _ start: Int, _ end: Int, into token: inout [UInt8]) -> Bool {
    let bytes = bytes
    var at = start
    while at < end {
      var scalar = Int(spelling[at])
      at += 1
      if scalar >= 0x80 {
        // The alphabet ends at U+0143: one or two bytes.
        guard (0xC2..<0xE0).contains(scalar), at < end, spelling[at] & 0xC0 == 0x80 else { return false }
        scalar = (scalar & 0x1F) << 6 | Int(spelling[at] & 0x3F)
        at += 1
      }
      guard scalar < bytes.count, bytes[scalar] >= 0 else { return false }
      token.append(UInt8(bytes[scalar]))
    }
    return true
  }
}

/// Base64 with padding (RFC 4648, section 4).
enum Base64 {
  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  private static let padding = UInt8(ascii: "=")

  /// The six bits of each character, 0xFF for those outside the alphabet.
  private static let values: [UInt8] = {
    var values = [UInt8](repeating: 0xFF, count: 256)
    for (value, character) in alphabet.enumerated() { values[Int(character)] = UInt8(value) }
    return values
  }()

  /// Appends the ASCII of `bytes` in base64.
  static func encode(_ bytes: ArraySlice<UInt8>, into text: inout [UInt8]) {
    var at = bytes.startIndex
    while at < bytes.endIndex {
      let count = min(3, bytes.endIndex - at)
      var group: UInt32 = 0
      for offset in 0..<3 { group = group << 8 | (offset < count ? UInt32(bytes[at + offset]) : 0) }
      for character in 0..<4 {
        text.append(character <= count ? alphabet[Int(group >> UInt32(18 - 6 * character) & 0x3F)] : padding)
      }
      at += 3
    }
  }

  /// Appends the bytes that `text[start..<end]` encodes. Returns false, with any bytes appended, if it is not base64.
  static func decode(_ text: Span<UInt8>, _ start: Int, _ end: Int, into bytes: inout [UInt8]) -> Bool {
    guard (end - start) % 4 == 0 else { return false }
    let values = values
    var at = start
    while at < end {
      let isLast = at + 4 == end
      let padded = isLast ? (text[at + 3] != padding ? 0 : text[at + 2] != padding ? 1 : 2) : 0
      var group: UInt32 = 0
      for offset in 0..<4 - padded {
        let value = values[Int(text[at + offset])]
        guard value != 0xFF else { return false }
        group = group << 6 | UInt32(value)
      }
      group <<= UInt32(6 * padded)
      bytes.append(UInt8(truncatingIfNeeded: group >> 16))
      if padded < 2 { bytes.append(UInt8(truncatingIfNeeded: group >> 8)) }
      if padded < 1 { bytes.append(UInt8(truncatingIfNeeded: group)) }
      at += 4
    }
    return true
  }
}

/// The number of the decimal digits `text[start..<end]`; nil if they are not 1 to 18 digits.
func decimal(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int? {
  guard (1...18).contains(end - start) else { return nil }
  var number = 0
  for at in start..<end {
    let digit = text[at] &- UInt8(ascii: "0")
    guard digit < 10 else { return nil }
    number = number * 10 + Int(digit)
  }
  return number
}

/// `text[start..<end]` as an array, for errors.
func copy(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> [UInt8] {
  (start..<end).map { text[$0] }
}

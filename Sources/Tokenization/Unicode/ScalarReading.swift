/// How the bytes of a text spell scalars. A tokenizer.json describes its steps on the characters of a text that earlier
/// steps have rewritten; here the text keeps its bytes, and later steps read them otherwise.
enum ScalarReading: Equatable, Sendable {
  case utf8
  /// UTF-8 in which a space stands for this scalar, as after a step that replaces spaces by "▁".
  case marked(UInt32)
  /// Each byte is a character of the byte-level alphabet.
  case byteLevel

  /// The scalar at `at` and its length in bytes; ``ScalarSet/invalid`` and 1 for a byte that begins no valid sequence
  /// within `text[..<end]`.
  @inline(__always)
  func scalar(in text: Span<UInt8>, at: Int, end: Int) -> (value: UInt32, length: Int) {
    let byte = text[at]
    switch self {
    case .byteLevel: return (ByteLevelAlphabet.scalars[Int(byte)], 1)
    case .marked(let mark): if byte == UInt8(ascii: " ") { return (mark, 1) }
    case .utf8: break
    }
    return byte < 0x80 ? (UInt32(byte), 1) : Self.longScalar(in: text, at: at, end: end)
  }

  /// The scalar of two bytes or more at `at`.
  static func longScalar(in text: Span<UInt8>, at: Int, end: Int) -> (value: UInt32, length: Int) {
    let invalid = (ScalarSet.invalid, 1)
    let byte = UInt32(text[at])
    let length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2
    guard byte >= 0xC2, byte <= 0xF4, at + length <= end else { return invalid }
    var scalar = byte & (0x7F >> UInt32(length))
    for offset in 1..<length {
      let continuation = text[at + offset]
      guard continuation & 0xC0 == 0x80 else { return invalid }
      scalar = scalar << 6 | UInt32(continuation & 0x3F)
    }
    let isShortest = length == 2 || scalar >= (length == 3 ? 0x800 : 0x10000)
    guard isShortest, scalar < 0x110000, !(0xD800..<0xE000).contains(scalar) else { return invalid }
    return (scalar, length)
  }

  /// The start of the scalar that ends before `at`, which is greater than `start`. The scalars of `text[start..<at]`
  /// must be those that reading forward gives.
  func startOfScalar(in text: Span<UInt8>, before at: Int, from start: Int) -> Int {
    if self == .byteLevel || text[at - 1] < 0x80 { return at - 1 }
    for length in 2...4 where at - length >= start {
      if text[at - length] & 0xC0 == 0x80 { continue }
      let read = text[at - length] < 0xC0 ? 1 : Self.longScalar(in: text, at: at - length, end: at).length
      return read == length ? at - length : at - 1
    }
    return at - 1
  }
}

/// A set of scalars under a reading: most bytes decide by themselves, by a bit that is found without an array, which
/// would cost a retain and a release for each piece of text.
struct ByteClassifier: Sendable {
  private let set: ScalarSet
  /// Whether bytes from 0x80 on are scalars by themselves.
  private let decidesHigh: Bool
  /// For the byte values 0…63, 64…127 and so on, whether they are scalars of the set.
  private let bits: (UInt64, UInt64, UInt64, UInt64)

  init(_ ranges: ScalarRanges, _ reading: ScalarReading) {
    let set = ScalarSet(ranges)
    var bits: [UInt64] = [0, 0, 0, 0]
    for byte in 0..<(reading == .byteLevel ? 256 : 128) {
      let (scalar, _) = [UInt8(byte)].withUnsafeBufferPointer { reading.scalar(in: $0.span, at: 0, end: 1) }
      if set.contains(scalar) { bits[byte / 64] |= 1 << UInt64(byte % 64) }
    }
    self.set = set
    self.bits = (bits[0], bits[1], bits[2], bits[3])
    decidesHigh = reading == .byteLevel
  }

  /// The length of the scalar at `at` if the set contains it, else 0.
  @inline(__always)
  func length(in text: Span<UInt8>, at: Int, end: Int) -> Int {
    let byte = text[at]
    if byte >= 0x80 {
      if !decidesHigh { return longLength(text, at, end) }
      return Int((byte < 0xC0 ? bits.2 : bits.3) >> UInt64(byte & 63) & 1)
    }
    return Int((byte < 0x40 ? bits.0 : bits.1) >> UInt64(byte & 63) & 1)
  }

  private func longLength(_ text: Span<UInt8>, _ at: Int, _ end: Int) -> Int {
    let (scalar, length) = ScalarReading.longScalar(in: text, at: at, end: end)
    return set.contains(scalar) ? length : 0
  }

  /// The length of the scalar at `at` whether or not the set contains it.
  @inline(__always)
  func scalarLength(in text: Span<UInt8>, at: Int, end: Int) -> Int {
    text[at] < 0x80 || decidesHigh ? 1 : ScalarReading.longScalar(in: text, at: at, end: end).length
  }

  /// Whether some scalar of the set begins with this byte; true if that is not certain.
  func mayBegin(_ byte: UInt8) -> Bool {
    if byte >= 0x80, !decidesHigh { return true }
    return [byte].withUnsafeBufferPointer { length(in: $0.span, at: 0, end: 1) > 0 }
  }

  /// The end of the run of the set's scalars that begins at `start`, or `start`.
  @inline(__always)
  func endOfRun(in text: Span<UInt8>, from start: Int, to end: Int) -> Int {
    var at = start
    while at < end {
      let length = length(in: text, at: at, end: end)
      if length == 0 { break }
      at += length
    }
    return at
  }
}

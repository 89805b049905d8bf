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

/// A set of scalars under a reading: most bytes decide by themselves.
struct ByteClassifier: Sendable {
  enum Answer: UInt8 {
    case outside, inside
    /// The byte begins a longer scalar.
    case undecided
  }

  private let reading: ScalarReading
  private let set: ScalarSet
  private let answers: [Answer]

  init(_ ranges: ScalarRanges, _ reading: ScalarReading) {
    let set = ScalarSet(ranges)
    answers = (0...255).map { byte in
      if byte >= 0x80 && reading != .byteLevel { return .undecided }
      let (scalar, _) = [UInt8(byte)].withUnsafeBufferPointer { reading.scalar(in: $0.span, at: 0, end: 1) }
      return set.contains(scalar) ? .inside : .outside
    }
    self.reading = reading
    self.set = set
  }

  /// The length of the scalar at `at` if the set contains it, else 0.
  @inline(__always)
  func length(in text: Span<UInt8>, at: Int, end: Int) -> Int {
    switch answers[Int(text[at])] {
    case .outside: return 0
    case .inside: return 1
    case .undecided:
      let (scalar, length) = ScalarReading.longScalar(in: text, at: at, end: end)
      return set.contains(scalar) ? length : 0
    }
  }

  /// The length of the scalar at `at` whether or not the set contains it.
  @inline(__always)
  func scalarLength(in text: Span<UInt8>, at: Int, end: Int) -> Int {
    answers[Int(text[at])] == .undecided ? ScalarReading.longScalar(in: text, at: at, end: end).length : 1
  }

  /// Whether some scalar of the set begins with this byte; true if that is not certain.
  func mayBegin(_ byte: UInt8) -> Bool { answers[Int(byte)] != .outside }

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

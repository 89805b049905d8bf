/// The characters of a JSON string, as bytes: a small automaton with one character from its state 0 to its state 0.
///
/// It allows all of UTF-8 but `"`, `\` and control characters, the short escapes, and `\u` escapes that are no
/// surrogates.
enum StringContent {
  static let quote = UInt8(ascii: "\"")
  static let states = 14
  /// `[states][256]`: the next state, or -1.
  private static let table: [Int8] = {
    var table = [Int8](repeating: -1, count: states * 256)
    func set(_ state: Int, _ bytes: ClosedRange<UInt8>, _ next: Int8) {
      for byte in bytes { table[state * 256 + Int(byte)] = next }
    }
    func setHex(_ state: Int, _ next: Int8) {
      set(state, 0x30...0x39, next)
      set(state, 0x41...0x46, next)
      set(state, 0x61...0x66, next)
    }
    // 0: between characters.
    set(0, 0x20...0x7F, 0)
    table[Int(quote)] = -1
    table[Int(UInt8(ascii: "\\"))] = 1
    // 1: after a backslash. 2 to 5: before a digit of \u; 6: the same after a D.
    for byte in "\"\\/bfnrt".utf8 { table[256 + Int(byte)] = 0 }
    table[256 + Int(UInt8(ascii: "u"))] = 2
    setHex(2, 3)
    table[2 * 256 + 0x44] = 6
    table[2 * 256 + 0x64] = 6
    setHex(3, 4)
    set(6, 0x30...0x37, 4)
    setHex(4, 5)
    setHex(5, 0)
    // 7 to 9: before the last one, two or three bytes of a character. 10 to 13: after E0, ED, F0 and F4.
    set(0, 0xC2...0xDF, 7)
    set(0, 0xE1...0xEF, 8)
    set(0, 0xE0...0xE0, 10)
    set(0, 0xED...0xED, 11)
    set(0, 0xF1...0xF3, 9)
    set(0, 0xF0...0xF0, 12)
    set(0, 0xF4...0xF4, 13)
    set(7, 0x80...0xBF, 0)
    set(8, 0x80...0xBF, 7)
    set(9, 0x80...0xBF, 8)
    set(10, 0xA0...0xBF, 7)
    set(11, 0x80...0x9F, 7)
    set(12, 0x90...0xBF, 8)
    set(13, 0x80...0x8F, 8)
    return table
  }()

  /// The state after a byte; nil where no string goes on with it.
  @inline(__always)
  static func next(_ state: Int32, _ byte: UInt8) -> Int32? {
    let next = table[Int(state) * 256 + Int(byte)]
    return next < 0 ? nil : Int32(next)
  }

  /// How a character is written in a string where only one way is allowed: raw, or by the shortest escape.
  static func escape(_ scalar: UInt32) -> [UInt8]? {
    switch scalar {
    case 0x22: Array("\\\"".utf8)
    case 0x5C: Array("\\\\".utf8)
    case 0x08: Array("\\b".utf8)
    case 0x09: Array("\\t".utf8)
    case 0x0A: Array("\\n".utf8)
    case 0x0C: Array("\\f".utf8)
    case 0x0D: Array("\\r".utf8)
    case 0..<0x20: Array("\\u00\(scalar < 0x10 ? "0" : "")\(String(scalar, radix: 16))".utf8)
    default: nil
    }
  }
}

extension ByteGraph {
  /// Adds paths for the ways in which characters of a range are written in a string.
  mutating func addString(_ range: ClosedRange<UInt32>, from start: Int32, to end: Int32) {
    var low = range.lowerBound
    while low <= range.upperBound {
      if let escape = StringContent.escape(low) {
        addText(escape, from: start, to: end)
        low += 1
        continue
      }
      // Up to the next character that is escaped, or surrogate, or the end of an encoded length.
      var high = range.upperBound
      for stop: UInt32 in [0x21, 0x5B, 0x7F, 0x7FF, 0xD7FF, 0xFFFF, 0x10FFFF] where stop >= low {
        high = min(high, stop)
      }
      if 0xD800...0xDFFF ~= low {
        low = 0xE000
        continue
      }
      addUTF8(low, high, from: start, to: end)
      low = high + 1
    }
  }

  mutating func addText(_ text: [UInt8], from start: Int32, to end: Int32) {
    var at = start
    for (index, byte) in text.enumerated() {
      let next = index == text.count - 1 ? end : state()
      connect(at, byte...byte, next)
      at = next
    }
  }

  /// Adds the encodings of characters of one length.
  private mutating func addUTF8(_ low: UInt32, _ high: UInt32, from start: Int32, to end: Int32) {
    let (a, b) = (Self.encoded(low), Self.encoded(high))
    addBytes(a[...], b[...], from: start, to: end)
  }

  private static func encoded(_ scalar: UInt32) -> [UInt8] { Array(UTF8.encode(Unicode.Scalar(scalar)!)!) }

  /// Adds all byte strings from one to another in their order; bytes after the first are continuation bytes.
  private mutating func addBytes(_ a: ArraySlice<UInt8>, _ b: ArraySlice<UInt8>, from start: Int32, to end: Int32) {
    guard a.count > 1 else { return connect(start, a.first!...b.first!, end) }
    let (restA, restB) = (a.dropFirst(), b.dropFirst())
    if a.first == b.first {
      let middle = state()
      connect(start, a.first!...a.first!, middle)
      return addBytes(restA, restB, from: middle, to: end)
    }
    var (first, last) = (Int(a.first!), Int(b.first!))
    if !restA.allSatisfy({ $0 == 0x80 }) {
      let middle = state()
      connect(start, a.first!...a.first!, middle)
      addBytes(restA, ArraySlice(repeating: 0xBF, count: restA.count), from: middle, to: end)
      first += 1
    }
    if !restB.allSatisfy({ $0 == 0xBF }) {
      let middle = state()
      connect(start, b.first!...b.first!, middle)
      addBytes(ArraySlice(repeating: 0x80, count: restB.count), restB, from: middle, to: end)
      last -= 1
    }
    guard first <= last else { return }
    let middle = state()
    connect(start, UInt8(first)...UInt8(last), middle)
    addBytes(
      ArraySlice(repeating: 0x80, count: restA.count), ArraySlice(repeating: 0xBF, count: restA.count), from: middle,
      to: end)
  }
}

/// The classes that the split patterns distinguish: `\p{L}`, `\p{N}`, `[\r\n]`, the rest of `\s`, and everything else.
package enum ScalarClass: UInt8, Sendable {
  case letter, number, newline, space, other
}

/// The class of every Unicode scalar: one table lookup for ASCII, two for the rest.
package struct ScalarClassTable: Sendable {
  package static let shared = ScalarClassTable()

  private static let blockSize = 256
  private static let blockCount = 0x110000 / blockSize

  /// The classes of U+0000…U+00FF.
  private let first: [ScalarClass]
  /// For each 256 scalars, the number of their block in `blocks`. Most have one class only and share one of four
  /// blocks.
  private let blockNumbers: [UInt16]
  private let blocks: [ScalarClass]

  private init() {
    var blocks: [ScalarClass] = []
    let uniform: [ScalarClass] = [.other, .letter, .number, .space]
    for scalarClass in uniform { blocks += repeatElement(scalarClass, count: Self.blockSize) }
    var numbers = [UInt16](repeating: 0, count: Self.blockCount)

    func assign(_ scalarClass: ScalarClass, to ranges: [UInt32]) {
      for pair in stride(from: 0, to: ranges.count, by: 2) {
        var at = Int(ranges[pair])
        let end = Int(ranges[pair + 1]) + 1
        while at < end {
          let block = at / Self.blockSize
          let blockEnd = min(end, (block + 1) * Self.blockSize)
          if blockEnd - at == Self.blockSize {
            numbers[block] = UInt16(uniform.firstIndex(of: scalarClass)!)
          } else {
            if numbers[block] == 0 {
              numbers[block] = UInt16(blocks.count / Self.blockSize)
              blocks += repeatElement(.other, count: Self.blockSize)
            }
            let base = Int(numbers[block]) * Self.blockSize
            for scalar in at..<blockEnd { blocks[base + scalar % Self.blockSize] = scalarClass }
          }
          at = blockEnd
        }
      }
    }
    assign(.letter, to: UnicodeClassRanges.letters)
    assign(.number, to: UnicodeClassRanges.numbers)
    assign(.space, to: UnicodeClassRanges.whitespace)
    assign(.newline, to: [0x0A, 0x0A, 0x0D, 0x0D])
    let start = Int(numbers[0]) * Self.blockSize
    first = Array(blocks[start..<start + Self.blockSize])
    blockNumbers = numbers
    self.blocks = blocks
  }

  package subscript(scalar: UInt32) -> ScalarClass {
    let at = Int(scalar)
    return blocks[Int(blockNumbers[at / Self.blockSize]) * Self.blockSize + at % Self.blockSize]
  }

  /// The class and length in bytes of the scalar at `start`. A byte that does not begin a valid UTF-8 sequence within
  /// `text[..<end]` counts as one scalar of class `other`, so that any bytes can be split.
  @inline(__always)
  func scalar(in text: Span<UInt8>, at start: Int, end: Int) -> (class: ScalarClass, length: Int) {
    let byte = text[start]
    if byte < 0x80 { return (first[Int(byte)], 1) }
    return longScalar(in: text, at: start, end: end)
  }

  private func longScalar(in text: Span<UInt8>, at start: Int, end: Int) -> (class: ScalarClass, length: Int) {
    let (scalar, length) = ScalarReading.longScalar(in: text, at: start, end: end)
    return scalar == ScalarSet.invalid ? (.other, 1) : (self[scalar], length)
  }
}

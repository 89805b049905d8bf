import BitNetInference
package import BitNetRandomModels
package import BitNetTernary

/// Random inputs of kernels.
extension SplitMix64 {
  package mutating func int(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }
  package mutating func chance(_ percent: Int) -> Bool { int(1...100) <= percent }
  package mutating func float(_ range: ClosedRange<Float> = -1...1) -> Float { Float.random(in: range, using: &self) }

  /// Values of one magnitude or of several.
  package mutating func floats(_ count: Int) -> [Float] {
    let magnitude: Float = [1e-3, 1, 1, 1, 50].randomElement(using: &self)!
    let isSpiky = chance(20)
    return (0..<count).map { _ in float() * magnitude * (isSpiky && chance(5) ? 100 : 1) }
  }

  /// Like `floats`, but sometimes with zeros, non-finite values, or values whose sums of squares underflow or overflow.
  package mutating func awkwardFloats(_ count: Int) -> [Float] {
    var values = floats(count)
    let odd: [Float] = [0, -0.0, .nan, .infinity, -.infinity, 1e-30, 1e30, -Float(bitPattern: 700), 127.5]
    switch int(0...5) {
    case 0: for _ in 0..<int(1...3) { values[int(0...count - 1)] = odd.randomElement(using: &self)! }
    case 1: values = values.map { _ in odd.randomElement(using: &self)! }
    case 2: values = values.map { _ in 0 }
    case 3: values = values.map { $0 * 1e-7 }
    case 4: values = values.map { ($0 * 8).rounded() / 2 }  // many ties
    default: break
    }
    return values
  }

  /// The bits of bfloat16 numbers from -1 to 1, four from each draw.
  package mutating func bfloat16Bits(_ count: Int) -> [UInt16] {
    var word: UInt64 = 0
    return (0..<count).map { index in
      word = index % 4 == 0 ? next() : word >> 16
      return (Float(Int16(truncatingIfNeeded: word)) * 0x1p-15).bfloat16Bits
    }
  }

  package mutating func norm(_ count: Int) -> [Float] { (0..<count).map { _ in float(0.5...1.5) } }

  package mutating func codes(_ count: Int) -> [Int8] {
    // Sometimes the largest possible sums.
    if chance(15) { return Array(repeating: -128, count: count) }
    return (0..<count).map { _ in Int8(truncatingIfNeeded: next()) }
  }

  /// Stacked ternary matrices. Sometimes all codes are the same.
  package mutating func matrix(rows: [Int], columns: Int) throws -> TernaryMatrix {
    let scales = rows.map { _ in Double.random(in: 0.01...3, using: &self) }
    guard chance(15) else { return try TernaryMatrix(random: rows, columns: columns, scales: scales, using: &self) }
    let buffer = AlignedBuffer(count: TernaryMatrix.byteCount(rows: rows, columns: columns))
    Tile.fillWithZeros(buffer.bytes)
    let code: Int8 = chance(50) ? -1 : 1
    var firstRow = 0
    for count in rows {
      let codes = [Int8](repeating: code, count: count * columns)
      let packer = TilePacker(columns: columns, tiles: buffer.bytes, firstRow: firstRow)
      try codes.withUnsafeBufferPointer { try packer.pack(codes: $0, rows: 0..<count) }
      firstRow += Tile.padded(count, to: Tile.rows)
    }
    return try TernaryMatrix(rows: rows, columns: columns, scales: scales, tiles: buffer.shared)
  }
}

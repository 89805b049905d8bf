/// The order of the rows of a stored matrix.
package enum RowOrder: Sendable, Equatable {
  case plain
  /// Rows of each head in pairs: the halves of a head, which the rotary embedding turns against each other, are
  /// interleaved, as llama.cpp stores the q and k projections of Llama. `headSize` is even.
  case interleavedHalves(headSize: Int)

  /// The stored row of a row of the matrix.
  package func stored(_ row: Int) -> Int {
    guard case .interleavedHalves(let size) = self else { return row }
    let within = row % size
    return row - within + within % (size / 2) * 2 + within / (size / 2)
  }

  /// The row of the matrix that a stored row is.
  package func row(stored: Int) -> Int {
    guard case .interleavedHalves(let size) = self else { return stored }
    let within = stored % size
    return stored - within + within % 2 * (size / 2) + within / 2
  }
}

// I2_S of bitnet.cpp: row-major elements in blocks of B that continue across rows, B/4 bytes each. Byte p of a block
// holds elements p, p + B/4, p + B/2 and p + 3B/4 from the high bits down, as code + 1. One Float scale follows the
// N·K/4 bytes of codes.
extension TilePacker {
  /// The block length of I2_S: 128 if quantised on x86 or by a converter, 64 if quantised on ARM.
  package enum I2SBlock: Int, Sendable, CaseIterable {
    case x86 = 128
    case arm = 64
  }

  /// The scale of a tensor in I2_S.
  ///
  /// - Parameters:
  ///   - bytes: `count / 4` bytes of codes, then at least 4 bytes.
  ///   - count: the tensor's weights.
  package static func i2sScale(_ bytes: UnsafeRawBufferPointer, count: Int) throws(TernaryError) -> Float {
    guard bytes.count >= count / 4 + 4 else { throw .byteCount(found: bytes.count, expected: count / 4 + 32) }
    let bits = bytes.loadUnaligned(fromByteOffset: count / 4, as: UInt32.self)
    return Float(bitPattern: UInt32(littleEndian: bits))
  }

  /// Repacks I2_S.
  ///
  /// - Parameters:
  ///   - i2s: the tensor: `matrixRows · columns / 4` bytes of codes, then at least 4 bytes with the scale.
  ///   - block: the block length, which files do not record; released files use 128.
  ///   - rows: the rows to pack, inside `0..<matrixRows`.
  /// - Throws: `TernaryError` for a field of 3, though bitnet.cpp reads it as 0, or a wrong size.
  package func pack(
    i2s: UnsafeRawBufferPointer, block: I2SBlock, matrixRows: Int, rows: Range<Int>, order: RowOrder = .plain
  ) throws(TernaryError) {
    let count = matrixRows * columns
    guard count % block.rawValue == 0 else { throw .blockLength(columns: columns, multipleOf: block.rawValue) }
    guard i2s.count >= count / 4 + 4 else { throw .byteCount(found: i2s.count, expected: count / 4 + 32) }
    let (size, stride) = (block.rawValue, block.rawValue / 4)
    try packRows(rows) { (row, biased) throws(TernaryError) in
      let first = order.stored(row) * columns
      var column = 0
      while column < columns {
        // Elements that share a field's place in consecutive bytes.
        let (start, within) = ((first + column) / size * stride, (first + column) % size)
        let run = min(stride - within % stride, columns - column)
        let source = i2s.baseAddress! + start + within % stride
        let shift = UInt8(6 - 2 * (within / stride))
        for index in 0..<run {
          biased[column + index] = source.load(fromByteOffset: index, as: UInt8.self) &>> shift & 3
        }
        column += run
      }
      try check(biased, row: row)
    }
  }
}

// TQ1_0 and TQ2_0 of llama.cpp: blocks of 256 elements along a row. A 16-bit float scale at the end of each block
// follows the codes.
extension TilePacker {
  package enum TQ: Sendable {
    /// 54 bytes: base-3 digits, five in a byte.
    case tq1
    /// 66 bytes: two bits each.
    case tq2

    package static let blockLength = 256
    /// The bytes of a block's scale.
    package var scaleBytes: Int { 2 }
    package var blockBytes: Int { self == .tq1 ? 54 : 66 }

    func scale(_ blocks: UnsafeRawBufferPointer, block: Int) -> Float {
      let offset = (block + 1) * blockBytes - 2
      return Float(halfBits: UInt16(littleEndian: blocks.loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
    }

    /// The scale of the first block that has one: a block of zeros has a scale of 0. 0 if no block has one.
    package func scale(of blocks: UnsafeRawBufferPointer) -> Float {
      for block in 0..<blocks.count / blockBytes {
        let own = scale(blocks, block: block)
        if own != 0 { return own }
      }
      return 0
    }
  }

  /// Repacks TQ1_0 or TQ2_0 whose blocks all have one scale. The codes of a block with the scale 0 are zero.
  ///
  /// - Parameters:
  ///   - blocks: `matrixRows · columns / 256` blocks; columns must be a multiple of 256.
  ///   - scale: the scale that all blocks must have.
  ///   - rows: the rows to pack, inside `0..<matrixRows`.
  /// - Throws: `TernaryError` for a field of 3, a block with another scale, or a wrong size.
  package func pack(
    _ kind: TQ, _ blocks: UnsafeRawBufferPointer, scale: Float, matrixRows: Int, rows: Range<Int>,
    order: RowOrder = .plain
  ) throws(TernaryError) {
    guard columns % TQ.blockLength == 0 else { throw .blockLength(columns: columns, multipleOf: TQ.blockLength) }
    let count = columns / TQ.blockLength
    try require(blocks.count, matrixRows * count * kind.blockBytes)
    try packRows(rows) { (row, biased) throws(TernaryError) in
      for block in 0..<count {
        let index = order.stored(row) * count + block
        let own = kind.scale(blocks, block: index)
        let target = biased + TQ.blockLength * block
        if own == 0 {
          target.update(repeating: 1, count: TQ.blockLength)
          continue
        }
        guard own == scale else { throw .unevenScale(row: row, found: own, expected: scale) }
        let source = blocks.baseAddress! + index * kind.blockBytes
        if kind == .tq1 { Self.readTQ1(source, into: target) } else { Self.readTQ2(source, into: target) }
      }
      try check(biased, row: row)
    }
  }

  /// Two halves of 32 bytes: byte p of half h holds elements 128h + p, + 32, + 64 and + 96 from the low bits up.
  private static func readTQ2(_ source: UnsafeRawPointer, into biased: UnsafeMutablePointer<UInt8>) {
    for group in 0..<8 {
      let (bytes, shift) = (source + 32 * (group / 4), UInt8(2 * (group % 4)))
      for index in 0..<32 {
        biased[32 * group + index] = bytes.load(fromByteOffset: index, as: UInt8.self) &>> shift & 3
      }
    }
  }

  /// 32 bytes of five digits, 16 bytes of five, 4 bytes of four. Digit i of byte p of a group of n bytes is the group's
  /// element i·n + p. A byte is a fraction of 256: multiplied by 3^i, the next digit is its whole part times 3.
  private static func readTQ1(_ source: UnsafeRawPointer, into biased: UnsafeMutablePointer<UInt8>) {
    var (first, element) = (0, 0)
    for (bytes, digits) in [(32, 5), (16, 5), (4, 4)] {
      var power: UInt8 = 1
      for _ in 0..<digits {
        for index in 0..<bytes {
          let fraction = source.load(fromByteOffset: first + index, as: UInt8.self) &* power
          biased[element + index] = UInt8(truncatingIfNeeded: (UInt16(fraction) &* 3) &>> 8)
        }
        element += bytes
        power &*= 3
      }
      first += bytes
    }
  }
}

/// Packs rows of weights in any common ternary layout into tiles.
///
/// Rows can be packed in any order and by several threads at once, because no two rows share a word.
package struct TilePacker: @unchecked Sendable {
  // Unchecked: threads write to `tiles`, but only to distinct rows.
  package let columns: Int
  private let tiles: UnsafeMutableRawBufferPointer
  private let firstRow: Int

  /// - Parameters:
  ///   - columns: the matrix's columns, 1 or more.
  ///   - tiles: room for whole tiles of all packed rows, aligned to 4 bytes.
  ///   - firstRow: the row of the tiles that receives the packed row 0: a multiple of 16.
  package init(columns: Int, tiles: UnsafeMutableRawBufferPointer, firstRow: Int = 0) {
    self.columns = columns
    self.tiles = tiles
    self.firstRow = firstRow
  }

  private var paddedColumns: Int { Tile.padded(columns, to: Tile.columns) }

  /// Calls `fill` to write each row's codes + 1, and packs them. Columns beyond the matrix are zero codes.
  func packRows<Failure: Error>(
    _ rows: Range<Int>, fill: (_ row: Int, _ biased: UnsafeMutablePointer<UInt8>) throws(Failure) -> Void
  ) throws(Failure) {
    let buffer = AlignedBuffer(count: paddedColumns)
    defer { withExtendedLifetime(buffer) {} }
    let biased = buffer.bytes.bindMemory(to: UInt8.self)
    biased.update(repeating: 1)
    for row in rows {
      try fill(row, biased.baseAddress!)
      Tile.packRow(UnsafeRawBufferPointer(biased), row: firstRow + row, into: tiles)
    }
  }

  /// Throws if one of the `columns` codes + 1 of a row is above 2, and names the largest.
  func check(_ biased: UnsafeMutablePointer<UInt8>, row: Int) throws(TernaryError) {
    var largest: UInt8 = 0
    for column in 0..<columns { largest = max(largest, biased[column]) }
    if largest > 2 { throw .invalidCode(row: row, value: largest) }
  }

  /// Packs codes in {-1, 0, 1}, row-major `[rows][columns]`.
  ///
  /// - Throws: `TernaryError.invalidCode` for any other code.
  package func pack(codes: UnsafeBufferPointer<Int8>, rows: Range<Int>) throws(TernaryError) {
    try packRows(rows) { (row, biased) throws(TernaryError) in
      let source = codes.baseAddress! + (row - rows.lowerBound) * columns
      for column in 0..<columns { biased[column] = UInt8(bitPattern: source[column] &+ 1) }
      try check(biased, row: row)
    }
  }

  /// Packs float weights through the absmean quantiser.
  ///
  /// - Parameter weights: writes the `columns` master weights of a row.
  package func pack(
    rows: Range<Int>, quantizer: AbsmeanQuantizer, weights: (_ row: Int, _ into: UnsafeMutablePointer<Float>) -> Void
  ) {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: columns) { line in
      let values = line.baseAddress!
      packRows(rows) { (row, biased) throws(Never) in
        weights(row, values)
        for column in 0..<columns { biased[column] = UInt8(bitPattern: quantizer.code(values[column]) &+ 1) }
      }
    }
  }

  /// Repacks the Hugging Face layout: bytes `[ceil(N/4)][K]`, bits 2j…2j+1 of byte (r, c) hold code + 1 of row
  /// `j·ceil(N/4) + r`, column c.
  ///
  /// - Parameters:
  ///   - packed: `ceil(matrixRows/4) · columns` bytes.
  ///   - matrixRows: rows of the whole matrix.
  ///   - rows: the rows to pack, inside `0..<matrixRows`.
  /// - Throws: `TernaryError.invalidCode` for a field of 3, which no known writer produces.
  package func pack(huggingFace packed: UnsafeRawBufferPointer, matrixRows: Int, rows: Range<Int>) throws(TernaryError)
  {
    let quarter = (matrixRows + 3) / 4
    try require(packed.count, quarter * columns)
    try packRows(rows) { (row, biased) throws(TernaryError) in
      let source = packed.baseAddress! + row % quarter * columns
      let shift = UInt8(2 * (row / quarter))
      for column in 0..<columns { biased[column] = source.load(fromByteOffset: column, as: UInt8.self) &>> shift & 3 }
      try check(biased, row: row)
    }
  }

  /// The rows of bytes that hold rows of a matrix in the Hugging Face layout, where row r is in row `r % count`.
  ///
  /// - Parameters:
  ///   - rows: rows of the matrix.
  ///   - count: rows of bytes, 1 or more.
  package static func packedRows(of rows: Range<Int>, count: Int) -> [Range<Int>] {
    guard rows.count < count else { return [0..<count] }
    let first = rows.lowerBound % count
    let end = first + rows.count
    return end <= count ? [first..<end] : [first..<count, 0..<end - count]
  }

  func require(_ found: Int, _ expected: Int) throws(TernaryError) {
    guard found == expected else { throw .byteCount(found: found, expected: expected) }
  }
}

import BitNetTernary

/// Projections with the same input, stacked in one ternary matrix: q, k and v; gate and up; or a single one.
struct ProjectionStack: Sendable {
  /// The name of the stack in the converted form, without a suffix.
  let name: String
  let parts: [StoredProjection]

  var rows: [Int] { parts.map(\.rows) }
  var columns: Int { parts[0].columns }
  var byteCount: Int { TernaryMatrix.byteCount(rows: rows, columns: columns) }

  /// The stack with its scales, which are read, or are the means of master weights.
  func quantized() throws(ModelFileError) -> QuantizedStack {
    for part in parts { part.weight.prefetch() }
    var scales: [Double] = []
    var quantizers: [AbsmeanQuantizer?] = []
    for part in parts {
      switch part.form {
      case .packed(let scale), .codes(let scale), .i2s(let scale, _), .tq(let scale, _, _):
        scales.append(scale)
        quantizers.append(nil)
      case .master:
        let quantizer = try part.absmeanQuantizer()
        scales.append(quantizer.scale)
        quantizers.append(quantizer)
      }
    }
    return QuantizedStack(stack: self, scales: scales, quantizers: quantizers)
  }
}

/// A stack whose scales are known, ready to be packed.
struct QuantizedStack: Sendable {
  let stack: ProjectionStack
  /// One scale for each part.
  let scales: [Double]
  fileprivate let quantizers: [AbsmeanQuantizer?]

  /// Packs a range of the stacked rows on all cores.
  ///
  /// - Parameters:
  ///   - rows: rows of the stack including each part's padding, both ends multiples of 16.
  ///   - tiles: exactly the tiles of these rows.
  func pack(rows: Range<Int>, into tiles: UnsafeMutableRawBufferPointer) throws(ModelFileError) {
    let destination = TileDestination(tiles: tiles, firstRow: rows.lowerBound, columns: stack.columns)
    var pieces: [(part: Int, start: Int, rows: Range<Int>)] = []
    var start = 0
    for (index, part) in stack.parts.enumerated() {
      let end = start + Tile.padded(part.rows, to: Tile.rows)
      var row = max(rows.lowerBound, start)
      while row < min(rows.upperBound, end) {
        let next = min(row + part.rowsPerPiece, rows.upperBound, end)
        pieces.append((index, start, row - start..<next - start))
        row = next
      }
      start = end
    }
    let work = pieces
    try concurrently(work.count) { (index) throws(ModelFileError) in
      let (number, start, padded) = work[index]
      let part = stack.parts[number]
      let own = padded.clamped(to: 0..<part.rows)
      if own.upperBound < padded.upperBound { destination.fillPadding(beforeRow: start + padded.upperBound) }
      try part.pack(rows: own, quantizer: quantizers[number], packer: destination.packer(firstRow: start))
    }
    if rows.upperBound == start {
      for part in stack.parts { part.weight.release(0..<part.weight.byteCount) }
    }
  }
}

/// The tiles of a range of a stack's rows. Several threads fill them, each its own rows.
private struct TileDestination: @unchecked Sendable {
  let tiles: UnsafeMutableRawBufferPointer
  /// The stacked row at which `tiles` starts.
  let firstRow: Int
  let columns: Int

  /// A packer whose row 0 is the given row of the stack, which may be before these tiles.
  func packer(firstRow row: Int) -> TilePacker { TilePacker(columns: columns, tiles: tiles, firstRow: row - firstRow) }

  /// Fills the tiles that end before a row with zero codes: the last tiles of a part, whose padding rows are never
  /// packed.
  func fillPadding(beforeRow row: Int) {
    let size = Tile.byteCount(rows: Tile.rows, columns: columns)
    let end = (row - firstRow) / Tile.rows * size
    Tile.fillWithZeros(UnsafeMutableRawBufferPointer(rebasing: tiles[end - size..<end]))
  }
}

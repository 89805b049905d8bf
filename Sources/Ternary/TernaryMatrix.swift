/// A ternary matrix in tiles: one or more stacked weight matrices of the same width, each with its own scale.
///
/// Stacking lets q, k and v (or gate and up) share one pass over the activations. Each part starts on a tile boundary;
/// padding rows and columns are zero codes.
package struct TernaryMatrix: Sendable {
  /// One of the stacked matrices.
  package struct Part: Sendable, Equatable {
    /// The part's first row in the stacked matrix: a multiple of 16.
    package let firstRow: Int
    /// Rows (outputs) of the part, without padding.
    package let rows: Int
    /// The weight that code 1 represents. Double, because a stored reciprocal has no exact Float.
    package let scale: Double
  }

  package let parts: [Part]
  /// Columns (inputs), without padding.
  package let columns: Int
  /// The tiles, `[paddedRows/16][paddedColumns/32]` of 128 bytes, aligned to at least 4 bytes.
  package private(set) var tiles: SharedBytes

  /// Rows of all parts, each padded to whole tiles.
  package var paddedRows: Int { parts.reduce(0) { $0 + Tile.padded($1.rows, to: Tile.rows) } }
  /// Columns padded to whole tiles.
  package var paddedColumns: Int { Tile.padded(columns, to: Tile.columns) }
  package var tilesPerRow: Int { paddedColumns / Tile.columns }

  /// - Parameters:
  ///   - rows: rows of each stacked part, 1 or more.
  ///   - scales: one finite scale above zero for each part.
  ///   - tiles: exactly `byteCount(rows:columns:)` bytes.
  /// - Throws: `TernaryError` when a count or a scale is out of range, or the tiles have another size or are not
  ///   aligned to 4 bytes.
  package init(rows: [Int], columns: Int, scales: [Double], tiles: SharedBytes) throws(TernaryError) {
    guard columns > 0, !rows.isEmpty, rows.allSatisfy({ $0 > 0 }), rows.count == scales.count else {
      throw .shape(rows: rows, columns: columns, scales: scales.count)
    }
    if let bad = scales.first(where: { !($0.isFinite && $0 > 0) }) { throw .scale(bad) }
    let expected = Self.byteCount(rows: rows, columns: columns)
    guard tiles.count == expected else { throw .byteCount(found: tiles.count, expected: expected) }
    let misalignment = Int(bitPattern: tiles.baseAddress) % 4
    guard misalignment == 0 else { throw .misaligned(by: misalignment) }
    var firstRow = 0
    var parts: [Part] = []
    for (count, scale) in zip(rows, scales) {
      parts.append(Part(firstRow: firstRow, rows: count, scale: scale))
      firstRow += Tile.padded(count, to: Tile.rows)
    }
    self.parts = parts
    self.columns = columns
    self.tiles = tiles
  }

  /// Bytes of a stacked matrix.
  package static func byteCount(rows: [Int], columns: Int) -> Int {
    rows.reduce(0) { $0 + Tile.byteCount(rows: $1, columns: columns) }
  }

  /// The tiles from a stacked row on: `row` a multiple of 16, inside `0...paddedRows`. Valid only while this
  /// matrix is alive.
  package func tiles(fromRow row: Int) -> UnsafeRawPointer { tiles.baseAddress + byteOffset(ofRow: row) }

  /// The byte offset of a stacked row's tiles. `row` is a multiple of 16 inside `0...paddedRows`.
  package func byteOffset(ofRow row: Int) -> Int { row / Tile.rows * tilesPerRow * Tile.bytes }

  /// Replaces the memory of the tiles by a copy of them.
  package mutating func replaceTiles(with copy: SharedBytes) {
    precondition(copy.count == tiles.count && UInt(bitPattern: copy.baseAddress) % 4 == 0, "a matrix keeps its size")
    tiles = copy
  }

  /// The code of one weight: -1, 0 or 1.
  package func code(row: Int, column: Int) -> Int8 {
    let tile = row / Tile.rows * tilesPerRow + column / Tile.columns
    let index = tile * Tile.words + Tile.word(row: row % Tile.rows, column: column % Tile.columns)
    let word = UInt32(littleEndian: tiles.baseAddress.load(fromByteOffset: 4 * index, as: UInt32.self))
    return Int8(word >> UInt32(Tile.bit(element: column % 16)) & 3) - 2
  }

  /// Writes the codes + 1 of a stacked row: 0, 1 or 2.
  ///
  /// - Parameter biased: room for `paddedColumns` codes; those of padding are 1.
  package func unpack(row: Int, into biased: UnsafeMutablePointer<UInt8>) {
    var word = tiles(fromRow: row / Tile.rows * Tile.rows) + 4 * Tile.word(row: row % Tile.rows, column: 0)
    var target = UnsafeMutableRawPointer(biased)
    for _ in 0..<tilesPerRow {
      for half in 0..<2 {
        let packed = UInt32(littleEndian: word.load(fromByteOffset: 32 * half, as: UInt32.self)) &- 0x5555_5555
        for group in 0..<4 {
          target.storeBytes(of: (packed >> UInt32(2 * group) & 0x0303_0303).littleEndian, as: UInt32.self)
          target += 4
        }
      }
      word += Tile.bytes
    }
  }

  /// The codes of one part, row-major `[rows][columns]`.
  package func codes(ofPart part: Int) -> [Int8] {
    let part = parts[part]
    return (0..<part.rows).flatMap { row in (0..<columns).map { code(row: part.firstRow + row, column: $0) } }
  }

  /// The exact product of one stacked row with int8 activations: the specification of every W2A8 kernel.
  ///
  /// - Parameter activations: `paddedColumns` values; those at padding columns are ignored because their weights are 0.
  package func dot(row: Int, activations: UnsafePointer<Int8>) -> Int32 {
    var word = tiles(fromRow: row / Tile.rows * Tile.rows) + 4 * Tile.word(row: row % Tile.rows, column: 0)
    var activation = activations
    var sum: Int32 = 0
    for _ in 0..<tilesPerRow {
      for half in 0..<2 {
        let codes = UInt32(littleEndian: word.load(fromByteOffset: 32 * half, as: UInt32.self))
        for element in 0..<16 {
          let code = Int32(codes >> UInt32(Tile.bit(element: element)) & 3) - 2
          sum &+= code &* Int32(activation[element])
        }
        activation += 16
      }
      word += Tile.bytes
    }
    return sum
  }

  /// The row of the first word that has a field of 0, which is no code; nil if all fields are 1, 2 or 3.
  package func firstInvalidRow() -> Int? {
    for tile in 0..<tiles.count / Tile.bytes {
      let words = tiles.baseAddress + tile * Tile.bytes
      func valid(_ t: Int) -> UInt32 {
        let word = UInt32(littleEndian: words.load(fromByteOffset: 4 * t, as: UInt32.self))
        return word | word >> 1
      }
      // Check a whole tile without an early exit, so that the compiler vectorises the loop.
      var all = ~UInt32(0)
      for t in 0..<Tile.words { all &= valid(t) }
      if all & 0x5555_5555 != 0x5555_5555 {
        let t = (0..<Tile.words).first { valid($0) & 0x5555_5555 != 0x5555_5555 } ?? 0
        return tile / tilesPerRow * Tile.rows + t / 16 * 8 + t % 8
      }
    }
    return nil
  }
}

/// An error in ternary data.
package enum TernaryError: Error, Equatable, CustomStringConvertible {
  case shape(rows: [Int], columns: Int, scales: Int)
  case scale(Double)
  case byteCount(found: Int, expected: Int)
  /// Bytes from a multiple of four to the address of the data.
  case misaligned(by: Int)
  case invalidCode(row: Int, value: UInt8)
  case unevenScale(row: Int, found: Float, expected: Float)
  case blockLength(columns: Int, multipleOf: Int)

  package var description: String {
    switch self {
    case .shape(let rows, let columns, let scales):
      "a ternary matrix has rows \(rows), \(columns) columns and \(scales) scales; "
        + "expected sizes above 0 and one scale for each part"
    case .scale(let value): "a weight scale is \(value); expected a finite number above 0"
    case .byteCount(let found, let expected): "ternary data has \(found) bytes; expected \(expected)"
    case .misaligned(let bytes): "ternary data is \(bytes) bytes off a multiple of 4; expected an aligned address"
    case .invalidCode(let row, let value):
      "a packed code in row \(row) is \(value); expected 0, 1 or 2 (for -1, 0, +1)"
    case .unevenScale(let row, let found, let expected):
      "the scale of a block in row \(row) is \(found); expected \(expected), the scale of the tensor's first block"
    case .blockLength(let columns, let multiple):
      "the row length is \(columns); expected rows that divide into blocks of \(multiple)"
    }
  }
}

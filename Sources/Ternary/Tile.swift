/// The 16×32 tile, the only layout in which ternary weights are stored, mapped, uploaded and multiplied.
///
/// A matrix of N rows (outputs) × K columns (inputs) of codes in {-1, 0, +1} is cut into tiles of 16 rows × 32 columns,
/// ordered `[N/16][K/32]`. A tile is 32 little-endian 32-bit words, 128 bytes. Word t (0…31) holds row `8·(t/16) +
/// t%8`, columns `16·((t%16)/8) … +15` of the tile. In a word, element e (0…15) is stored as code + 2 at bit `8·(e%4) +
/// 2·(e/4)`, so that `(word >> 2i) & 0x03030303` gives elements 4i…4i+3 as four bytes.
package enum Tile {
  package static let rows = 16
  package static let columns = 32
  package static let words = 32
  package static let bytes = 128

  /// `count` rounded up to whole tiles of `unit` rows or columns.
  @inlinable
  package static func padded(_ count: Int, to unit: Int) -> Int { (count + unit - 1) / unit * unit }

  /// Bytes of a matrix of `rows` × `columns`, both padded to whole tiles.
  @inlinable
  package static func byteCount(rows: Int, columns: Int) -> Int {
    padded(rows, to: Self.rows) / Self.rows * (padded(columns, to: Self.columns) / Self.columns) * bytes
  }

  /// The word of a tile that holds a row (0…15) and a column (0…31).
  @inlinable
  static func word(row: Int, column: Int) -> Int { row / 8 * 16 + column / 16 * 8 + row % 8 }

  /// The bit of a word at which element `element` (0…15) starts.
  @inlinable
  static func bit(element: Int) -> Int { 8 * (element % 4) + 2 * (element / 4) }

  /// A word of sixteen zero codes, which fills padding.
  static let zeroWord: UInt32 = 0xAAAA_AAAA

  /// Fills whole tiles with zero codes.
  package static func fillWithZeros(_ tiles: UnsafeMutableRawBufferPointer) {
    let words = tiles.bindMemory(to: UInt32.self)
    for index in words.indices { words[index] = zeroWord.littleEndian }
  }

  /// Packs one row of a matrix.
  ///
  /// - Parameters:
  ///   - biased: codes + 1, each 0, 1 or 2, as many as the matrix has columns, padded with ones to a multiple of 32.
  ///   - row: the row within the tiled matrix.
  ///   - tiles: the whole matrix, aligned to 4 bytes; its rows have `biased.count / 32` tiles.
  static func packRow(_ biased: UnsafeRawBufferPointer, row: Int, into tiles: UnsafeMutableRawBufferPointer) {
    let tilesPerRow = biased.count / columns
    var source = biased.baseAddress!
    var target = tiles.baseAddress! + (row / rows * tilesPerRow * words + word(row: row % rows, column: 0)) * 4
    for _ in 0..<tilesPerRow {
      for half in 0..<2 {
        var packed: UInt32 = 0x5555_5555  // code + 1 becomes code + 2 in all sixteen fields: no field carries
        for group in 0..<4 {
          let four = UInt32(littleEndian: (source + 4 * group).loadUnaligned(as: UInt32.self))
          packed &+= four << UInt32(2 * group)
        }
        target.storeBytes(of: packed.littleEndian, toByteOffset: 32 * half, as: UInt32.self)
        source += 16
      }
      target += bytes
    }
  }
}

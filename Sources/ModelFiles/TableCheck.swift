import BitNetInference
import BitNetTernary

extension EmbeddingTable {
  /// The size in bytes below which a table in bfloat16 is searched for values that are not finite when it is loaded. A
  /// larger one would have to be read from the disk as a whole, which takes seconds; `inspect --verify` and conversions
  /// search it. Values that are converted while they are loaded are always checked.
  static let searchedByDefault = 64_000_000

  /// - Parameters:
  ///   - name: the tensor's name; `file` is that of its file.
  /// - Throws: `ModelFileError` naming the first value that is not finite.
  func requireFinite(name: String, file: String) throws(ModelFileError) {
    for row in 0..<rows {
      guard let column = Self.firstNonFinite(row: self.row(row)) else { continue }
      let value = Float(bfloat16Bits: UInt16(littleEndian: self.row(row)[column]))
      throw ModelFileError(
        tensor: name, file: file, finding: "holds \(value) in row \(row), column \(column)", expected: "finite values")
    }
  }

  /// The position of the first of a row's little-endian bfloat16 values that is not finite; nil if all are.
  static func firstNonFinite(row: UnsafeBufferPointer<UInt16>) -> Int? {
    func magnitude(_ value: UInt16) -> UInt16 { UInt16(littleEndian: value) & 0x7FFF }
    // The largest value alone says whether there is one: this loop has no branches.
    var largest: UInt16 = 0
    for value in row { largest = max(largest, magnitude(value)) }
    return largest < 0x7F80 ? nil : row.firstIndex { magnitude($0) >= 0x7F80 }
  }
}

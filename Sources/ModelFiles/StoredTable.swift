import BitNetInference
import BitNetTernary

/// An embedding or LM head as a checkpoint stores it: `[rows, columns]` of a float type, or of a quantised
/// type of GGUF.
struct StoredTable: Sendable {
  let tensor: StoredTensor
  let rows: Int
  let columns: Int

  /// - Throws: `ModelFileError` when the tensor is missing or is not a float table of this shape.
  init(name: String, rows: Int, columns: Int, tensors: any TensorSource) throws(ModelFileError) {
    guard let tensor = tensors[name] else {
      throw ModelFileError(
        tensor: name, file: tensors.name, finding: "is missing", expected: "shape [\(rows), \(columns)]")
    }
    if tensor.type == .u8 || tensor.type == .i8 {
      throw ModelFileError(
        .unsupported, file: tensor.file.name, subject: "tensor \(name)",
        finding: "is quantised (\(tensor.type.rawValue))",
        expected: "BF16, F16 or F32: quantised embeddings and LM heads are not supported")
    }
    try tensor.require(StoredTensor.floatTypes + QuantisedBlocks.types, shape: [rows, columns])
    self.tensor = tensor
    self.rows = rows
    self.columns = columns
  }

  /// The table in bfloat16: the file's own bytes if they are bfloat16, else values rounded to it (to nearest, ties to
  /// even).
  ///
  /// - Parameter searching: whether bytes that are used as they are are searched for values that are not finite; nil: in
  ///   tables below ``EmbeddingTable/searchedByDefault``.
  /// - Throws: `ModelFileError` naming a value that is not finite in bfloat16.
  func table(searching: Bool? = nil) throws(ModelFileError) -> EmbeddingTable {
    let aligned = UInt(bitPattern: tensor.bytes.baseAddress) % 2 == 0
    let bytes: SharedBytes
    if tensor.type == .bf16 && aligned {
      bytes = tensor.bytes
    } else {
      let buffer = AlignedBuffer(count: rows * columns * 2)
      try round(rows: 0..<rows, into: buffer.bytes)
      bytes = buffer.shared
    }
    let table: EmbeddingTable
    do throws(ModelWeightsError) {
      table = try EmbeddingTable(name: tensor.name, rows: rows, columns: columns, bytes: bytes)
    } catch {
      throw ModelFileError(weights: error, file: tensor.file.name)
    }
    if tensor.type == .bf16, aligned, searching ?? (bytes.count < EmbeddingTable.searchedByDefault) {
      try table.requireFinite(name: tensor.name, file: tensor.file.name)
    }
    return table
  }

  /// Writes rows as little-endian bfloat16.
  ///
  /// - Parameter destination: `rows.count · columns · 2` bytes, aligned to 2.
  /// - Throws: `ModelFileError` naming the first value that is not finite.
  func round(rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(ModelFileError) {
    let bits = destination.bindMemory(to: UInt16.self)
    if tensor.type == .bf16 {
      let start = tensor.bytes.baseAddress + rows.lowerBound * columns * 2
      destination.copyMemory(from: UnsafeRawBufferPointer(start: start, count: rows.count * columns * 2))
      for (offset, row) in rows.enumerated() {
        let values = UnsafeBufferPointer(
          UnsafeMutableBufferPointer(rebasing: bits[offset * columns..<(offset + 1) * columns]))
        guard let column = EmbeddingTable.firstNonFinite(row: values) else { continue }
        throw refusal(row: row, column: column, Float(bfloat16Bits: UInt16(littleEndian: values[column])))
      }
      return
    }
    let line = AlignedBuffer(count: columns * 4)
    defer { withExtendedLifetime(line) {} }
    let values = line.bytes.bindMemory(to: Float.self)
    for (offset, row) in rows.enumerated() {
      tensor.read(from: row * columns, count: columns, into: values.baseAddress!)
      var largest: UInt16 = 0
      for column in 0..<columns {
        let rounded = values[column].bfloat16Bits
        largest = max(largest, rounded & 0x7FFF)
        bits[offset * columns + column] = rounded.littleEndian
      }
      guard largest < 0x7F80 else {
        var column = 0
        while values[column].bfloat16Bits & 0x7FFF < 0x7F80 { column += 1 }
        throw refusal(row: row, column: column, values[column])
      }
    }
  }

  private func refusal(row: Int, column: Int, _ value: Float) -> ModelFileError {
    let type = value.isFinite ? ", which is not finite in bfloat16" : ""
    return tensor.refusal("holds \(value) in row \(row), column \(column)\(type)", expected: "finite values")
  }
}

import BitNetTernary

/// Writes a checkpoint's tensors in the converted form, in the order of the layout.
struct ConvertedWriter {
  /// The largest number of output bytes in memory.
  static let largestBuffer = 64 << 20

  private let file: OutputFile
  private let total: Int
  private let progress: ((ConversionProgress) -> Void)?
  private var stacks: [String: ProjectionStack] = [:]
  private var tables: [String: StoredTable] = [:]
  private var norms: [String: StoredNorm] = [:]
  /// Known once the tiles are written.
  private var scales: [String: [Double]] = [:]

  init(checkpoint: Checkpoint, file: OutputFile, total: Int, progress: ((ConversionProgress) -> Void)?) {
    self.file = file
    self.total = total
    self.progress = progress
    tables[ConvertedForm.embedding] = checkpoint.embedding
    tables[ConvertedForm.head] = checkpoint.head
    norms[ConvertedForm.finalNorm] = checkpoint.finalNorm
    for (index, layer) in checkpoint.layers.enumerated() {
      for stack in layer.stacks { stacks[stack.name] = stack }
      for (role, norm) in layer.norms { norms[ConvertedForm.layerPrefix(index) + ConvertedForm.name(of: role)] = norm }
    }
  }

  mutating func write(_ tensor: ConvertedLayout.Tensor) throws(ModelFileError) {
    if let stack = stacks[tensor.name.withoutSuffix(".tiles")] {
      try write(tilesOf: stack, tensor)
    } else if let values = scales[tensor.name.withoutSuffix(".scales")] {
      try file.append(values.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) })
    } else if let table = tables[tensor.name] {
      try write(table, tensor)
    } else if let norm = norms[tensor.name] {
      try file.append(try norm.floats().flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) })
      norm.tensor.release(0..<norm.byteCount)
    } else {
      try file.append([UInt8](repeating: 0, count: tensor.range.count))
    }
    report(tensor)
  }

  private mutating func write(tilesOf stack: ProjectionStack, _ tensor: ConvertedLayout.Tensor) throws(ModelFileError) {
    let quantized = try stack.quantized()
    scales[stack.name] = quantized.scales
    let rows = stack.rows.reduce(0) { $0 + Tile.padded($1, to: Tile.rows) }
    let bytesPerTileRow = Tile.byteCount(rows: Tile.rows, columns: stack.columns)
    let step = max(1, Self.largestBuffer / bytesPerTileRow) * Tile.rows
    let buffer = AlignedBuffer(count: min(rows, step) / Tile.rows * bytesPerTileRow)
    defer { withExtendedLifetime(buffer) {} }
    for start in stride(from: 0, to: rows, by: step) {
      let range = start..<min(rows, start + step)
      let tiles = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<(range.count / Tile.rows * bytesPerTileRow)])
      try quantized.pack(rows: range, into: tiles)
      try file.append(UnsafeRawBufferPointer(tiles))
      report(tensor)
    }
  }

  private func write(_ table: StoredTable, _ tensor: ConvertedLayout.Tensor) throws(ModelFileError) {
    let bytesPerRow = table.columns * 2
    let step = max(1, (Self.largestBuffer / 4) / bytesPerRow)
    let buffer = AlignedBuffer(count: min(table.rows, step) * bytesPerRow)
    defer { withExtendedLifetime(buffer) {} }
    for start in Swift.stride(from: 0, to: table.rows, by: step) {
      let rows = start..<min(table.rows, start + step)
      let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<(rows.count * bytesPerRow)])
      try table.round(rows: rows, into: bytes)
      try file.append(UnsafeRawBufferPointer(bytes))
      table.tensor.release(elements: rows.lowerBound * table.columns..<rows.upperBound * table.columns)
      report(tensor)
    }
  }

  private func report(_ tensor: ConvertedLayout.Tensor) {
    progress?(ConversionProgress(tensor: tensor.name, writtenBytes: file.count, totalBytes: total))
  }
}

extension String {
  /// The string without the suffix, if it has it.
  fileprivate func withoutSuffix(_ suffix: String) -> String {
    hasSuffix(suffix) ? String(dropLast(suffix.count)) : self
  }
}

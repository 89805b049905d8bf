import BitNetTernary

/// The ternary weights of a projection in the form in which a checkpoint stores them.
struct StoredProjection: Sendable {
  enum Form: Sendable {
    /// Four codes in a byte, with a scale.
    case packed(scale: Double)
    /// One code in each element, with a scale.
    case codes(scale: Double)
    /// bitnet.cpp's I2_S.
    case i2s(scale: Double, block: TilePacker.I2SBlock)
    /// llama.cpp's TQ1_0 or TQ2_0, all blocks with the same scale. The scale by which codes are multiplied differs
    /// from it if the file has a factor or a more exact value of it.
    case tq(scale: Double, blockScale: Float, kind: TilePacker.TQ)
    /// Float weights that become codes by absmean.
    case master
  }

  let weight: StoredTensor
  let rows: Int
  let columns: Int
  let form: Form
  /// The order of the stored rows.
  let order: RowOrder
  /// The bytes of the scales in the file.
  let scaleByteCount: Int

  /// The bytes of the codes or masters in the file.
  var codeByteCount: Int {
    switch form {
    case .packed, .codes, .master: weight.byteCount
    case .i2s: weight.type.byteCount(ofElements: rows * columns)
    case .tq(_, _, let kind): weight.byteCount - rows * columns / TilePacker.TQ.blockLength * kind.scaleBytes
    }
  }

  /// A projection of a Hugging Face checkpoint.
  ///
  /// - Parameters:
  ///   - name: the weight's name, ending in `.weight`; its scale, if it has one, is beside it under `<name>_scale`.
  ///   - meaning: the meaning of the checkpoint's scales; nil if it does not say.
  /// - Throws: `ModelFileError` when a tensor is missing, has another type or shape than these, or has an unusable
  ///   scale.
  init(
    name: String, rows: Int, columns: Int, tensors: any TensorSource, meaning: HuggingFaceConfiguration.ScaleMeaning?
  ) throws(ModelFileError) {
    guard let weight = tensors[name] else {
      throw ModelFileError(
        tensor: name, file: tensors.name, finding: "is missing", expected: "shape [\(rows), \(columns)]")
    }
    self.weight = weight
    self.rows = rows
    self.columns = columns
    order = .plain
    scaleByteCount = tensors[name + "_scale"]?.byteCount ?? 0
    let scale = try tensors[name + "_scale"].map { (tensor) throws(ModelFileError) in
      try Self.scale(tensor, meaning: meaning)
    }
    let packedShape = [(rows + 3) / 4, columns]
    switch (weight.type, scale) {
    case (.u8, let scale?) where weight.shape == packedShape:
      form = .packed(scale: scale)
    case (.u8, let scale?), (.i8, let scale?), (.bf16, let scale?), (.f16, let scale?), (.f32, let scale?):
      guard weight.shape == [rows, columns] else {
        throw weight.refusal(
          "has shape \(weight.shape)",
          expected: weight.type == .u8 ? "\(packedShape), four rows in a byte" : "\([rows, columns])")
      }
      form = .codes(scale: scale)
    case (.bf16, nil), (.f16, nil), (.f32, nil):
      try weight.require(StoredTensor.floatTypes, shape: [rows, columns])
      form = .master
    case (.u8, nil), (.i8, nil):
      throw weight.refusal(
        "has dtype \(weight.type.rawValue) without a scale", expected: "tensor \(name)_scale beside it")
    default:
      throw weight.refusal("has dtype \(weight.type.rawValue)", expected: "U8, I8, BF16, F16 or F32")
    }
  }

  /// The scale by which codes are multiplied. Double, so that a reciprocal is not rounded twice.
  private static func scale(
    _ tensor: StoredTensor, meaning: HuggingFaceConfiguration.ScaleMeaning?
  ) throws(ModelFileError) -> Double {
    guard tensor.shape == [1] || tensor.shape.isEmpty else {
      throw tensor.refusal("has shape \(tensor.shape)", expected: "[1]: one scale for the whole tensor")
    }
    try tensor.require(StoredTensor.floatTypes, shape: tensor.shape)
    let value = Double(try tensor.floats()[0])
    guard value > 0 else { throw tensor.refusal("is \(value)", expected: "a scale above zero") }
    switch meaning {
    case .multiply: return value
    case .divide: return 1 / value
    case nil:
      throw tensor.refusal(
        "has no defined meaning", expected: "a quantization_config with linear_class in config.json, which decides it")
    }
  }
}

// MARK: - Quantising

extension StoredProjection {
  /// The memory of a tensor larger than this is released in pieces while it is read; that of a smaller one after all of
  /// it is read.
  static let largeTensor = 64 << 20

  var isLarge: Bool { weight.byteCount > Self.largeTensor }

  /// The number of rows that make a thread worthwhile.
  var rowsPerPiece: Int { max(16, (1 << 18) / columns / 16 * 16) }

  private func elements(ofRows rows: Range<Int>) -> Range<Int> {
    rows.lowerBound * columns..<rows.upperBound * columns
  }

  /// The quantiser of master weights. The sum is taken row by row in a fixed order, whatever the number of threads.
  ///
  /// - Throws: `ModelFileError` naming the first weight that is not finite.
  func absmeanQuantizer() throws(ModelFileError) -> AbsmeanQuantizer {
    let piece = rowsPerPiece
    let sums = AlignedBuffer(count: rows * MemoryLayout<Double>.stride)
    defer { withExtendedLifetime(sums) {} }
    let rowSums = SharedRowSums(sums.bytes.bindMemory(to: Double.self))
    try concurrently((rows + piece - 1) / piece) { (index) throws(ModelFileError) in
      let range = index * piece..<min(rows, (index + 1) * piece)
      let line = AlignedBuffer(count: columns * 4)
      defer { withExtendedLifetime(line) {} }
      let values = line.bytes.bindMemory(to: Float.self).baseAddress!
      for row in range {
        weight.read(from: row * columns, count: columns, into: values)
        let sum = absoluteSum(values, count: columns)
        guard sum.isFinite else {
          let column = (0..<columns).first { !values[$0].isFinite } ?? 0
          throw weight.refusal("holds \(values[column]) in row \(row), column \(column)", expected: "finite weights")
        }
        rowSums.values[row] = sum
      }
      if isLarge { weight.release(elements: elements(ofRows: range)) }
    }
    return AbsmeanQuantizer(absoluteSum: rowSums.values.reduce(0, +), count: rows * columns)
  }

  /// Packs rows into tiles.
  ///
  /// - Parameters:
  ///   - rows: inside `0..<self.rows`.
  ///   - quantizer: for the form `.master`; the others need none.
  /// - Throws: `ModelFileError` naming the row of a code that is not ternary.
  func pack(rows: Range<Int>, quantizer: AbsmeanQuantizer?, packer: TilePacker) throws(ModelFileError) {
    switch form {
    case .packed:
      try packing { (raw) throws(TernaryError) in
        try packer.pack(huggingFace: raw, matrixRows: self.rows, rows: rows)
      }
      // The four rows of a byte are far apart, so each quarter of the bytes is read four times.
      if isLarge {
        for stored in TilePacker.packedRows(of: rows, count: weight.shape[0]) {
          weight.release(elements: elements(ofRows: stored))
        }
      }
    case .codes:
      try pack(codesOfRows: rows, packer: packer)
      if isLarge { weight.release(elements: elements(ofRows: rows)) }
    case .i2s(_, let block):
      try packing { (raw) throws(TernaryError) in
        try packer.pack(i2s: raw, block: block, matrixRows: self.rows, rows: rows, order: order)
      }
      if isLarge { weight.release(elements: elements(ofRows: rows)) }
    case .tq(_, let blockScale, let kind):
      try packing { (raw) throws(TernaryError) in
        try packer.pack(kind, raw, scale: blockScale, matrixRows: self.rows, rows: rows, order: order)
      }
      if isLarge { weight.release(elements: elements(ofRows: rows)) }
    case .master:
      guard let quantizer else { preconditionFailure("a master needs its quantiser") }
      packer.pack(rows: rows, quantizer: quantizer) { row, values in
        weight.read(from: row * columns, count: columns, into: values)
      }
      if isLarge { weight.release(elements: elements(ofRows: rows)) }
    }
  }

  /// Calls `body` with the weight's bytes; its error becomes the tensor's.
  private func packing(_ body: (UnsafeRawBufferPointer) throws(TernaryError) -> Void) throws(ModelFileError) {
    do throws(TernaryError) {
      try weight.bytes.withUnsafeBytes(body)
    } catch {
      switch error {
      case .invalidCode(let row, let code):
        throw weight.refusal("holds the code \(code) in row \(row)", expected: "0, 1 or 2 (for -1, 0, +1)")
      case .unevenScale(let row, let found, let expected):
        throw weight.refusal(
          "has blocks of different scales: \(found) in row \(row)",
          expected: "\(expected) in all, one scale for the whole tensor; scales of groups are not supported yet")
      default: throw weight.refusal("cannot be packed: \(error)")
      }
    }
  }

  private func pack(codesOfRows rows: Range<Int>, packer: TilePacker) throws(ModelFileError) {
    let count = rows.count * columns
    let first = rows.lowerBound * columns
    let buffer = AlignedBuffer(count: count)
    defer { withExtendedLifetime(buffer) {} }
    let codes = buffer.bytes.bindMemory(to: Int8.self)
    if StoredTensor.floatTypes.contains(weight.type) {
      let line = AlignedBuffer(count: count * 4)
      defer { withExtendedLifetime(line) {} }
      let values = line.bytes.bindMemory(to: Float.self)
      weight.read(from: first, count: count, into: values.baseAddress!)
      for index in 0..<count {
        guard let code = Int8(exactly: values[index]) else {
          throw refusal(code: values[index], at: first + index)
        }
        codes[index] = code
      }
    } else {
      buffer.bytes.copyMemory(from: UnsafeRawBufferPointer(start: weight.bytes.baseAddress + first, count: count))
    }
    do throws(TernaryError) {
      try packer.pack(codes: UnsafeBufferPointer(codes), rows: rows)
    } catch {
      let wrong = codes.firstIndex { !(-1...1).contains($0) } ?? 0
      throw refusal(code: codes[wrong], at: first + wrong)
    }
  }

  private func refusal(code: some CustomStringConvertible, at element: Int) -> ModelFileError {
    weight.refusal("holds the code \(code) in row \(element / columns)", expected: "-1, 0 or 1")
  }
}

/// The sums of the rows. Several threads write them, each those of its own rows.
private struct SharedRowSums: @unchecked Sendable {
  let values: UnsafeMutableBufferPointer<Double>
  init(_ values: UnsafeMutableBufferPointer<Double>) { self.values = values }
}

/// The sum of |v| in Double: element i goes to lane i mod 8, and the lanes are added in order at the end.
private func absoluteSum(_ values: UnsafePointer<Float>, count: Int) -> Double {
  var lanes = SIMD8<Double>()
  let whole = count / 8 * 8
  var index = 0
  while index < whole {
    let next = UnsafeRawPointer(values + index).loadUnaligned(as: SIMD8<UInt32>.self) & 0x7FFF_FFFF
    lanes += SIMD8<Double>(unsafeBitCast(next, to: SIMD8<Float>.self))
    index += 8
  }
  while index < count {
    lanes[index % 8] += Double(abs(values[index]))
    index += 1
  }
  return lanes.sum()
}

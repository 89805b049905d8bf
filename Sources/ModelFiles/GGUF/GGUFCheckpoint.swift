import BitNetInference
import BitNetTernary

extension Checkpoint {
  /// A GGUF checkpoint.
  ///
  /// - Parameter i2sBlock: the block length of I2_S, which files do not record.
  /// - Throws: `ModelFileError` naming the first tensor that is missing, has the wrong type or shape, or is one that the
  ///   architecture does not use.
  init(
    _ configuration: GGUFConfiguration, parts: GGUFParts, i2sBlock: TilePacker.I2SBlock
  ) throws(ModelFileError) {
    let (model, family) = (configuration.model, configuration.family)
    var finder = TensorFinder(parts)
    embedding = try finder.table(GGUFName.embedding, rows: model.vocabularySize, columns: model.hiddenSize)
    finalNorm = try finder.norm([GGUFName.finalNorm], count: model.hiddenSize)
    if model.tiedEmbedding {
      head = nil
    } else {
      head = try finder.table(GGUFName.head, rows: model.vocabularySize, columns: model.hiddenSize)
    }
    finder.use(GGUFName.rotaryDivisors)
    let scales = try Self.exactScales(parts.metadata, of: model)
    var position = 0
    var layers: [Layer] = []
    for index in 0..<model.layerCount {
      layers.append(
        try finder.layer(index, prefix: GGUFName.block(index), names: family.names, of: model) {
          (finder, weight, rows, columns) throws(ModelFileError) in
          let factor = weight.dropLast(".weight".count) + ".scale"
          finder.use(String(factor))
          let isRotated = weight.hasSuffix(".attn_q.weight") || weight.hasSuffix(".attn_k.weight")
          defer { position += 1 }
          return try StoredProjection(
            gguf: weight, rows: rows, columns: columns, tensors: parts, i2sBlock: i2sBlock,
            order: family.interleavesHeads && isRotated ? .interleavedHalves(headSize: model.headSize) : .plain,
            factor: parts[String(factor)], exactScale: scales.map { $0[position] })
        })
    }
    for name in parts.names where !finder.isUsed(name) {
      throw ModelFileError(
        tensor: name, file: parts[name]?.file.name ?? parts.name, finding: "has no place in this architecture",
        expected: "only the weights of a \(model.architecture) model")
    }
    self.model = model
    self.name = parts.name
    self.files = parts.files
    self.tensors = parts.files.flatMap { file in file.header.tensors.compactMap { file[$0.name] } }
    self.layers = layers
  }

  private static func exactScales(
    _ metadata: GGUFMetadata, of model: ModelConfiguration
  ) throws(ModelFileError) -> [Double]? {
    guard let scales = try metadata.numbers(GGUFName.Own.scales) else { return nil }
    let count = model.layerCount * MatrixRole.allCases.reduce(0) { $0 + model.shape(of: $1).rows.count }
    guard scales.count == count else {
      throw metadata.refusal(
        GGUFName.Own.scales, "holds \(scales.count) numbers", expected: "\(count), one for each projection")
    }
    return scales
  }
}

extension StoredProjection {
  /// A projection of a GGUF checkpoint.
  ///
  /// - Parameters:
  ///   - name: the weight's name.
  ///   - order: the order of the stored rows.
  ///   - factor: a tensor that multiplies the product, if there is one.
  ///   - exactScale: the scale before it was rounded for the tensor, if the file has it.
  /// - Throws: `ModelFileError` when a tensor is missing, has another type or shape, or has an unusable scale.
  init(
    gguf name: String, rows: Int, columns: Int, tensors: GGUFParts, i2sBlock: TilePacker.I2SBlock, order: RowOrder,
    factor: StoredTensor?, exactScale: Double?
  ) throws(ModelFileError) {
    guard let weight = tensors[name] else {
      throw ModelFileError(
        tensor: name, file: tensors.name, finding: "is missing", expected: "shape [\(rows), \(columns)]")
    }
    let multiplier = try factor.map { (factor) throws(ModelFileError) in try Self.multiplier(factor) } ?? 1
    let kind: TilePacker.TQ = weight.type == .tq1_0 ? .tq1 : .tq2
    let stored: Float
    switch weight.type {
    case .i2_S:
      try weight.require([.i2_S], shape: [rows, columns])
      guard rows * columns % i2sBlock.rawValue == 0 else {
        throw weight.refusal(
          "has \(rows * columns) weights", expected: "a multiple of \(i2sBlock.rawValue), the block of I2_S")
      }
      do throws(TernaryError) {
        stored = try weight.bytes.withUnsafeBytes { (raw) throws(TernaryError) in
          try TilePacker.i2sScale(raw, count: rows * columns)
        }
      } catch {
        throw weight.refusal("cannot be read: \(error)")
      }
    case .tq1_0, .tq2_0:
      try weight.require([.tq1_0, .tq2_0], shape: [rows, columns])
      stored = weight.bytes.withUnsafeBytes { kind.scale(of: $0) }
    default: throw Self.refusal(of: weight)
    }
    let isZero = weight.type != .i2_S && stored == 0
    guard stored.isFinite, stored > 0 || isZero else {
      throw weight.refusal("has the scale \(stored)", expected: "a finite scale above zero")
    }
    let scale = try Self.scale(weight, stored: stored, exact: exactScale)
    self.weight = weight
    self.rows = rows
    self.columns = columns
    self.order = order
    // A matrix of zeros has no scale, and any will do.
    let used = isZero ? AbsmeanQuantizer.smallestScale : scale * multiplier
    if weight.type == .i2_S {
      form = .i2s(scale: used, block: i2sBlock)
      scaleByteCount = TensorType.i2sTail + (factor?.byteCount ?? 0)
    } else {
      form = .tq(scale: used, blockScale: stored, kind: kind)
      scaleByteCount = rows * columns / TilePacker.TQ.blockLength * kind.scaleBytes + (factor?.byteCount ?? 0)
    }
  }

  private static func multiplier(_ factor: StoredTensor) throws(ModelFileError) -> Double {
    try factor.require(StoredTensor.floatTypes, shape: [1])
    let value = Double(try factor.floats()[0])
    guard value > 0 else { throw factor.refusal("is \(value)", expected: "a factor above zero") }
    return value
  }

  /// The scale in full precision if the file has it, which must be the stored one when it is rounded to its type.
  private static func scale(_ weight: StoredTensor, stored: Float, exact: Double?) throws(ModelFileError) -> Double {
    guard let exact, stored != 0 else { return Double(stored) }
    let rounded = weight.type == .i2_S ? Float(exact) : Float(halfBits: Float(exact).halfBits)
    guard exact.isFinite, rounded == stored else {
      throw weight.refusal(
        "has the scale \(stored)", expected: "\(exact) rounded, as \(GGUFName.Own.scales) says")
    }
    return exact
  }

  private static func refusal(of weight: StoredTensor) -> ModelFileError {
    let reason =
      switch weight.type {
      case .tl1, .tl2: ": its tile sizes are in the program that wrote it, not in the file"
      case .q1_0, .q2_0, .q2_0Of128, .pq2_0, .ptq1_0: ": scales of groups are not supported yet"
      case .f32, .f16, .bf16: ": plain weights, which are not quantised while they are loaded"
      case .mxfp4, .nvfp4: ": four bits, not ternary"
      default: ""
      }
    return ModelFileError(
      .unsupported, file: weight.file.name, subject: "tensor \(weight.name)",
      finding: "has type \(weight.type.rawValue)\(reason)", expected: "I2_S, TQ1_0 or TQ2_0")
  }
}

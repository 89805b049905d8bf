import BitNetInference
import BitNetTernary

/// The types in which ternary weights are written to GGUF files.
package enum GGUFTernaryType: String, Sendable, CaseIterable {
  /// llama.cpp's type, two bits and a 16-bit float scale for each 256 weights.
  case tq2_0 = "TQ2_0"
  /// bitnet.cpp's type, two bits and one 32-bit float scale for a tensor.
  case i2_S = "I2_S"

  /// The type that other programs of an architecture read: bitnet.cpp alone has 2B-4T's.
  init(forArchitecture architecture: String) { self = architecture == "bitnet-b1.58" ? .i2_S : .tq2_0 }

  var tensorType: TensorType { self == .tq2_0 ? .tq2_0 : .i2_S }
  /// The number of the file's type, which bitnet.cpp and llama.cpp each define for themselves.
  var fileType: UInt32 { self == .tq2_0 ? 37 : 40 }
  /// Rows are whole blocks of this many weights in TQ2_0; tensors are in I2_S.
  var blockLength: Int { self == .tq2_0 ? 256 : 128 }
}

/// Writes a model as a GGUF file.
///
/// The types of ternary weights round scales. The file therefore also has the exact ones under a key of its own, which
/// other readers ignore, so that reading it gives back the same weights bit for bit.
struct GGUFWriter {
  /// The largest number of output bytes in memory.
  private static let largestBuffer = 16 << 20

  private let weights: ModelWeights
  let type: GGUFTernaryType
  private let family: GGUFFamily
  private let output: String

  private var model: ModelConfiguration { weights.configuration }
  /// The model's architecture in GGUF files, with which its keys begin.
  var architecture: String { family.architectures[0] }

  /// - Parameters:
  ///   - type: nil for the one that other programs of the architecture read.
  ///   - output: the file's path, for errors.
  /// - Throws: `ModelFileError` when the format has no architecture for the model, the type does not fit its sizes, or
  ///   cannot hold a scale.
  init(_ weights: ModelWeights, type: GGUFTernaryType?, output: String) throws(ModelFileError) {
    func unsupported(_ subject: String, _ finding: String, _ expected: String) -> ModelFileError {
      ModelFileError(.unsupported, file: output, subject: subject, finding: finding, expected: expected)
    }
    let model = weights.configuration
    guard let family = GGUFFamily.find(for: model) else {
      throw unsupported(
        "the architecture", "is \(model.architecture)",
        "a model in the shape of BitNet b1.58 2B-4T, 1bitLLM/bitnet_b1_58 or Llama: GGUF has no other ternary ones")
    }
    let type = type ?? GGUFTernaryType(forArchitecture: family.architectures[0])
    let unit = type == .tq2_0 ? "columns" : "weights"
    for role in MatrixRole.allCases {
      let (rows, columns) = model.shape(of: role)
      for count in rows {
        let length = type == .tq2_0 ? columns : count * columns
        guard length % type.blockLength == 0 else {
          throw unsupported(
            "the \(role.name) matrix", "has \(columns) columns and \(count) rows",
            "a multiple of \(type.blockLength) \(unit), the block of \(type.rawValue)"
              + (type == .tq2_0 ? "; or --type I2_S" : ""))
        }
      }
    }
    for layer in weights.layers {
      for part in layer.matrices.flatMap(\.parts) where type == .tq2_0 {
        let stored = Double(Float(halfBits: Float(part.scale).halfBits))
        guard stored.isFinite, abs(stored / part.scale - 1) < 1e-3 else {
          throw unsupported(
            "a weight scale", "is \(part.scale)",
            "0.00006 to 65504 for TQ2_0, whose scales are 16-bit floats; pass --type I2_S")
        }
      }
    }
    self.weights = weights
    self.type = type
    self.family = family
    self.output = output
  }

  // MARK: - Header

  /// The file's keys and tensors.
  ///
  /// - Parameters:
  ///   - name: the model's name.
  ///   - tokenizer: the tokenizer to write.
  func encoder(
    name: String, tokenizer: Tokenizer, chatTemplate: String?, toolTemplate: String?,
    generation: GenerationDefaults?
  ) -> GGUFEncoder {
    var encoder = GGUFEncoder()
    encoder.add(GGUFName.architecture, architecture)
    encoder.add("general.name", name)
    encoder.add("general.file_type", type.fileType)
    encoder.add("general.quantization_version", 2)
    let sizes = [
      ("vocab_size", model.vocabularySize), ("context_length", model.contextLength),
      ("embedding_length", model.hiddenSize), ("block_count", model.layerCount),
      ("feed_forward_length", model.feedForwardSize), ("rope.dimension_count", model.headSize),
      ("attention.head_count", model.headCount), ("attention.head_count_kv", model.keyValueHeadCount),
      ("attention.key_length", model.headSize), ("attention.value_length", model.headSize),
    ]
    for (key, size) in sizes { encoder.add("\(architecture).\(key)", size) }
    encoder.add("\(architecture).attention.layer_norm_rms_epsilon", model.normEpsilon)
    encoder.add("\(architecture).rope.freq_base", model.ropeTheta)
    if family.isEmbedding { addAttention(to: &encoder) }
    if let yarn = model.yarnScaling {
      encoder.add("\(architecture).rope.scaling.type", "yarn")
      encoder.add("\(architecture).rope.scaling.factor", yarn.factor)
      encoder.add("\(architecture).rope.scaling.original_context_length", yarn.originalContextLength)
      encoder.add(
        GGUFName.Own.yarn,
        doubles: [
          yarn.factor, Double(yarn.originalContextLength), yarn.attentionFactor, yarn.fastRotations, yarn.slowRotations,
          yarn.truncates ? 1 : 0,
        ])
    }
    if let temperature = generation?.temperature { encoder.add("general.sampling.temp", temperature) }
    if let topP = generation?.topP { encoder.add("general.sampling.top_p", topP) }
    if let topK = generation?.topK { encoder.add("general.sampling.top_k", topK) }
    add(tokenizer, chatTemplate, toolTemplate, to: &encoder)
    encoder.add(
      GGUFName.Own.scales, doubles: weights.layers.flatMap { $0.matrices.flatMap { $0.parts.map(\.scale) } })
    if let scaling = model.ropeScaling {
      encoder.add(
        GGUFName.Own.rotaryScaling,
        doubles: [
          scaling.factor, scaling.lowFrequencyFactor, scaling.highFrequencyFactor,
          Double(scaling.originalContextLength),
        ])
    }
    encoder.add(GGUFName.Own.endTokens, integers: model.endTokens)
    for tensor in tensors { encoder.add(tensor.description) }
    return encoder
  }

  /// How the layers of an embedding model attend, for other programs as far as they have keys for it.
  private func addAttention(to encoder: inout GGUFEncoder) {
    encoder.add("\(architecture).attention.scale", model.attentionScale ?? 1 / Double(model.headSize).squareRoot())
    if let scale = model.attentionScale { encoder.add(GGUFName.Own.attentionScale, doubles: [scale]) }
    if let window = model.attention.lazy.compactMap(\.window).first {
      encoder.add("\(architecture).attention.sliding_window", window)
    }
    if model.isBidirectional { encoder.add("\(architecture).attention.causal", false) }
    encoder.add(
      GGUFName.Own.attention,
      doubles: model.attention.flatMap {
        [Double($0.window ?? 0), $0.isBidirectional ? 1 : 0, $0.ropeTheta ?? 0]
      })
  }

  /// The forms of a tokenizer in a file.
  struct Tokenizer {
    /// Of the GGUF file that the model comes from: its tokenizer is copied.
    var metadata: GGUFMetadata?
    /// The tokenizer for other programs.
    var shared: GGUFTokenizer?
    /// The tokenizer as converted files hold it.
    var text: String?

    var isCopied: Bool { metadata?[GGUFName.tokens] != nil || metadata?[GGUFName.Own.tokenizer] != nil }
    var isEmpty: Bool { !isCopied && shared == nil && text == nil }
    /// Whether other programs can read it.
    var isShared: Bool { metadata?[GGUFName.tokens] != nil || shared?.keys.isEmpty == false }
  }

  private func add(
    _ tokenizer: Tokenizer, _ chatTemplate: String?, _ toolTemplate: String?, to encoder: inout GGUFEncoder
  ) {
    if let metadata = tokenizer.metadata, tokenizer.isCopied {
      for entry in metadata.entries where entry.key.hasPrefix("tokenizer.") || entry.key == GGUFName.Own.tokenizer {
        encoder.add(entry, of: metadata)
      }
      return
    }
    if let shared = tokenizer.shared, !shared.keys.isEmpty {
      for (name, value) in shared.keys { encoder.add(name, value) }
    } else {
      // Without a vocabulary, other programs read the file as a model of token ids.
      encoder.add(GGUFName.tokenizerModel, "none")
      if let token = model.beginToken { encoder.add(GGUFName.beginToken, Int(token)) }
      for (key, token) in zip(GGUFName.endTokens, model.endTokens) { encoder.add(key, Int(token)) }
    }
    if let chatTemplate { encoder.add(GGUFName.chatTemplate, chatTemplate) }
    if let toolTemplate {
      encoder.add(GGUFName.chatTemplateNames, byteStrings: [Array("tool_use".utf8)])
      encoder.add(GGUFName.toolTemplate, toolTemplate)
    }
    if let text = tokenizer.text { encoder.add(GGUFName.Own.tokenizer, text) }
  }

  // MARK: - Tensors

  private enum Content {
    case table(EmbeddingTable)
    case floats([Float])
    case part(TernaryMatrix, Int, RowOrder)
  }

  /// All tensors in the order of the file.
  private var tensors: [(description: GGUFEncoder.Tensor, content: Content)] {
    let table = [model.vocabularySize, model.hiddenSize]
    var tensors = [tensor(GGUFName.embedding, .bf16, table, .table(weights.embedding))]
    if !model.tiedEmbedding { tensors.append(tensor(GGUFName.head, .bf16, table, .table(weights.head))) }
    tensors.append(tensor(GGUFName.finalNorm, weights.finalNorm))
    if model.ropeScaling != nil {
      tensors.append(tensor(GGUFName.rotaryDivisors, GGUFConfiguration.divisors(of: model)))
    }
    for (index, layer) in weights.layers.enumerated() {
      func name(_ name: String) -> String { "\(GGUFName.block(index))\(name).weight" }
      for (role, _) in model.norms {
        tensors.append(tensor(name(family.names.norms[role]?[0] ?? ""), layer[role] ?? []))
      }
      for role in MatrixRole.allCases {
        let matrix = layer[role]
        for (number, part) in matrix.parts.enumerated() {
          let isRotated = role == .queryKeyValue && number < 2
          let order =
            family.interleavesHeads && isRotated ? RowOrder.interleavedHalves(headSize: model.headSize) : .plain
          tensors.append(
            tensor(
              name(family.names.projections[role]?[number] ?? ""), type.tensorType, [part.rows, matrix.columns],
              .part(matrix, number, order)))
        }
      }
    }
    return tensors
  }

  private func tensor(
    _ name: String, _ type: TensorType, _ shape: [Int], _ content: Content
  ) -> (description: GGUFEncoder.Tensor, content: Content) {
    let bytes = type.ggufByteCount(elements: shape.reduce(1, *), rowLength: shape[shape.count - 1])
    guard let bytes else { preconditionFailure("the writer checked that rows are whole blocks") }
    return (GGUFEncoder.Tensor(name: name, shape: shape, type: type, byteCount: bytes), content)
  }

  private func tensor(_ name: String, _ values: [Float]) -> (description: GGUFEncoder.Tensor, content: Content) {
    tensor(name, .f32, [values.count], .floats(values))
  }

  /// Writes the data of all tensors.
  ///
  /// - Parameter report: called with a tensor's name after each piece of it.
  func write(to file: OutputFile, report: (String) -> Void) throws(ModelFileError) {
    for (tensor, content) in tensors {
      switch content {
      case .table(let table):
        try table.bytes.withUnsafeBytes { (bytes) throws(ModelFileError) in try file.append(bytes) }
        table.bytes.releasePages()
      case .floats(let values):
        try file.append(values.flatMap { withUnsafeBytes(of: $0.bitPattern.littleEndian, Array.init) })
      case .part(let matrix, let number, let order):
        try write(matrix, part: matrix.parts[number], order, to: file) { report(tensor.name) }
      }
      let padding = tensor.byteCount.roundedUp(to: GGUFEncoder.alignment) - tensor.byteCount
      try file.append([UInt8](repeating: 0, count: padding))
      report(tensor.name)
    }
  }

  private func write(
    _ matrix: TernaryMatrix, part: TernaryMatrix.Part, _ order: RowOrder, to file: OutputFile, report: () -> Void
  ) throws(ModelFileError) {
    // Blocks of I2_S continue across rows, so pieces are rows that make whole blocks.
    let unit = type == .i2_S ? 128 : 1
    let step = max(1, Self.largestBuffer / matrix.columns / unit) * unit
    let line = AlignedBuffer(count: matrix.paddedColumns)
    let codes = AlignedBuffer(count: min(step, part.rows) * matrix.columns)
    let packed = AlignedBuffer(count: type.tensorType.byteCount(ofElements: codes.bytes.count))
    defer { withExtendedLifetime((line, codes, packed)) {} }
    let (row, biased) = (line.bytes.bindMemory(to: UInt8.self), codes.bytes.bindMemory(to: UInt8.self).baseAddress!)
    let target = packed.bytes.bindMemory(to: UInt8.self).baseAddress!
    for start in stride(from: 0, to: part.rows, by: step) {
      let end = min(part.rows, start + step)
      for stored in start..<end {
        matrix.unpack(row: part.firstRow + order.row(stored: stored), into: row.baseAddress!)
        (biased + (stored - start) * matrix.columns).update(from: row.baseAddress!, count: matrix.columns)
      }
      let count = (end - start) * matrix.columns
      switch type {
      case .i2_S: GGMLPacker.packI2S(biased, count: count, into: target)
      case .tq2_0:
        GGMLPacker.packTQ2(biased, count: count, scale: Float(part.scale).halfBits, into: target)
      }
      let bytes = type.tensorType.byteCount(ofElements: count)
      try file.append(UnsafeRawBufferPointer(start: target, count: bytes))
      report()
    }
    guard type == .i2_S else { return }
    let scale = withUnsafeBytes(of: Float(part.scale).bitPattern.littleEndian, Array.init)
    try file.append(scale + [UInt8](repeating: 0, count: TensorType.i2sTail - scale.count))
  }
}

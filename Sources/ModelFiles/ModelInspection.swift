package import BitNetInference
package import BitNetTernary

/// A description of a model's files, made without loading the weights: only headers, configuration and scales are read.
package struct ModelInspection: Sendable, Equatable, Encodable {
  package struct File: Sendable, Equatable, Encodable {
    package let name: String
    package let byteCount: Int
  }

  package struct Tensor: Sendable, Equatable, Encodable {
    package let name: String
    package let type: TensorType
    package let shape: [Int]
    package let byteCount: Int
  }

  /// Counts of parameters or bytes by kind of weight.
  package struct Breakdown: Sendable, Equatable, Encodable {
    package let ternary: Int
    package let embedding: Int
    /// 0 if the embedding is the head.
    package let head: Int
    package let norms: Int
  }

  /// The scales of the ternary matrices, as factors of the codes.
  package struct Scales: Sendable, Equatable, Encodable {
    package let count: Int
    package let smallest: Double
    package let largest: Double

    package init(count: Int, smallest: Double, largest: Double) {
      self.count = count
      self.smallest = smallest
      self.largest = largest
    }
  }

  package let path: String
  package let format: ModelFormat
  package let source: String
  package let files: [File]
  package let tensors: [Tensor]
  package let configuration: ModelConfiguration
  /// The storage of ternary weights, in words.
  package let storage: String
  package let parameters: Breakdown
  /// The bytes of the weights in the files, without scales.
  package let bytes: Breakdown
  package let scaleBytes: Int
  /// The remaining bytes of all files: headers, padding, unused tensors.
  package let otherBytes: Int
  /// Nil if the scales are computed while the model is loaded.
  package let scales: Scales?
  /// The tokenizer's format; nil if there is none.
  package let tokenizer: String?
  /// The Jinja template that turns messages into a prompt; nil if there is none.
  package let chatTemplate: String?
  /// The template for chats with tools, where it is another one.
  package let toolTemplate: String?
  package let generation: GenerationDefaults?
  /// How texts become vectors; nil if the files do not say.
  package let embedding: EmbeddingConfiguration?
  /// A sentence about a probable fault that does not prevent loading.
  package let warning: String?
  /// Whether every ternary code was read and found valid.
  package let codesVerified: Bool

  /// The bits of one ternary weight in the files.
  package var bitsPerTernaryWeight: Double { Double(bytes.ternary) * 8 / Double(parameters.ternary) }

  /// - Parameters:
  ///   - path: a path as for `ModelLoader.load(path:)`.
  ///   - verify: whether all weights are read to check every ternary code and every other value.
  ///   - options: how a folder or a GGUF file is read.
  /// - Throws: `ModelFileError`, as for loading, for every fault that shows without reading weights.
  package init(
    path: String, verify: Bool = false, options: LoadOptions = LoadOptions()
  ) throws(ModelFileError) {
    if let opened = try OpenedModel.open(path, options: options) {
      if verify { _ = try ModelLoader.load(opened.checkpoint, searchesTables: true) }
      try self.init(opened, verified: verify)
    } else {
      try self.init(ConvertedModel(SafetensorsFile(path: path)), verify: verify)
    }
  }

  /// - Parameters:
  ///   - bytes: a file as for `ModelLoader.load(bytes:)`.
  ///   - name: replaces the path.
  ///   - verify: whether all weights are read to check every ternary code.
  /// - Throws: `ModelFileError`, as for loading.
  package init(bytes: SharedBytes, name: String, verify: Bool = false) throws(ModelFileError) {
    try self.init(ConvertedModel(SafetensorsFile(bytes: ModelLoader.aligned(bytes), name: name)), verify: verify)
  }

  /// - Parameter gguf: a GGUF model that is open.
  /// - Throws: `ModelFileError`, as for loading.
  package init(gguf: GGUFFile, options: LoadOptions = LoadOptions()) throws(ModelFileError) {
    try self.init(OpenedModel(GGUFParts(gguf), options: options), verified: false)
  }

  private init(_ converted: ConvertedModel, verify: Bool) throws(ModelFileError) {
    self.init(converted, try converted.load(options: LoadOptions(verifyCodes: verify)), verified: verify)
  }

  private init(_ opened: OpenedModel, verified: Bool) throws(ModelFileError) {
    let checkpoint = opened.checkpoint
    let parts = checkpoint.layers.flatMap { $0.stacks.flatMap(\.parts) }
    let norms = checkpoint.layers.flatMap(\.norms.values)
    path = opened.path
    format = opened.format
    source = FileAccess.modelName(opened.path)
    files = checkpoint.files.map { File(name: FileAccess.name($0.name), byteCount: $0.bytes.count) }
    tensors = checkpoint.tensors.map {
      Tensor(name: $0.name, type: $0.type, shape: $0.shape, byteCount: $0.byteCount)
    }
    configuration = checkpoint.model
    storage = parts[0].storage
    parameters = Self.parameters(configuration)
    bytes = Breakdown(
      ternary: parts.reduce(0) { $0 + $1.codeByteCount }, embedding: checkpoint.embedding.tensor.byteCount,
      head: checkpoint.head?.tensor.byteCount ?? 0,
      norms: (norms + [checkpoint.finalNorm]).reduce(0) { $0 + $1.byteCount })
    scaleBytes = parts.reduce(0) { $0 + $1.scaleByteCount }
    otherBytes = checkpoint.files.reduce(0) { $0 + $1.bytes.count } - bytes.total - scaleBytes
    scales = Self.scales(parts.compactMap(\.storedScale))
    tokenizer = opened.tokenizer?.kind
    chatTemplate = opened.chatTemplate
    toolTemplate = opened.toolTemplate
    generation = opened.generation
    embedding = opened.embedding
    warning = try checkpoint.scaleWarning()
    codesVerified = verified
  }

  private init(_ converted: ConvertedModel, _ model: LoadedModel, verified: Bool) {
    let weights = model.weights
    let parts = weights.layers.flatMap(\.matrices).flatMap(\.parts)
    path = converted.file.name
    format = .converted
    source = model.source
    files = [File(name: FileAccess.name(converted.file.name), byteCount: converted.file.bytes.count)]
    tensors = Self.tensors(converted.file)
    configuration = weights.configuration
    storage = "tiles of 16 x 32, 2 bits a weight"
    parameters = Self.parameters(configuration)
    bytes = Breakdown(
      ternary: weights.tileByteCount, embedding: weights.embedding.bytes.count,
      head: configuration.tiedEmbedding ? 0 : weights.head.bytes.count, norms: parameters.norms * 4)
    scaleBytes = parts.count * 8
    otherBytes = converted.file.bytes.count - bytes.total - scaleBytes
    scales = Self.scales(parts.map(\.scale))
    tokenizer = model.tokenizer?.kind
    chatTemplate = model.chatTemplate
    toolTemplate = model.toolTemplate
    generation = model.generation
    embedding = model.embedding
    warning = model.warning
    codesVerified = verified
  }

  private static func tensors(_ file: SafetensorsFile) -> [Tensor] {
    file.header.tensors.map { Tensor(name: $0.name, type: $0.type, shape: $0.shape, byteCount: $0.range.count) }
  }

  private static func parameters(_ model: ModelConfiguration) -> Breakdown {
    let table = model.vocabularySize * model.hiddenSize
    let head = model.tiedEmbedding ? 0 : table
    return Breakdown(
      ternary: model.ternaryWeightCount, embedding: table, head: head,
      norms: model.parameterCount - model.ternaryWeightCount - table - head)
  }

  private static func scales(_ scales: [Double]) -> Scales? {
    guard let smallest = scales.min(), let largest = scales.max() else { return nil }
    return Scales(count: scales.count, smallest: smallest, largest: largest)
  }
}

extension ModelInspection.Breakdown {
  package var total: Int { ternary + embedding + head + norms }
}

extension StoredProjection {
  /// The scale that is stored with the weight; nil if it is computed from master weights.
  var storedScale: Double? {
    switch form {
    case .packed(let scale), .codes(let scale), .i2s(let scale, _), .tq(let scale, _, _): scale
    case .master: nil
    }
  }

  /// The storage of the weights, in words.
  var storage: String {
    switch form {
    case .packed: "packed, 4 weights in a byte"
    case .codes: "codes, one weight in a \(weight.type.rawValue)"
    case .i2s(_, let block): "I2_S, blocks of \(block.rawValue)"
    case .tq(_, _, let kind): kind == .tq1 ? "TQ1_0, 5 weights in a byte" : "TQ2_0, 4 weights in a byte"
    case .master: "master weights in \(weight.type.rawValue), quantised while loading"
    }
  }
}

import BitNetInference
import BitNetJSON
import BitNetTernary

/// A file in the converted form, with its metadata read and its version checked. Tensors are checked when they are
/// loaded.
struct ConvertedModel: Sendable {
  let file: SafetensorsFile
  let configuration: ModelConfiguration
  let tokenizer: String?
  let chatTemplate: String?
  let toolTemplate: String?
  let generation: GenerationDefaults?
  let embedding: EmbeddingConfiguration?
  let source: String
  /// What the converter stored, if it is a digest at all.
  let digest: ModelDigest?

  /// - Throws: `ModelFileError` when the file is not in the converted form, or its metadata is malformed.
  init(_ file: SafetensorsFile) throws(ModelFileError) {
    let metadata = file.header.metadata
    func field(_ key: String) -> String { "__metadata__.\(key)" }
    guard metadata[ConvertedForm.Key.format] == ConvertedForm.format else {
      throw ModelFileError(
        .unsupported, file: file.name, subject: field(ConvertedForm.Key.format),
        finding: metadata[ConvertedForm.Key.format].map { "is \($0)" } ?? "is missing",
        expected: "\(ConvertedForm.format), a converted model; a Hugging Face model is loaded by its folder")
    }
    guard let version = metadata[ConvertedForm.Key.version], ConvertedForm.versions.contains(version) else {
      throw ModelFileError(
        .unsupported, file: file.name, subject: field(ConvertedForm.Key.version),
        finding: "is \(metadata[ConvertedForm.Key.version] ?? "missing")",
        expected: ConvertedForm.versions.joined(separator: " or "))
    }
    func read<Value>(_ key: String, _ body: (JSONValue) throws(JSONError) -> Value) throws(ModelFileError) -> Value? {
      guard let text = metadata[key] else { return nil }
      return try Array(text.utf8).withUnsafeBufferPointer { (utf8) throws(ModelFileError) in
        try JSONDocument.read(
          UnsafeRawBufferPointer(utf8), file: file.name, subject: field(key),
          limit: HuggingFaceConfiguration.largestFile, body)
      }
    }
    let found = try read(ConvertedForm.Key.configuration) { (json) throws(JSONError) in try ModelConfiguration(json) }
    guard let configuration = found else {
      throw ModelFileError(
        .malformed, file: file.name, subject: field(ConvertedForm.Key.configuration), finding: "is missing")
    }
    do throws(ConfigurationError) {
      try configuration.validate()
    } catch {
      throw ModelFileError(error, file: file.name)
    }
    generation = try read(ConvertedForm.Key.generation) { (json) throws(JSONError) in try GenerationDefaults(json) }
    try generation?.validate(file: file.name)
    embedding = try read(ConvertedForm.Key.embedding) { (json) throws(JSONError) in try EmbeddingConfiguration(json) }
    self.configuration = configuration
    self.file = file
    tokenizer = metadata[ConvertedForm.Key.tokenizer]
    chatTemplate = metadata[ConvertedForm.Key.chatTemplate]
    toolTemplate = metadata[ConvertedForm.Key.toolTemplate]
    source = metadata[ConvertedForm.Key.source] ?? FileAccess.name(file.name)
    digest = metadata[ConvertedForm.Key.digest].flatMap(ModelDigest.init)
  }

  /// The size in bytes below which a file is searched for invalid codes, unless the caller decides.
  static let verifiedByDefault = 64_000_000

  /// - Throws: `ModelFileError` naming the first tensor that is missing, differs from the configuration or is not
  ///   aligned.
  func load(options: LoadOptions) throws(ModelFileError) -> LoadedModel {
    let verify = options.verifyCodes ?? (file.bytes.count < Self.verifiedByDefault)
    var layers: [LayerWeights] = []
    for index in 0..<configuration.layerCount {
      layers.append(try layer(index, verify: verify))
    }
    let embedding = try table(ConvertedForm.embedding, verify: verify)
    let head = configuration.tiedEmbedding ? nil : try table(ConvertedForm.head, verify: verify)
    let finalNorm = try norm(ConvertedForm.finalNorm, count: configuration.hiddenSize)
    let weights: ModelWeights
    do {
      weights = try ModelWeights(
        configuration: configuration, embedding: embedding, layers: layers, finalNorm: finalNorm, head: head)
    } catch {
      throw ModelFileError(weights: error, file: file.name)
    }
    return LoadedModel(
      weights: weights, format: .converted, tokenizer: tokenizer.map { .serialized($0) }, chatTemplate: chatTemplate,
      toolTemplate: toolTemplate, generation: generation, embedding: self.embedding, source: source, warning: nil,
      storedDigest: digest, identity: MappedFile.identity(of: [file.mapping]))
  }

  private func layer(_ index: Int, verify: Bool) throws(ModelFileError) -> LayerWeights {
    try LayerWeights(
      of: configuration,
      matrix: { (role) throws(ModelFileError) in
        try matrix(ConvertedForm.stack(role, layer: index, of: configuration), verify: verify)
      },
      norm: { (role, width) throws(ModelFileError) in
        try norm(ConvertedForm.layerPrefix(index) + ConvertedForm.name(of: role), count: width)
      })
  }

  private func tensor(_ name: String, _ type: TensorType, shape: [Int]) throws(ModelFileError) -> StoredTensor {
    guard let tensor = file[name] else {
      throw ModelFileError(
        tensor: name, file: file.name, finding: "is missing", expected: "\(type.rawValue) of shape \(shape)")
    }
    try tensor.require([type], shape: shape)
    return tensor
  }

  private func aligned(_ tensor: StoredTensor) throws(ModelFileError) -> SharedBytes {
    let start = tensor.range.lowerBound
    guard start % ConvertedForm.alignment == 0 else {
      throw tensor.refusal("starts at byte \(start) of the file", expected: "a multiple of \(ConvertedForm.alignment)")
    }
    return tensor.bytes
  }

  private func matrix(_ stack: ConvertedForm.Stack, verify: Bool) throws(ModelFileError) -> TernaryMatrix {
    let tiles = try tensor(stack.tilesName, .u8, shape: stack.tilesShape)
    let stored = try tensor(stack.scalesName, .f64, shape: [stack.rows.count])
    let scales = stored.bytes.withUnsafeBytes { raw in
      stack.rows.indices.map {
        Double(bitPattern: UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self)))
      }
    }
    let bytes = try aligned(tiles)
    let matrix: TernaryMatrix
    do throws(TernaryError) {
      matrix = try TernaryMatrix(rows: stack.rows, columns: stack.columns, scales: scales, tiles: bytes)
    } catch {
      guard case .scale(let value) = error else { throw tiles.refusal("cannot be used: \(error)") }
      throw stored.refusal("holds \(value)", expected: "finite scales above zero")
    }
    if verify, let row = matrix.firstInvalidRow() {
      throw tiles.refusal("holds an invalid code in row \(row)", expected: "fields of 1, 2 or 3 (for -1, 0, +1)")
    }
    return matrix
  }

  private func norm(_ name: String, count: Int) throws(ModelFileError) -> [Float] {
    try tensor(name, .f32, shape: [count]).floats()
  }

  private func table(_ name: String, verify: Bool) throws(ModelFileError) -> EmbeddingTable {
    let (rows, columns) = (configuration.vocabularySize, configuration.hiddenSize)
    let tensor = try tensor(name, .bf16, shape: [rows, columns])
    let table: EmbeddingTable
    do {
      table = try EmbeddingTable(name: name, rows: rows, columns: columns, bytes: aligned(tensor))
    } catch {
      throw ModelFileError(weights: error, file: file.name)
    }
    if verify { try table.requireFinite(name: name, file: file.name) }
    return table
  }
}

package import BitNetInference
package import BitNetTernary

/// Loads models: Hugging Face folders, GGUF files and files in the converted form.
///
/// The ternary weights of a folder or a GGUF file are packed into tiles on all cores; master weights are quantised first. A bfloat16
/// embedding and head stay in the mapped file; those of other types are rounded to bfloat16 in memory. A
/// converted file is mapped and used without copies.
package enum ModelLoader {
  /// - Parameters:
  ///   - path: a Hugging Face folder, a GGUF file, or a `.safetensors` file in the converted form.
  ///   - progress: called on the calling thread with the share of the weights that is ready, 0 to 1.
  /// - Throws: `ModelFileError`.
  package static func load(
    path: String, options: LoadOptions = LoadOptions(), progress: ((Double) -> Void)? = nil
  ) throws(ModelFileError) -> LoadedModel {
    if let opened = try OpenedModel.open(path, options: options) {
      return try opened.loaded(load(opened.checkpoint, progress: progress))
    }
    let model = try ConvertedModel(SafetensorsFile(path: path)).load(options: options)
    progress?(1)
    return model
  }

  /// Whether a file can be read and starts as a GGUF file does.
  package static func isGGUF(_ path: String) -> Bool { (try? MappedFile(path: path))?.isGGUF ?? false }

  /// The tokenizer of a model, without its weights; nil if it has none.
  ///
  /// - Parameter path: a path as for `load(path:)`.
  package static func tokenizer(path: String) throws(ModelFileError) -> TokenizerSource? {
    if FileAccess.isFolder(path) { return try FolderExtras(folder: path).tokenizer }
    let mapping = try MappedFile(path: path)
    if mapping.isGGUF { return try TokenizerSource(GGUFParts(GGUFFile(mapping: mapping))) }
    return try ConvertedModel(SafetensorsFile(mapping: mapping)).tokenizer.map { .serialized($0) }
  }

  /// What tells the digest of a model without reading its weights: as of `LoadedModel`.
  ///
  /// - Parameter path: a path as for `load(path:)`.
  package static func digestOnHand(
    path: String, options: LoadOptions = LoadOptions()
  ) throws(ModelFileError) -> (stored: ModelDigest?, identity: String?) {
    if let opened = try OpenedModel.open(path, options: options) { return (nil, opened.identity) }
    let file = try SafetensorsFile(path: path)
    return (try ConvertedModel(file).digest, MappedFile.identity(of: [file.mapping]))
  }

  /// - Parameters:
  ///   - bytes: a whole file in the converted form. If they do not start at a multiple of 64 they are copied.
  ///   - name: for errors.
  /// - Throws: `ModelFileError`.
  package static func load(
    bytes: SharedBytes, name: String = "the model in memory", options: LoadOptions = LoadOptions()
  ) throws(ModelFileError) -> LoadedModel {
    return try ConvertedModel(SafetensorsFile(bytes: aligned(bytes), name: name)).load(options: options)
  }

  /// Loads a GGUF model that is open.
  ///
  /// - Throws: `ModelFileError`.
  package static func load(
    gguf file: GGUFFile, options: LoadOptions = LoadOptions()
  ) throws(ModelFileError) -> LoadedModel {
    let opened = try OpenedModel(GGUFParts(file), options: options)
    return try opened.loaded(load(opened.checkpoint))
  }

  /// The same bytes if they start at a multiple of 64, else a copy that does.
  static func aligned(_ bytes: SharedBytes) -> SharedBytes {
    guard UInt(bitPattern: bytes.baseAddress) % UInt(ConvertedForm.alignment) != 0 else { return bytes }
    let copy = AlignedBuffer(count: bytes.count)
    bytes.withUnsafeBytes { copy.bytes.copyMemory(from: $0) }
    return copy.shared
  }

  /// Loads a Hugging Face model whose files are in memory.
  ///
  /// - Parameters:
  ///   - config: the JSON of config.json; `generation` is that of generation_config.json.
  ///   - name: for errors in these.
  package static func load(
    config: SharedBytes, generation: SharedBytes? = nil, tensors: SafetensorsFolder, name: String
  ) throws(ModelFileError) -> ModelWeights {
    let generation = try generation.map { (json) throws(ModelFileError) in
      try GenerationConfiguration(json: json, file: name)
    }
    let configuration = try HuggingFaceConfiguration(config: config, generation: generation, file: name)
    return try load(Checkpoint(configuration: configuration, tensors: tensors))
  }

  /// Packs a checkpoint's weights.
  ///
  /// - Parameter searchesTables: as `StoredTable.table(searching:)` has it.
  static func load(
    _ checkpoint: Checkpoint, searchesTables: Bool? = nil, progress: ((Double) -> Void)? = nil
  ) throws(ModelFileError) -> ModelWeights {
    let total = checkpoint.layers.reduce(0) { $0 + $1.stacks.reduce(0) { $0 + $1.byteCount } }
    // One allocation, filled in the order of a forward pass: engines read it as one stream.
    guard let tiles = PageBuffer(count: total) else {
      throw ModelFileError(
        .system, file: "memory", subject: "\(total) bytes", finding: "cannot be allocated: \(lastSystemError())")
    }
    var filled = 0
    func packed(_ stack: ProjectionStack) throws(ModelFileError) -> TernaryMatrix {
      let quantized = try stack.quantized()
      let range = filled..<filled + stack.byteCount
      let rows = stack.rows.reduce(0) { $0 + Tile.padded($1, to: Tile.rows) }
      try quantized.pack(rows: 0..<rows, into: UnsafeMutableRawBufferPointer(rebasing: tiles.bytes[range]))
      filled = range.upperBound
      progress?(Double(filled) / Double(total))
      guard let slice = tiles.shared.slice(range) else { preconditionFailure("the buffer was made for all stacks") }
      do throws(TernaryError) {
        return try TernaryMatrix(rows: stack.rows, columns: stack.columns, scales: quantized.scales, tiles: slice)
      } catch {
        throw stack.parts[0].weight.refusal("cannot be used: \(error)")
      }
    }
    var layers: [LayerWeights] = []
    for layer in checkpoint.layers {
      layers.append(
        try LayerWeights(
          of: checkpoint.model,
          matrix: { (role) throws(ModelFileError) in try packed(layer.stacks[role.rawValue]) },
          norm: { (role, _) throws(ModelFileError) in try layer.norm(role).floats() }))
    }
    let embedding = try checkpoint.embedding.table(searching: searchesTables)
    let head = try checkpoint.head.map { (head) throws(ModelFileError) in try head.table(searching: searchesTables) }
    let finalNorm = try checkpoint.finalNorm.floats()
    do {
      return try ModelWeights(
        configuration: checkpoint.model, embedding: embedding, layers: layers, finalNorm: finalNorm,
        head: head)
    } catch {
      throw ModelFileError(weights: error, file: checkpoint.name)
    }
  }
}

/// Options for loading a model.
package struct LoadOptions: Sendable {
  /// Whether a converted file is searched for invalid codes and for values of tables that are not finite. Nil: if it is
  /// smaller than 64 MB.
  ///
  /// Engines are safe either way: the only invalid field value, 0, multiplies as -2. The search reads the whole file.
  /// (Weights that are packed while they are loaded are always checked.)
  package var verifyCodes: Bool?
  /// The known families of models, for folders. A converted file needs none.
  package var families: [ModelFamily]
  /// The block length of I2_S, which GGUF files do not record.
  package var i2sBlock: TilePacker.I2SBlock

  package init(
    verifyCodes: Bool? = nil, families: [ModelFamily] = ModelFamily.all, i2sBlock: TilePacker.I2SBlock = .x86
  ) {
    self.verifyCodes = verifyCodes
    self.families = families
    self.i2sBlock = i2sBlock
  }

  /// The same options with a search of the whole file.
  var verifying: LoadOptions {
    var options = self
    options.verifyCodes = true
    return options
  }
}

/// The form of a model's files.
package enum ModelFormat: String, Sendable, Codable {
  case huggingFace = "Hugging Face folder"
  case gguf = "GGUF"
  case converted = "swift-bitnet file"
}

/// A loaded model: the weights and the other contents of its files.
package struct LoadedModel: Sendable {
  package let weights: ModelWeights
  package let format: ModelFormat
  /// Nil if the files have no tokenizer.
  package let tokenizer: TokenizerSource?
  /// The Jinja template that turns messages into a prompt.
  package let chatTemplate: String?
  /// The template for chats with tools, where it is another one.
  package let toolTemplate: String?
  /// The sampling that the model's authors suggest, if they do.
  package let generation: GenerationDefaults?
  /// Nil if the files do not say how to embed texts.
  package let embedding: EmbeddingConfiguration?
  /// A short description of the origin of the weights.
  package let source: String
  /// A sentence about a probable fault that does not prevent loading.
  package let warning: String?
  /// The digest that the converter stored, which nothing has compared with the weights; nil if there is none.
  package let storedDigest: ModelDigest?
  /// The identity of the files and how they are read, as text: it changes when a file is replaced or written to. Nil
  /// for a model in memory.
  package let identity: String?

  package init(
    weights: ModelWeights, format: ModelFormat, tokenizer: TokenizerSource?, chatTemplate: String? = nil,
    toolTemplate: String? = nil, generation: GenerationDefaults? = nil, embedding: EmbeddingConfiguration? = nil,
    source: String, warning: String? = nil, storedDigest: ModelDigest? = nil, identity: String? = nil
  ) {
    self.weights = weights
    self.format = format
    self.tokenizer = tokenizer
    self.chatTemplate = chatTemplate
    self.toolTemplate = toolTemplate
    self.generation = generation
    self.embedding = embedding
    self.source = source
    self.warning = warning
    self.storedDigest = storedDigest
    self.identity = identity
  }
}

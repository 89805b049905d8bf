import BitNetInference
import BitNetTernary

/// A model's files, opened and checked, whose ternary weights are packed when they are loaded.
struct OpenedModel: Sendable {
  let path: String
  let format: ModelFormat
  let checkpoint: Checkpoint
  /// Nil if the files have no tokenizer.
  let tokenizer: TokenizerSource?
  /// The Jinja template that turns messages into a prompt.
  let chatTemplate: String?
  /// The template for chats with tools, where it is another one.
  let toolTemplate: String?
  /// The sampling that the model's authors suggest.
  let generation: GenerationDefaults?
  /// Nil if the files do not say how to embed texts.
  let embedding: EmbeddingConfiguration?

  /// Of a GGUF file.
  let ggufMetadata: GGUFMetadata?
  /// As of `LoadedModel`.
  let identity: String?

  /// The model with its weights.
  func loaded(_ weights: ModelWeights) throws(ModelFileError) -> LoadedModel {
    LoadedModel(
      weights: weights, format: format, tokenizer: tokenizer, chatTemplate: chatTemplate,
      toolTemplate: toolTemplate, generation: generation, embedding: embedding, source: FileAccess.modelName(path),
      warning: try checkpoint.scaleWarning(), storedDigest: nil, identity: identity)
  }

  /// Opens a Hugging Face folder or a GGUF file.
  ///
  /// - Returns: nil for another kind of file.
  static func open(_ path: String, options: LoadOptions) throws(ModelFileError) -> OpenedModel? {
    if FileAccess.isFolder(path) { return try OpenedModel(folder: path, families: options.families) }
    let mapping = try MappedFile(path: path)
    guard mapping.isGGUF else { return nil }
    return try OpenedModel(GGUFParts(GGUFFile(mapping: mapping)), options: options)
  }

  private init(folder path: String, families: [ModelFamily]) throws(ModelFileError) {
    let configPath = FileAccess.join(path, "config.json")
    guard let config = try FileAccess.contentsIfPresent(configPath) else {
      throw ModelFileError(
        .system, file: path, subject: "the folder", finding: "has no config.json", expected: "a Hugging Face model")
    }
    let extras = try FolderExtras(folder: path)
    let configuration = try HuggingFaceConfiguration(
      config: config, generation: extras.generation, file: configPath, families: families)
    self.path = path
    format = .huggingFace
    checkpoint = try Checkpoint(configuration: configuration, tensors: SafetensorsFolder(path: path))
    tokenizer = extras.tokenizer
    chatTemplate = extras.chatTemplate
    toolTemplate = extras.toolTemplate
    generation = extras.generation?.defaults
    embedding = extras.embedding
    ggufMetadata = nil
    // Every file of the folder that decides about weights or tokens.
    let small = [
      "config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    ]
    let others = small.compactMap { try? MappedFile(path: FileAccess.join(path, $0)) }
    identity = MappedFile.identity(of: checkpoint.files.map(\.mapping) + others)
  }

  /// A GGUF model that is open.
  init(_ parts: GGUFParts, options: LoadOptions) throws(ModelFileError) {
    let configuration = try GGUFConfiguration(parts)
    path = parts.name
    format = .gguf
    checkpoint = try Checkpoint(configuration, parts: parts, i2sBlock: options.i2sBlock)
    tokenizer = try TokenizerSource(parts)
    chatTemplate = try parts.metadata.string(GGUFName.chatTemplate)
    toolTemplate = try parts.metadata.string(GGUFName.toolTemplate)
    generation = configuration.generation
    embedding = try EmbeddingConfiguration(parts.metadata, architecture: configuration.model.architecture)
    ggufMetadata = parts.metadata
    identity = MappedFile.identity(of: parts.files.map(\.mapping)).map { "\($0)I2_S \(options.i2sBlock.rawValue)\n" }
  }
}

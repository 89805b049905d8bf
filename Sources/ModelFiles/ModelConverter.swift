package import BitNetInference
import BitNetTernary

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Writes a model as one file: in the converted form, which engines map without copying, or as GGUF.
///
/// Conversion to the converted form streams: memory holds the tensors that are being converted and at most 64 MiB of
/// output. Conversion to GGUF holds the tiles of the whole model, as running it does.
package enum ModelConverter {
  /// - Parameters:
  ///   - path: a Hugging Face folder or a GGUF file; for a GGUF output also a converted file.
  ///   - output: the path of the file to write. The file has this name only when it is complete. It is a GGUF file if
  ///     the name ends in `.gguf`.
  ///   - overwrite: whether an existing file is replaced.
  ///   - type: the type of ternary weights in a GGUF file; nil for the one that other programs of the architecture
  ///     read.
  ///   - omitsTokenizer: whether the tokenizer is left out.
  ///   - tokenizer: returns the string to embed as the model's tokenizer, which `LoadedModel.tokenizer` later returns;
  ///     called at most once. An error that it throws ends the conversion. The tokenizer of a GGUF file is copied to
  ///     another as it is.
  ///   - shared: returns the tokenizer of a GGUF output for other programs; called at most once, after `tokenizer`.
  ///   - options: how the source is read.
  ///   - progress: called on the calling thread after each piece that is written.
  /// - Throws: `ModelFileError`, or the error of `tokenizer`. The output's folder then has no new file.
  @discardableResult
  package static func convert(
    from path: String, to output: String, overwrite: Bool = false, type: GGUFTernaryType? = nil,
    omitsTokenizer: Bool = false, tokenizer: (TokenizerSource?) throws -> String? = { _ in nil },
    shared: (TokenizerSource, ModelConfiguration) throws -> GGUFTokenizer? = { _, _ in nil },
    options: LoadOptions = LoadOptions(), progress: ((ConversionProgress) -> Void)? = nil
  ) throws -> ConversionSummary {
    func embedded(_ source: TokenizerSource?) throws -> String? { try omitsTokenizer ? nil : tokenizer(source) }
    if isGGUF(output) {
      return try convertToGGUF(
        from: path, to: output, overwrite: overwrite, type: type, omitsTokenizer: omitsTokenizer, tokenizer: embedded,
        shared: shared, options: options, progress: progress)
    }
    guard let source = try OpenedModel.open(path, options: options) else {
      // An error about the file itself (missing, not safetensors, …) says more, if there is one.
      _ = try ConvertedModel(SafetensorsFile(path: path))
      throw ModelFileError(
        .unsupported, file: path, finding: "is already converted", expected: "a Hugging Face folder or a GGUF file")
    }
    try requireNoSource(of: source, at: output)
    let model = source.checkpoint.model
    let layout = ConvertedLayout(of: model)
    var metadata = try metadata(of: source, tokenizer: embedded(source.tokenizer), output: output)
    let placeholder = String(repeating: "0", count: ModelDigest.length)
    metadata[ConvertedForm.Key.digest] = placeholder
    let header = try layout.header(metadata: metadata, file: output)

    let file = try OutputFile(path: output, overwrite: overwrite)
    var writer = ConvertedWriter(
      checkpoint: source.checkpoint, file: file, total: header.count + layout.byteCount, progress: progress)
    try file.append(header)
    for tensor in layout.tensors { try writer.write(tensor) }
    guard file.count == header.count + layout.byteCount else {
      preconditionFailure("the layout and the tensors written disagree")
    }
    // The digest of what the file now holds, read as an engine will read it.
    let written = try ConvertedModel(SafetensorsFile(path: file.temporaryPath)).load(options: options)
    let digest = ModelDigest(written.weights, tokenizer: metadata[ConvertedForm.Key.tokenizer])
    guard let place = header.firstRange(of: "\"\(ConvertedForm.Key.digest)\":\"\(placeholder)\"".utf8) else {
      preconditionFailure("the header has the metadata")
    }
    try file.replace(at: place.upperBound - 1 - placeholder.utf8.count, with: Array(digest.description.utf8))
    try file.commit()
    return ConversionSummary(
      configuration: model, byteCount: file.count,
      tileByteCount: source.checkpoint.layers.reduce(0) { $0 + $1.stacks.reduce(0) { $0 + $1.byteCount } },
      hasTokenizer: metadata[ConvertedForm.Key.tokenizer] != nil, sharesTokenizer: true,
      tokenizerNotes: [], warning: try source.checkpoint.scaleWarning())
  }

  /// Whether a model's folder gives a file of this name a meaning: replacing it would destroy the model, and a new file
  /// would take the place of the shards.
  private static func isPartOfFolder(_ output: String) -> Bool {
    let name = FileAccess.name(output)
    return [SafetensorsFolder.singleName, "tokenizer.model"].contains(name)
      || [".json", ".jinja"].contains(where: name.hasSuffix)
  }

  /// Whether a file of this name is written as GGUF.
  package static func isGGUF(_ output: String) -> Bool { output.lowercased().hasSuffix(".gguf") }

  private static func convertToGGUF(
    from path: String, to output: String, overwrite: Bool, type: GGUFTernaryType?, omitsTokenizer: Bool,
    tokenizer: (TokenizerSource?) throws -> String?,
    shared: (TokenizerSource, ModelConfiguration) throws -> GGUFTokenizer?,
    options: LoadOptions, progress: ((ConversionProgress) -> Void)?
  ) throws -> ConversionSummary {
    let opened = try OpenedModel.open(path, options: options)
    if let opened { try requireNoSource(of: opened, at: output) }
    let loaded =
      try opened.map { try $0.loaded(ModelLoader.load($0.checkpoint, searchesTables: true)) }
      ?? ModelLoader.load(path: path, options: options.verifying)
    let model = loaded.weights.configuration
    let writer = try GGUFWriter(loaded.weights, type: type, output: output)
    var written = GGUFWriter.Tokenizer()
    if !omitsTokenizer { written.metadata = opened?.ggufMetadata }
    if written.isEmpty {
      written.text = try tokenizer(loaded.tokenizer)
      if !omitsTokenizer, let source = loaded.tokenizer { written.shared = try shared(source, model) }
    }
    var encoder = writer.encoder(
      name: loaded.source, tokenizer: written, chatTemplate: loaded.chatTemplate,
      toolTemplate: loaded.toolTemplate, generation: loaded.generation)
    if let embedding = loaded.embedding {
      encoder.add("\(writer.architecture).pooling_type", embedding.ggufType)
      encoder.add(GGUFName.Own.embedding, try json(embedding, file: output))
    }
    let (header, dataByteCount) = encoder.header()
    let total = header.count + dataByteCount
    let file = try OutputFile(path: output, overwrite: overwrite)
    try file.append(header)
    try writer.write(to: file) { name in
      progress?(ConversionProgress(tensor: name, writtenBytes: file.count, totalBytes: total))
    }
    guard file.count == total else { preconditionFailure("the header and the tensors written disagree") }
    try file.commit()
    return ConversionSummary(
      configuration: model, byteCount: total,
      tileByteCount: encoder.tensors.reduce(0) { $0 + ($1.type == writer.type.tensorType ? $1.byteCount : 0) },
      hasTokenizer: !written.isEmpty, sharesTokenizer: written.isShared,
      tokenizerNotes: written.shared?.notes ?? [], warning: loaded.warning)
  }

  /// - Throws: `ModelFileError` when the output is one of the source files, which replacing it would destroy, or would be
  ///   taken for one.
  private static func requireNoSource(of source: OpenedModel, at output: String) throws(ModelFileError) {
    if FileAccess.isRegularFile(output), let existing = try? MappedFile(path: output) {
      for file in source.checkpoint.files where file.mapping?.identity == existing.identity {
        throw ModelFileError(
          .system, file: output, finding: "is the model that is being converted", expected: "another name")
      }
    }
    if FileAccess.isFolder(source.path), FileAccess.isSame(source.path, FileAccess.folder(output)),
      isPartOfFolder(output)
    {
      throw ModelFileError(
        .system, file: output, finding: "has the name of a file of the model that is being converted",
        expected: "another name")
    }
  }

  private static func metadata(
    of source: OpenedModel, tokenizer: String?, output: String
  ) throws(ModelFileError) -> [String: String] {
    typealias Key = ConvertedForm.Key
    let model = source.checkpoint.model
    var metadata = [Key.format: ConvertedForm.format, Key.version: ConvertedForm.version(of: model)]
    metadata[Key.configuration] = try json(model, file: output)
    metadata[Key.source] = "\(FileAccess.modelName(source.path)) (\(model.architecture))"
    metadata[Key.tokenizer] = tokenizer
    metadata[Key.chatTemplate] = source.chatTemplate
    metadata[Key.toolTemplate] = source.toolTemplate
    if let defaults = source.generation {
      metadata[Key.generation] = try json(defaults, file: output)
    }
    if let embedding = source.embedding { metadata[Key.embedding] = try json(embedding, file: output) }
    return metadata
  }

  /// The value as JSON with sorted names: the same text every time.
  private static func json(_ value: some Encodable, file: String) throws(ModelFileError) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do {
      return String(decoding: try encoder.encode(value), as: UTF8.self)
    } catch {
      throw ModelFileError(
        .unsupported, file: file, subject: "the metadata", finding: "is not representable as JSON: \(error)")
    }
  }
}

/// The progress of a conversion.
package struct ConversionProgress: Sendable, Equatable {
  /// The name of the tensor that is being written.
  package let tensor: String
  /// The bytes of output so far.
  package let writtenBytes: Int
  /// The bytes of the whole output.
  package let totalBytes: Int
}

/// The result of a conversion.
package struct ConversionSummary: Sendable, Equatable {
  package let configuration: ModelConfiguration
  /// The bytes of the file that was written.
  package let byteCount: Int
  /// The bytes of its ternary weights.
  package let tileByteCount: Int
  package let hasTokenizer: Bool
  /// Whether a GGUF file has the tokenizer in a form that other programs read.
  package let sharesTokenizer: Bool
  /// What other programs do otherwise than the model's tokenizer, or why they cannot read it.
  package let tokenizerNotes: [String]
  /// A sentence about a probable fault of the source.
  package let warning: String?
}

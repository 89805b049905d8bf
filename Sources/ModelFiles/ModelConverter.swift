package import BitNetInference
import BitNetTernary

/// Writes a Hugging Face model as one file in the converted form, which engines map without copying.
///
/// Conversion streams: of the source, only the tensors in hand are in memory, and of the result at most a buffer of 64
/// MiB.
package enum ModelConverter {
  /// - Parameters:
  ///   - path: a Hugging Face folder.
  ///   - output: the file to write. It appears under this name only when it is complete.
  ///   - overwrite: whether a file that is already there is replaced.
  ///   - tokenizer: gives the string to embed as the model's tokenizer, which `LoadedModel.tokenizer` returns later;
  ///     called once. What it throws ends the conversion.
  ///   - families: the families of models that are known.
  ///   - progress: called on the calling thread after each piece that was written.
  /// - Throws: `ModelFileError`, or what `tokenizer` throws. Nothing is left behind in the output's folder then.
  @discardableResult
  package static func convert(
    from path: String, to output: String, overwrite: Bool = false,
    tokenizer: (TokenizerSource?) throws -> String? = { _ in nil }, families: [ModelFamily] = ModelFamily.all,
    progress: ((ConversionProgress) -> Void)? = nil
  ) throws -> ConversionSummary {
    guard FileAccess.isFolder(path) else {
      // What is wrong with the file itself (missing, no safetensors, …) is the better sentence, if something is.
      _ = try ConvertedModel(SafetensorsFile(checkedPath: path))
      throw ModelFileError(.unsupported, file: path, finding: "is converted already", expected: "a Hugging Face folder")
    }
    let folder = try HuggingFaceFolder(path: path, families: families)
    try requireNoSource(of: folder.checkpoint, at: output)
    let model = folder.checkpoint.configuration.model
    let layout = ConvertedLayout(of: model)
    let metadata = try metadata(of: folder, tokenizer: tokenizer(folder.extras.tokenizer), output: output)
    let header = try layout.header(metadata: metadata, file: output)

    let file = try OutputFile(path: output, overwrite: overwrite)
    var writer = ConvertedWriter(
      checkpoint: folder.checkpoint, file: file, total: header.count + layout.byteCount, progress: progress)
    try file.append(header)
    for tensor in layout.tensors { try writer.write(tensor) }
    guard file.count == header.count + layout.byteCount else {
      preconditionFailure("the layout and the tensors written disagree")
    }
    try file.commit()
    return ConversionSummary(
      configuration: model, byteCount: file.count, sourceByteCount: folder.checkpoint.tensors.byteCount,
      tileByteCount: folder.checkpoint.layers.reduce(0) { $0 + $1.stacks.reduce(0) { $0 + $1.byteCount } },
      hasTokenizer: metadata[ConvertedForm.Key.tokenizer] != nil)
  }

  /// - Throws: `ModelFileError` when the output is one of the files that are read: replacing it would pull it away.
  private static func requireNoSource(of checkpoint: HuggingFaceCheckpoint, at output: String) throws(ModelFileError) {
    guard FileAccess.isRegularFile(output), let existing = try? MappedFile(path: output) else { return }
    for file in checkpoint.tensors.files where file.mapping?.identity == existing.identity {
      throw ModelFileError(
        .system, file: output, finding: "is the model that is being converted", expected: "another name")
    }
  }

  private static func metadata(
    of folder: HuggingFaceFolder, tokenizer: String?, output: String
  ) throws(ModelFileError) -> [String: String] {
    typealias Key = ConvertedForm.Key
    let model = folder.checkpoint.configuration.model
    var metadata = [Key.format: ConvertedForm.format, Key.version: ConvertedForm.version(of: model)]
    metadata[Key.configuration] = String(decoding: try StrictJSON.encode(model, file: output), as: UTF8.self)
    metadata[Key.source] = "\(FileAccess.name(folder.path)) (\(model.architecture))"
    metadata[Key.tokenizer] = tokenizer
    metadata[Key.chatTemplate] = folder.extras.chatTemplate
    if let defaults = folder.extras.generation?.defaults {
      metadata[Key.generation] = String(decoding: try StrictJSON.encode(defaults, file: output), as: UTF8.self)
    }
    return metadata
  }
}

/// How far a conversion has come.
package struct ConversionProgress: Sendable, Equatable {
  /// The tensor that is being written.
  package let tensor: String
  /// Bytes of the output that are written, and that there will be.
  package let writtenBytes: Int
  package let totalBytes: Int
}

/// What a conversion wrote.
package struct ConversionSummary: Sendable, Equatable {
  package let configuration: ModelConfiguration
  /// Bytes of the file that was written.
  package let byteCount: Int
  /// Bytes of the weights it was made from.
  package let sourceByteCount: Int
  /// Bytes of ternary tiles.
  package let tileByteCount: Int
  package let hasTokenizer: Bool
}

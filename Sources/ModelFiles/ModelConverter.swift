package import BitNetInference
import BitNetTernary

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Writes a Hugging Face model as one file in the converted form, which engines map without copying.
///
/// Conversion streams: memory holds the tensors that are being converted and at most 64 MiB of output.
package enum ModelConverter {
  /// - Parameters:
  ///   - path: a Hugging Face folder.
  ///   - output: the path of the file to write. The file has this name only when it is complete.
  ///   - overwrite: whether an existing file is replaced.
  ///   - tokenizer: returns the string to embed as the model's tokenizer, which `LoadedModel.tokenizer` later returns;
  ///     called once. An error that it throws ends the conversion.
  ///   - families: the known families of models.
  ///   - progress: called on the calling thread after each piece that is written.
  /// - Throws: `ModelFileError`, or the error of `tokenizer`. The output's folder then has no new file.
  @discardableResult
  package static func convert(
    from path: String, to output: String, overwrite: Bool = false,
    tokenizer: (TokenizerSource?) throws -> String? = { _ in nil }, families: [ModelFamily] = ModelFamily.all,
    progress: ((ConversionProgress) -> Void)? = nil
  ) throws -> ConversionSummary {
    guard FileAccess.isFolder(path) else {
      // An error about the file itself (missing, not safetensors, …) says more, if there is one.
      _ = try ConvertedModel(SafetensorsFile(checkedPath: path))
      throw ModelFileError(.unsupported, file: path, finding: "is already converted", expected: "a Hugging Face folder")
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
      configuration: model, byteCount: file.count,
      tileByteCount: folder.checkpoint.layers.reduce(0) { $0 + $1.stacks.reduce(0) { $0 + $1.byteCount } },
      hasTokenizer: metadata[ConvertedForm.Key.tokenizer] != nil)
  }

  /// - Throws: `ModelFileError` when the output is one of the source files, which replacing it would destroy.
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
    metadata[Key.configuration] = try json(model, file: output)
    metadata[Key.source] = "\(FileAccess.name(folder.path)) (\(model.architecture))"
    metadata[Key.tokenizer] = tokenizer
    metadata[Key.chatTemplate] = folder.extras.chatTemplate
    if let defaults = folder.extras.generation?.defaults {
      metadata[Key.generation] = try json(defaults, file: output)
    }
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
  /// The bytes of its ternary tiles.
  package let tileByteCount: Int
  package let hasTokenizer: Bool
}

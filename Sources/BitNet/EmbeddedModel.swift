package import BitNetModelFiles
import BitNetTernary
package import BitNetTokenization

extension Tokenizer {
  /// The tokenizer in a model's files.
  package convenience init(_ source: TokenizerSource) throws {
    switch source {
    case .serialized(let text): try self.init(serialized: text)
    case .gguf(let path):
      let vocabulary = try GGUFVocabulary(GGUFParts(path: path).metadata)
      do {
        try self.init(vocabulary)
      } catch {
        throw TokenizerError(file: path, subject: error.subject, found: error.found, expected: error.expected)
      }
    case .tokenizerJSON(let path), .tokenizerModel(let path): try self.init(contentsOfFile: path)
    }
  }
}

extension Tokenizer {
  /// Reads a tokenizer file, or the vocabulary of a GGUF file.
  ///
  /// - Throws: as ``Tokenizer/init(contentsOfFile:)`` and the reader of GGUF files do.
  package convenience init(file path: String) throws {
    if ModelLoader.isGGUF(path) {
      try self.init(.gguf(path: path))
    } else {
      try self.init(contentsOfFile: path)
    }
  }
}

extension ModelLoader {
  static let embeddedName = "the embedded model"

  /// Loads the weights of a converted model that is already in memory.
  ///
  /// - Parameter bytes: the contents of a converted file, which must not change or be freed while the program runs.
  package static func load(embedded bytes: UnsafeRawBufferPointer) throws(ModelFileError) -> LoadedModel {
    try load(bytes: SharedBytes(owner: Immortal(), bytes: bytes), name: embeddedName)
  }
}

extension ModelInspection {
  /// Describes a converted model in memory.
  ///
  /// - Parameter bytes: the contents of a converted file, which must not change or be freed while the program runs.
  package init(embedded bytes: UnsafeRawBufferPointer, verify: Bool = false) throws(ModelFileError) {
    try self.init(
      bytes: SharedBytes(owner: Immortal(), bytes: bytes), name: ModelLoader.embeddedName, verify: verify)
  }
}

/// Owns memory that is never freed.
private final class Immortal {}

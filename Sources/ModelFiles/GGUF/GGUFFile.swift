package import BitNetTernary

/// A GGUF file, mapped or in memory.
package final class GGUFFile: Sendable {
  /// The path, or a name for bytes in memory.
  package let name: String
  package let header: GGUFHeader
  package let bytes: SharedBytes
  package let mapping: MappedFile?

  /// - Throws: `ModelFileError` when the file cannot be mapped or its header is malformed.
  package convenience init(path: String) throws(ModelFileError) {
    try self.init(mapping: MappedFile(path: path))
  }

  /// A file that is mapped already.
  convenience init(mapping: MappedFile) throws(ModelFileError) {
    try self.init(bytes: mapping.bytes, name: mapping.path, mapping: mapping)
  }

  /// - Parameters:
  ///   - bytes: the whole file.
  ///   - name: for errors.
  /// - Throws: `ModelFileError`.
  package convenience init(bytes: SharedBytes, name: String) throws(ModelFileError) {
    try self.init(bytes: bytes, name: name, mapping: nil)
  }

  private init(bytes: SharedBytes, name: String, mapping: MappedFile?) throws(ModelFileError) {
    header = try GGUFHeader(parsing: bytes, file: name)
    self.bytes = bytes
    self.name = name
    self.mapping = mapping
  }

  /// The tensor of that name, or nil.
  package subscript(name: String) -> StoredTensor? {
    header[name].map { StoredTensor(file: self, name: $0.name, type: $0.type, shape: $0.shape, range: $0.range) }
  }
}

extension GGUFFile: TensorFile {}

extension MappedFile {
  /// Whether the file starts as a GGUF file does.
  var isGGUF: Bool { bytes.withUnsafeBytes { $0.starts(with: GGUFHeader.magic) } }
}

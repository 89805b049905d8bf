package import BitNetTernary

/// A file that holds tensors, mapped or in memory.
package protocol TensorFile: Sendable {
  /// The path, or a name for bytes in memory.
  var name: String { get }
  /// The whole file.
  var bytes: SharedBytes { get }
  /// Nil for bytes in memory.
  var mapping: MappedFile? { get }
}

/// The header of a format, which says where the tensors are.
package protocol TensorFileHeader: Sendable {
  /// - Parameters:
  ///   - bytes: the whole file.
  ///   - file: the file's name, for errors.
  /// - Throws: `ModelFileError`.
  init(parsing bytes: SharedBytes, file: String) throws(ModelFileError)

  /// The type, the shape and the place in the file of the tensor of that name, or nil.
  func place(of name: String) -> (type: TensorType, shape: [Int], range: Range<Int>)?
}

package typealias SafetensorsFile = FileOfTensors<SafetensorsHeader>
package typealias GGUFFile = FileOfTensors<GGUFHeader>

/// A file of a format with a header, mapped or in memory.
package final class FileOfTensors<Header: TensorFileHeader>: TensorFile {
  /// The path, or a name for bytes in memory.
  package let name: String
  package let header: Header
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
    header = try Header(parsing: bytes, file: name)
    self.bytes = bytes
    self.name = name
    self.mapping = mapping
  }

  /// The tensor of that name, or nil.
  package subscript(name: String) -> StoredTensor? {
    header.place(of: name).map { place in
      StoredTensor(file: self, name: name, type: place.type, shape: place.shape, range: place.range)
    }
  }
}

extension SafetensorsHeader: TensorFileHeader {
  package init(parsing bytes: SharedBytes, file: String) throws(ModelFileError) {
    self = try bytes.withUnsafeBytes { (raw) throws(ModelFileError) in
      try SafetensorsHeader(parsing: raw, fileSize: raw.count, file: file)
    }
  }

  package func place(of name: String) -> (type: TensorType, shape: [Int], range: Range<Int>)? {
    self[name].map { ($0.type, $0.shape, $0.range) }
  }
}

extension GGUFHeader: TensorFileHeader {
  package func place(of name: String) -> (type: TensorType, shape: [Int], range: Range<Int>)? {
    self[name].map { ($0.type, $0.shape, $0.range) }
  }
}

extension MappedFile {
  /// Whether the file starts as a GGUF file does.
  var isGGUF: Bool { bytes.withUnsafeBytes { $0.starts(with: GGUFHeader.magic) } }
}

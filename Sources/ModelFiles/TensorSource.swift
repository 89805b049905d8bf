package import BitNetTernary

/// A checkpoint's tensors by name: safetensors files or GGUF files.
protocol TensorSource: Sendable {
  /// The path of the files, or a name for files in memory.
  var name: String { get }
  /// The names of all tensors, sorted.
  var names: [String] { get }
  /// The tensor of that name, or nil.
  subscript(name: String) -> StoredTensor? { get }
}

/// A file that holds tensors, mapped or in memory.
package protocol TensorFile: Sendable {
  /// The path, or a name for bytes in memory.
  var name: String { get }
  /// The whole file.
  var bytes: SharedBytes { get }
  /// Nil for bytes in memory.
  var mapping: MappedFile? { get }
}

extension SafetensorsFolder: TensorSource {}
extension SafetensorsFile: TensorFile {}

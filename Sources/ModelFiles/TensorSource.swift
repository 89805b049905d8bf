/// A checkpoint's tensors by name: safetensors files or GGUF files.
protocol TensorSource: Sendable {
  /// The path of the files, or a name for files in memory.
  var name: String { get }
  /// The names of all tensors, sorted.
  var names: [String] { get }
  /// The tensor of that name, or nil.
  subscript(name: String) -> StoredTensor? { get }
}

extension SafetensorsFolder: TensorSource {}

import BitNetJSON
package import BitNetTernary

/// A checkpoint's tensors: one `model.safetensors`, or shards listed by `model.safetensors.index.json`.
package struct SafetensorsFolder: Sendable {
  package static let singleName = "model.safetensors"
  package static let indexName = "model.safetensors.index.json"
  /// PyTorch's own files, which are programs to be run.
  private static let pickledNames = ["pytorch_model.bin", "pytorch_model.bin.index.json"]
  static let largestIndex = 64 << 20

  /// The folder's path, or a name for files in memory.
  package let name: String
  package let files: [SafetensorsFile]
  private let places: [String: Int]

  /// - Throws: `ModelFileError` when the folder has neither form, an index names a file outside the folder, a shard is
  ///   missing, or a shard lacks a tensor that the index places in it.
  package init(path: String) throws(ModelFileError) {
    // The single file wins if both exist, as in the reference library.
    let single = FileAccess.join(path, Self.singleName)
    if FileAccess.exists(single) {
      try self.init(name: path, single: SafetensorsFile(path: single))
    } else if let index = try FileAccess.contentsIfPresent(FileAccess.join(path, Self.indexName)) {
      try self.init(name: path, index: index) { (shard) throws(ModelFileError) in
        try SafetensorsFile(path: FileAccess.join(path, shard))
      }
    } else if Self.pickledNames.contains(where: { FileAccess.exists(FileAccess.join(path, $0)) }) {
      throw ModelFileError(
        .unsupported, file: path, subject: "the folder", finding: "has its weights in pytorch_model.bin only",
        expected: "\(Self.singleName): load the folder with transformers and write it with save_pretrained")
    } else {
      throw ModelFileError(
        .system, file: path, subject: "the folder", finding: "has no weights",
        expected: "\(Self.singleName) or \(Self.indexName)")
    }
  }

  /// - Parameter single: the one file that holds all tensors.
  package init(name: String, single: SafetensorsFile) throws(ModelFileError) {
    self.name = name
    self.files = [single]
    self.places = Dictionary(single.header.tensors.map { ($0.name, 0) }) { first, _ in first }
  }

  /// - Parameters:
  ///   - index: the index's JSON, whose `weight_map` gives the file of every tensor.
  ///   - open: opens a shard by its plain name.
  package init(
    name: String, index: SharedBytes, open: (String) throws(ModelFileError) -> SafetensorsFile
  ) throws(ModelFileError) {
    let indexPath = FileAccess.join(name, Self.indexName)
    let map = try Self.weightMap(index, folder: name)
    var files: [SafetensorsFile] = []
    var numbers: [String: Int] = [:]
    for shard in Set(map.values).sorted() {
      numbers[shard] = files.count
      files.append(try open(shard))
    }
    var places: [String: Int] = [:]
    for (tensor, shard) in map.sorted(by: { $0.key < $1.key }) {
      guard let number = numbers[shard], files[number][tensor] != nil else {
        throw ModelFileError(
          .malformed, file: indexPath, subject: "weight_map.\(tensor)", finding: "is \(shard)",
          expected: "a shard that holds this tensor")
      }
      places[tensor] = number
    }
    self.name = name
    self.files = files
    self.places = places
  }

  /// The file of every tensor, by an index. Files are plain names.
  private static func weightMap(_ index: SharedBytes, folder: String) throws(ModelFileError) -> [String: String] {
    let indexPath = FileAccess.join(folder, indexName)
    let map = try index.withUnsafeBytes { (raw) throws(ModelFileError) in
      try JSONDocument.read(raw, file: indexPath, subject: "the index", limit: largestIndex) {
        (json) throws(JSONError) in try json["weight_map"].stringsByName()
      }
    }
    for (tensor, shard) in map.sorted(by: { $0.key < $1.key }) {
      guard !shard.isEmpty, !shard.contains("/"), !shard.contains("\\"), shard != ".", shard != "..",
        !shard.contains("\0")
      else {
        throw ModelFileError(
          .malformed, file: indexPath, subject: "weight_map.\(tensor)", finding: "is \"\(shard)\"",
          expected: "the name of a file in the same folder")
      }
    }
    return map
  }

  /// The names of the files that a folder's index lists, sorted; they may be missing.
  ///
  /// - Throws: `ModelFileError` when there is no index, or one that cannot be used.
  package static func shards(inFolder folder: String) throws(ModelFileError) -> [String] {
    let path = FileAccess.join(folder, indexName)
    return Set(try weightMap(MappedFile(path: path).bytes, folder: folder).values).sorted()
  }

  /// The tensor of that name, or nil.
  package subscript(name: String) -> StoredTensor? { places[name].flatMap { files[$0][name] } }

  /// The names of all tensors, sorted.
  package var names: [String] { places.keys.sorted() }

  /// The bytes of all files.
  package var byteCount: Int { files.reduce(0) { $0 + $1.bytes.count } }
}

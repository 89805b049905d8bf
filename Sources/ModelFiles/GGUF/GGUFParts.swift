import BitNetTernary

/// A GGUF model: one file, or the parts of one that was split, as `NAME-00001-of-00003.gguf`.
package struct GGUFParts: TensorSource {
  enum Key {
    static let number = "split.no"
    static let count = "split.count"
    static let tensors = "split.tensors.count"
  }

  /// The path of the first part.
  package let name: String
  package let files: [GGUFFile]
  private let places: [String: Int]

  /// The metadata of the model, which is in the first part.
  package var metadata: GGUFMetadata { files[0].header.metadata }

  /// - Parameter path: the file, or any part of a split one.
  /// - Throws: `ModelFileError` when a part is missing, belongs elsewhere, or repeats a tensor.
  package init(path: String) throws(ModelFileError) { try self.init(GGUFFile(path: path)) }

  /// - Parameters:
  ///   - file: the file, or any part of a split one.
  ///   - open: opens another part by its path.
  package init(
    _ file: GGUFFile,
    open: (String) throws(ModelFileError) -> GGUFFile = { (path) throws(ModelFileError) in try GGUFFile(path: path) }
  ) throws(ModelFileError) {
    let count = try file.header.metadata.integer(Key.count) ?? 1
    guard count > 1 else {
      try Self.requireWhole(file, count: count)
      try self.init(files: [file])
      return
    }
    let number = try Self.number(of: file, count: count)
    let stem = try Self.stem(of: file, number: number, count: count)
    var files: [GGUFFile] = []
    for index in 0..<count {
      let part = index == number ? file : try open(Self.name(stem, index, count))
      guard try Self.number(of: part, count: count) == index else {
        throw part.header.metadata.refusal(
          Key.number, "is not \(index), as the file's name says", expected: "the parts of one model")
      }
      files.append(part)
    }
    try self.init(files: files)
    let metadata = files[0].header.metadata
    guard let total = try metadata.integer(Key.tensors), total != places.count else { return }
    throw metadata.refusal(Key.tensors, "is \(total)", expected: "\(places.count), the tensors of all parts")
  }

  private init(files: [GGUFFile]) throws(ModelFileError) {
    var places: [String: Int] = [:]
    for (number, file) in files.enumerated() {
      for tensor in file.header.tensors {
        if let other = places.updateValue(number, forKey: tensor.name) {
          throw ModelFileError(
            .malformed, file: file.name, subject: "tensor \(tensor.name)", finding: "is also in \(files[other].name)",
            expected: "each tensor in one part")
        }
      }
    }
    name = files[0].name
    self.files = files
    self.places = places
  }

  /// - Throws: `ModelFileError` for a file that is no part of several and says so in one key but not in another.
  private static func requireWhole(_ file: GGUFFile, count: Int) throws(ModelFileError) {
    let metadata = file.header.metadata
    guard count >= 0 else { throw metadata.refusal(Key.count, "is \(count)", expected: "the number of parts") }
    if let number = try metadata.integer(Key.number), number != 0 {
      throw metadata.refusal(Key.number, "is \(number)", expected: "0 in a file that has no other parts")
    }
    if let total = try metadata.integer(Key.tensors), total != file.header.tensors.count {
      throw metadata.refusal(
        Key.tensors, "is \(total)", expected: "\(file.header.tensors.count), the tensors of the file")
    }
  }

  private static func number(of file: GGUFFile, count: Int) throws(ModelFileError) -> Int {
    let metadata = file.header.metadata
    let number = try metadata.required(Key.number, metadata.integer(Key.number))
    guard 0..<count ~= number, try metadata.integer(Key.count) == count else {
      throw metadata.refusal(Key.number, "is \(number)", expected: "a part of \(count)")
    }
    return number
  }

  private static func name(_ stem: String, _ index: Int, _ count: Int) -> String {
    func digits(_ number: Int) -> String {
      let text = String(number)
      return String(repeating: "0", count: max(0, 5 - text.count)) + text
    }
    return "\(stem)-\(digits(index + 1))-of-\(digits(count)).gguf"
  }

  private static func stem(of file: GGUFFile, number: Int, count: Int) throws(ModelFileError) -> String {
    let ending = name("", number, count)
    guard file.name.hasSuffix(ending) else {
      throw ModelFileError(
        .unsupported, file: file.name, finding: "is part \(number + 1) of \(count) under another name",
        expected: "a name that ends in \(ending), beside the other parts")
    }
    return String(file.name.dropLast(ending.count))
  }

  /// The bytes of all files.
  package var byteCount: Int { files.reduce(0) { $0 + $1.bytes.count } }

  /// The tensor of that name, or nil.
  package subscript(name: String) -> StoredTensor? { places[name].flatMap { files[$0][name] } }

  /// The names of all tensors, sorted.
  package var names: [String] { places.keys.sorted() }
}

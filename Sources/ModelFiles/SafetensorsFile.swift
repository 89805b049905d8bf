package import BitNetTernary

/// A safetensors file, mapped or in memory.
package final class SafetensorsFile: Sendable {
  /// The path, or a name for bytes in memory.
  package let name: String
  package let header: SafetensorsHeader
  package let bytes: SharedBytes
  let mapping: MappedFile?

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
  /// - Throws: `ModelFileError` of kind `.malformed`.
  package convenience init(bytes: SharedBytes, name: String) throws(ModelFileError) {
    try self.init(bytes: bytes, name: name, mapping: nil)
  }

  private init(bytes: SharedBytes, name: String, mapping: MappedFile?) throws(ModelFileError) {
    self.header = try bytes.withUnsafeBytes { (raw) throws(ModelFileError) in
      try SafetensorsHeader(parsing: raw, fileSize: raw.count, file: name)
    }
    self.bytes = bytes
    self.name = name
    self.mapping = mapping
  }

  /// The tensor of that name, or nil.
  package subscript(name: String) -> StoredTensor? {
    header[name].map { StoredTensor(file: self, description: $0) }
  }
}

/// A tensor in a file: its description and its bytes.
package struct StoredTensor: Sendable {
  package let file: SafetensorsFile
  package let description: SafetensorsHeader.Tensor

  package var name: String { description.name }
  package var type: TensorType { description.type }
  package var shape: [Int] { description.shape }
  package var byteCount: Int { description.range.count }
  /// The elements, little-endian, row-major; not necessarily aligned.
  package var bytes: SharedBytes {
    guard let slice = file.bytes.slice(description.range) else {
      preconditionFailure("the header was checked against the file")
    }
    return slice
  }

  /// Releases the memory of bytes that have been read, if the file is mapped; they may be read again.
  func release(_ range: Range<Int>) {
    let start = description.range.lowerBound
    file.mapping?.release(start + range.lowerBound..<start + range.upperBound)
  }

  /// Starts reading the tensor from the disk, if the file is mapped.
  func prefetch() { file.mapping?.prefetch(description.range) }

  func refusal(_ finding: String, expected: String? = nil) -> ModelFileError {
    ModelFileError(tensor: name, file: file.name, finding: finding, expected: expected)
  }

  /// - Throws: `ModelFileError` unless the tensor has one of the types and exactly this shape.
  func require(_ types: [TensorType], shape expected: [Int]) throws(ModelFileError) {
    guard types.contains(type) else {
      throw refusal("has dtype \(type.rawValue)", expected: types.map(\.rawValue).joined(separator: " or "))
    }
    guard shape == expected else { throw refusal("has shape \(shape)", expected: "\(expected)") }
  }
}

extension StoredTensor {
  /// Types that `read(into:)` widens to Float.
  static let floatTypes: [TensorType] = [.bf16, .f16, .f32]

  /// Widens elements to Float, exactly.
  ///
  /// - Parameters:
  ///   - first: the first element, with `first + count` inside the tensor.
  ///   - values: room for `count` values.
  @inline(__always)
  func read(from first: Int, count: Int, into values: UnsafeMutablePointer<Float>) {
    let source = bytes.baseAddress + first * type.byteCount
    switch type {
    case .bf16:
      for index in 0..<count {
        let bits = UInt16(littleEndian: source.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self))
        values[index] = Float(bfloat16Bits: bits)
      }
    case .f16:
      for index in 0..<count {
        let bits = UInt16(littleEndian: source.loadUnaligned(fromByteOffset: 2 * index, as: UInt16.self))
        values[index] = Float(halfBits: bits)
      }
    case .f32:
      for index in 0..<count {
        let bits = UInt32(littleEndian: source.loadUnaligned(fromByteOffset: 4 * index, as: UInt32.self))
        values[index] = Float(bitPattern: bits)
      }
    default: preconditionFailure("the caller checked the type")
    }
  }

  /// The elements as Float.
  /// - Throws: `ModelFileError` naming the first element that is not finite.
  func floats() throws(ModelFileError) -> [Float] {
    let count = description.elementCount
    let values = [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
      if count > 0 { read(from: 0, count: count, into: buffer.baseAddress!) }
      initialized = count
    }
    if let index = values.firstIndex(where: { !$0.isFinite }) {
      throw refusal("holds \(values[index]) at index \(index)", expected: "finite values")
    }
    return values
  }
}

package import BitNetTernary

/// A tensor in a file: its description and its bytes.
package struct StoredTensor: Sendable {
  package let file: any TensorFile
  package let name: String
  package let type: TensorType
  /// Outermost first; empty for a scalar.
  package let shape: [Int]
  /// The place of the elements, in bytes from the start of the file.
  let range: Range<Int>

  /// - Parameter range: inside the file, of the size that type and shape have.
  init(file: any TensorFile, name: String, type: TensorType, shape: [Int], range: Range<Int>) {
    self.file = file
    self.name = name
    self.type = type
    self.shape = shape
    self.range = range
  }

  package var byteCount: Int { range.count }
  /// The number of elements, the product of the shape.
  var elementCount: Int { shape.reduce(1, *) }
  /// The elements, little-endian, row-major; not necessarily aligned.
  package var bytes: SharedBytes {
    guard let slice = file.bytes.slice(range) else {
      preconditionFailure("the header was checked against the file")
    }
    return slice
  }

  /// Releases the memory of bytes that have been read, if the file is mapped; they may be read again.
  func release(_ part: Range<Int>) {
    file.mapping?.release(range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound)
  }

  /// Releases the memory of elements that have been read; of a type with blocks, of the whole blocks among them.
  func release(elements: Range<Int>) {
    release(type.byteCount(ofElements: elements.lowerBound)..<type.byteCount(ofElements: elements.upperBound))
  }

  /// Starts reading the tensor from the disk, if the file is mapped.
  func prefetch() { file.mapping?.prefetch(range) }

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
  /// Types of one element each that `read(from:count:into:)` widens to Float.
  static let floatTypes: [TensorType] = [.bf16, .f16, .f32]

  /// Widens elements to Float, exactly; those of quantised types are multiplied by their scales in Float.
  ///
  /// - Parameters:
  ///   - first: the first element, with `first + count` inside the tensor; of a quantised type, both at the start of a
  ///     block.
  ///   - values: room for `count` values.
  @inline(__always)
  func read(from first: Int, count: Int, into values: UnsafeMutablePointer<Float>) {
    let source = bytes.baseAddress + type.byteCount(ofElements: first)
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
    case .q8_0: QuantisedBlocks.readQ8_0(source, count: count, into: values)
    case .q4_0: QuantisedBlocks.readQ4_0(source, count: count, into: values)
    case .q4_K: QuantisedBlocks.readQ4_K(source, count: count, into: values)
    case .q6_K: QuantisedBlocks.readQ6_K(source, count: count, into: values)
    default: preconditionFailure("the caller checked the type")
    }
  }

  /// The elements as Float.
  /// - Throws: `ModelFileError` naming the first element that is not finite.
  package func floats() throws(ModelFileError) -> [Float] {
    let count = elementCount
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

package import BitNetModelFiles
package import BitNetTernary

/// Builds safetensors files, valid and broken ones.
package struct TensorFileBuilder {
  package struct Tensor {
    package var name: String
    package var type: String
    package var shape: [Int]
    package var bytes: [UInt8]

    package init(name: String, type: String, shape: [Int], bytes: [UInt8]) {
      self.name = name
      self.type = type
      self.shape = shape
      self.bytes = bytes
    }
  }

  package var tensors: [Tensor] = []
  package var metadata: [String: String] = [:]

  package init() {}

  package subscript(name: String) -> Tensor? {
    get { tensors.first { $0.name == name } }
    set {
      let index = tensors.firstIndex { $0.name == name }
      switch (index, newValue) {
      case (let index?, let tensor?): tensors[index] = tensor
      case (let index?, nil): tensors.remove(at: index)
      case (nil, let tensor?): tensors.append(tensor)
      case (nil, nil): break
      }
    }
  }

  package mutating func add(_ name: String, _ type: TensorType, _ shape: [Int], _ bytes: [UInt8]) {
    self[name] = Tensor(name: name, type: type.rawValue, shape: shape, bytes: bytes)
  }

  package mutating func add(_ name: String, bfloat16 values: [Float], shape: [Int]? = nil) {
    add(name, .bf16, shape ?? [values.count], values.flatMap { littleEndian($0.bfloat16Bits) })
  }

  package mutating func add(_ name: String, float32 values: [Float], shape: [Int]? = nil) {
    add(name, .f32, shape ?? [values.count], values.flatMap { littleEndian($0.bitPattern) })
  }

  /// The file's bytes, its tensors in the order in which they were added.
  ///
  /// - Parameter lengthModulo: the header's length modulo 8: 0 is usual, 1 puts all data at odd places.
  package func file(lengthModulo: Int = 0) -> [UInt8] {
    var members: [String] = []
    if !metadata.isEmpty {
      members.append(
        "\"__metadata__\":{"
          + metadata.sorted { $0.key < $1.key }.map { "\(quoted($0)):\(quoted($1))" }.joined(separator: ",") + "}")
    }
    var end = 0
    for tensor in tensors {
      let shape = tensor.shape.map(String.init).joined(separator: ",")
      let offsets = "\(end),\(end + tensor.bytes.count)"
      members.append(
        "\(quoted(tensor.name)):{\"dtype\":\"\(tensor.type)\",\"shape\":[\(shape)],"
          + "\"data_offsets\":[\(offsets)]}")
      end += tensor.bytes.count
    }
    var header = "{" + members.joined(separator: ",") + "}"
    while header.utf8.count % 8 != lengthModulo { header += " " }
    return Self.file(header: header, data: tensors.flatMap(\.bytes))
  }

  package static func file(header: String, data: [UInt8] = []) -> [UInt8] {
    littleEndian(UInt64(header.utf8.count)) + Array(header.utf8) + data
  }
}

package func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian, Array.init)
}

/// The text as a JSON string.
package func quoted(_ text: String) -> String {
  "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
}

/// Bytes in memory of their own.
package func shared(_ bytes: [UInt8]) -> SharedBytes {
  let buffer = AlignedBuffer(count: bytes.count)
  buffer.bytes.copyBytes(from: bytes)
  return buffer.shared
}

package func shared(_ text: String) -> SharedBytes { shared(Array(text.utf8)) }

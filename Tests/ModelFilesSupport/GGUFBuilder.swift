/// Builds GGUF files, valid and broken ones.
package struct GGUFBuilder {
  package enum Value {
    case u8(UInt8), i8(Int8), u16(UInt16), i16(Int16), u32(UInt32), i32(Int32), f32(Float), bool(Bool)
    case string(String)
    case u64(UInt64), i64(Int64), f64(Double)
    case strings([String]), floats([Float]), integers([Int32]), doubles([Double])
    /// A value type, and bytes as they are.
    case raw(UInt32, [UInt8])

    var bytes: [UInt8] {
      func array(_ type: UInt32, _ count: Int, _ bytes: [UInt8]) -> [UInt8] {
        littleEndian(UInt32(9)) + littleEndian(type) + littleEndian(UInt64(count)) + bytes
      }
      return switch self {
      case .u8(let value): littleEndian(UInt32(0)) + [value]
      case .i8(let value): littleEndian(UInt32(1)) + littleEndian(value)
      case .u16(let value): littleEndian(UInt32(2)) + littleEndian(value)
      case .i16(let value): littleEndian(UInt32(3)) + littleEndian(value)
      case .u32(let value): littleEndian(UInt32(4)) + littleEndian(value)
      case .i32(let value): littleEndian(UInt32(5)) + littleEndian(value)
      case .f32(let value): littleEndian(UInt32(6)) + littleEndian(value.bitPattern)
      case .bool(let value): littleEndian(UInt32(7)) + [value ? 1 : 0]
      case .string(let value): littleEndian(UInt32(8)) + text(value)
      case .u64(let value): littleEndian(UInt32(10)) + littleEndian(value)
      case .i64(let value): littleEndian(UInt32(11)) + littleEndian(value)
      case .f64(let value): littleEndian(UInt32(12)) + littleEndian(value.bitPattern)
      case .strings(let values): array(8, values.count, values.flatMap(text))
      case .floats(let values): array(6, values.count, values.flatMap { littleEndian($0.bitPattern) })
      case .integers(let values): array(5, values.count, values.flatMap { littleEndian($0) })
      case .doubles(let values): array(12, values.count, values.flatMap { littleEndian($0.bitPattern) })
      case .raw(let type, let bytes): littleEndian(type) + bytes
      }
    }
  }

  package struct Tensor {
    package var name: String
    /// The fastest extent first, as in the file.
    package var extents: [UInt64]
    package var type: UInt32
    package var bytes: [UInt8]
    /// Nil: after the tensor before it.
    package var offset: UInt64?

    package init(_ name: String, _ extents: [UInt64], type: UInt32, bytes: [UInt8], offset: UInt64? = nil) {
      self.name = name
      self.extents = extents
      self.type = type
      self.bytes = bytes
      self.offset = offset
    }
  }

  package var version: UInt32 = 3
  package var alignment = 32
  package var metadata: [(key: String, value: Value)] = []
  package var tensors: [Tensor] = []

  package init() {}

  package subscript(key: String) -> Value? {
    get { metadata.first { $0.key == key }?.value }
    set {
      let index = metadata.firstIndex { $0.key == key }
      switch (index, newValue) {
      case (let index?, let value?): metadata[index].value = value
      case (let index?, nil): metadata.remove(at: index)
      case (nil, let value?): metadata.append((key, value))
      case (nil, nil): break
      }
    }
  }

  package func tensor(_ name: String) -> Int? { tensors.firstIndex { $0.name == name } }

  /// The bytes up to the data.
  package func header() -> [UInt8] {
    var bytes = Array("GGUF".utf8) + littleEndian(version) + littleEndian(UInt64(tensors.count))
    bytes += littleEndian(UInt64(metadata.count))
    for (key, value) in metadata { bytes += text(key) + value.bytes }
    var end: UInt64 = 0
    for tensor in tensors {
      bytes += text(tensor.name) + littleEndian(UInt32(tensor.extents.count))
      bytes += tensor.extents.flatMap { littleEndian($0) } + littleEndian(tensor.type)
      bytes += littleEndian(tensor.offset ?? end)
      end = aligned((tensor.offset ?? end) + UInt64(tensor.bytes.count))
    }
    return bytes
  }

  package func file() -> [UInt8] {
    var bytes = header()
    func pad() { bytes += [UInt8](repeating: 0, count: Int(aligned(UInt64(bytes.count))) - bytes.count) }
    pad()
    for tensor in tensors {
      bytes += tensor.bytes
      pad()
    }
    return bytes
  }

  private func aligned(_ offset: UInt64) -> UInt64 {
    (offset + UInt64(alignment) - 1) / UInt64(alignment) * UInt64(alignment)
  }

}

private func text(_ text: String) -> [UInt8] { littleEndian(UInt64(text.utf8.count)) + Array(text.utf8) }

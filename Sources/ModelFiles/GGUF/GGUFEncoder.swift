import BitNetTernary

/// Collects the header of a GGUF file: keys with values, and the descriptions of tensors.
struct GGUFEncoder {
  struct Tensor {
    let name: String
    /// Outermost first.
    let shape: [Int]
    let type: TensorType
    let byteCount: Int
  }

  static let version: UInt32 = 3
  static let alignment = GGUFHeader.defaultAlignment

  private var keys: [UInt8] = []
  private var keyCount = 0
  private(set) var tensors: [Tensor] = []

  private static func bytes(_ text: [UInt8]) -> [UInt8] { bytes(UInt64(text.count)) + text }

  private static func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian, Array.init)
  }

  private mutating func add(_ key: String, _ type: GGUFValueType, _ value: [UInt8]) {
    keys += Self.bytes(Array(key.utf8)) + Self.bytes(type.rawValue) + value
    keyCount += 1
  }

  mutating func add(_ key: String, _ value: String) { add(key, .string, Self.bytes(Array(value.utf8))) }

  mutating func add(_ key: String, _ value: UInt32) { add(key, .u32, Self.bytes(value)) }

  mutating func add(_ key: String, _ value: Int) { add(key, UInt32(clamping: value)) }

  /// Adds a number as f32, the type that other readers want.
  mutating func add(_ key: String, _ value: Double) { add(key, .f32, Self.bytes(Float(value).bitPattern)) }

  mutating func add(_ key: String, _ value: Bool) { add(key, .bool, [value ? 1 : 0]) }

  mutating func add(_ key: String, byteStrings values: [[UInt8]]) {
    var elements: [UInt8] = []
    elements.reserveCapacity(values.reduce(0) { $0 + 8 + $1.count })
    for value in values { elements += Self.bytes(value) }
    add(key, .array, Self.bytes(GGUFValueType.string.rawValue) + Self.bytes(UInt64(values.count)) + elements)
  }

  mutating func add(_ key: String, floats values: [Float]) {
    let elements = values.flatMap { Self.bytes($0.bitPattern) }
    add(key, .array, Self.bytes(GGUFValueType.f32.rawValue) + Self.bytes(UInt64(values.count)) + elements)
  }

  mutating func add(_ key: String, doubles values: [Double]) {
    let elements = values.flatMap { Self.bytes($0.bitPattern) }
    add(key, .array, Self.bytes(GGUFValueType.f64.rawValue) + Self.bytes(UInt64(values.count)) + elements)
  }

  mutating func add(_ key: String, integers values: [Int32]) {
    let elements = values.flatMap { Self.bytes($0) }
    add(key, .array, Self.bytes(GGUFValueType.i32.rawValue) + Self.bytes(UInt64(values.count)) + elements)
  }

  /// Adds a key of another file as it is.
  mutating func add(_ entry: GGUFMetadata.Entry, of metadata: GGUFMetadata) {
    let value = metadata.bytes.withUnsafeBytes { Array($0[entry.value.range]) }
    let prefix = entry.value.elementType.map { Self.bytes($0.rawValue) + Self.bytes(UInt64(entry.value.count)) } ?? []
    add(entry.key, entry.value.type, prefix + value)
  }

  mutating func add(_ tensor: Tensor) { tensors.append(tensor) }

  /// The bytes of the file before its data, and those of its data.
  func header() -> (bytes: [UInt8], dataByteCount: Int) {
    var bytes = GGUFHeader.magic + Self.bytes(Self.version) + Self.bytes(UInt64(tensors.count))
    bytes += Self.bytes(UInt64(keyCount)) + keys
    var offset = 0
    for tensor in tensors {
      bytes += Self.bytes(Array(tensor.name.utf8)) + Self.bytes(UInt32(tensor.shape.count))
      for extent in tensor.shape.reversed() { bytes += Self.bytes(UInt64(extent)) }
      bytes += Self.bytes(tensor.type.ggufNumber ?? 0) + Self.bytes(UInt64(offset))
      offset += tensor.byteCount.roundedUp(to: Self.alignment)
    }
    bytes += [UInt8](repeating: 0, count: bytes.count.roundedUp(to: Self.alignment) - bytes.count)
    return (bytes, offset)
  }
}

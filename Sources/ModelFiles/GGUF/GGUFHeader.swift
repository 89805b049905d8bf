package import BitNetTernary

/// The header of a GGUF file, version 2 or 3: metadata and the descriptions of tensors, which precede their data.
///
/// Every count and offset is checked against the file's size before it is used, so that memory stays in proportion to
/// the file. Tensors may leave holes but not overlap.
package struct GGUFHeader: Sendable {
  /// The description of a tensor.
  package struct Tensor: Sendable, Equatable {
    package let name: String
    package let type: TensorType
    /// Outermost first, the reverse of the file's order; empty for a scalar.
    package let shape: [Int]
    /// The place of the elements, in bytes from the start of the file.
    package let range: Range<Int>
  }

  static let magic = Array("GGUF".utf8)
  package static let versions: ClosedRange<UInt32> = 2...3
  package static let defaultAlignment = 32
  static let alignmentKey = "general.alignment"

  package let version: UInt32
  package let metadata: GGUFMetadata
  /// In the order of the file.
  package let tensors: [Tensor]
  /// The alignment of tensors, in bytes: a power of two.
  package let alignment: Int
  /// The end of the metadata, before the descriptions of tensors.
  package let metadataEnd: Int
  /// The first byte of the data in the file.
  package let dataStart: Int
  private let indices: [String: Int]

  /// The tensor of that name.
  package subscript(name: String) -> Tensor? { indices[name].map { tensors[$0] } }

  /// - Parameters:
  ///   - bytes: the whole file.
  ///   - file: the file's name, for errors.
  /// - Throws: `ModelFileError` of kind `.malformed`, or `.unsupported` for another version, naming the key or tensor.
  package init(parsing bytes: SharedBytes, file: String) throws(ModelFileError) {
    var cursor = GGUFCursor(bytes, file: file)
    guard try cursor.magic() == Self.magic else {
      throw cursor.refusal("the file", "does not start with GGUF", "a GGUF file")
    }
    version = try cursor.integer(UInt32.self, "the version")
    guard Self.versions ~= version else {
      let isBigEndian = Self.versions ~= version.byteSwapped
      throw ModelFileError(
        .unsupported, file: file, subject: "the version",
        finding: isBigEndian ? "is \(version.byteSwapped) in big-endian order" : "is \(version)",
        expected: isBigEndian ? "a little-endian file" : "2 or 3")
    }
    // A tensor takes at least 24 bytes and a key 13.
    let tensorCount = try cursor.count("the number of tensors", smallest: 24)
    let keyCount = try cursor.count("the number of keys", smallest: 13)
    metadata = try Self.metadata(&cursor, count: keyCount)
    metadataEnd = cursor.offset
    alignment = try Self.alignment(metadata, file: file)
    let raw = try Self.descriptions(&cursor, count: tensorCount)
    dataStart = cursor.offset.roundedUp(to: alignment)
    tensors = try Self.place(raw, dataStart: dataStart, alignment: alignment, fileSize: bytes.count, file: file)
    var indices: [String: Int] = [:]
    for (index, tensor) in tensors.enumerated() where indices.updateValue(index, forKey: tensor.name) != nil {
      throw cursor.refusal("tensor \(tensor.name)", "is given twice", "each name once")
    }
    self.indices = indices
  }

  private static func metadata(_ cursor: inout GGUFCursor, count: Int) throws(ModelFileError) -> GGUFMetadata {
    var entries: [GGUFMetadata.Entry] = []
    entries.reserveCapacity(count)
    for index in 0..<count {
      let key = try cursor.string("the name of key \(index)")
      entries.append(GGUFMetadata.Entry(key: key, value: try cursor.value(of: key)))
    }
    return try GGUFMetadata(entries, bytes: cursor.bytes, file: cursor.file)
  }

  private static func alignment(_ metadata: GGUFMetadata, file: String) throws(ModelFileError) -> Int {
    guard let value = metadata[alignmentKey] else { return defaultAlignment }
    let alignment = try metadata.integer(alignmentKey) ?? 0
    guard value.type == .u32, alignment > 0, alignment & (alignment - 1) == 0 else {
      throw ModelFileError(
        .malformed, file: file, subject: "key \(alignmentKey)", finding: "is \(alignment) of type \(value.type.name)",
        expected: "a power of two of type u32")
    }
    return alignment
  }

  private struct RawTensor {
    let name: String
    let shape: [Int]
    let elements: Int
    let number: UInt32
    let offset: UInt64
  }

  private static func descriptions(
    _ cursor: inout GGUFCursor, count: Int
  ) throws(ModelFileError) -> [RawTensor] {
    var tensors: [RawTensor] = []
    tensors.reserveCapacity(count)
    for index in 0..<count {
      let name = try cursor.string("the name of tensor \(index)")
      let subject = "tensor \(name)"
      let dimensions = try cursor.integer(UInt32.self, subject)
      guard dimensions <= 4 else { throw cursor.refusal(subject, "has \(dimensions) dimensions", "at most 4") }
      var shape: [Int] = []
      var elements = 1
      for _ in 0..<dimensions {
        let stored = try cursor.integer(UInt64.self, subject)
        let extent = Int(exactly: stored)
        let product = extent.map { elements.multipliedReportingOverflow(by: $0) }
        guard let extent, let product, !product.overflow else {
          throw cursor.refusal(subject, "has an extent of \(stored)", "a size below 2^63")
        }
        shape.append(extent)
        elements = product.partialValue
      }
      let number = try cursor.integer(UInt32.self, subject)
      let offset = try cursor.integer(UInt64.self, subject)
      tensors.append(
        RawTensor(name: name, shape: shape.reversed(), elements: elements, number: number, offset: offset))
    }
    return tensors
  }

  /// Decides types and places, which depend on the tensors that follow.
  private static func place(
    _ raw: [RawTensor], dataStart: Int, alignment: Int, fileSize: Int, file: String
  ) throws(ModelFileError) -> [Tensor] {
    func refusal(_ tensor: RawTensor, _ finding: String, _ expected: String) -> ModelFileError {
      ModelFileError(.malformed, file: file, subject: "tensor \(tensor.name)", finding: finding, expected: expected)
    }
    let available = max(0, fileSize - dataStart)
    for tensor in raw {
      guard tensor.offset % UInt64(alignment) == 0 else {
        throw refusal(tensor, "has the offset \(tensor.offset)", "a multiple of the alignment, \(alignment)")
      }
      guard tensor.offset <= available else {
        throw refusal(tensor, "has the offset \(tensor.offset)", "a place in the data, which has \(available) bytes")
      }
    }
    // An empty tensor starts where the next one starts.
    let order = raw.indices.sorted {
      (raw[$0].offset, raw[$0].elements, $0) < (raw[$1].offset, raw[$1].elements, $1)
    }
    var placed = [Tensor?](repeating: nil, count: raw.count)
    for (position, index) in order.enumerated() {
      let tensor = raw[index]
      let start = Int(tensor.offset)
      let next = position + 1 < order.count ? order[position + 1] : nil
      let room = (next.map { Int(raw[$0].offset) } ?? available) - start
      let (type, byteCount) = try Self.type(of: tensor, room: room, alignment: alignment, refusal: refusal)
      guard byteCount <= room else {
        throw refusal(
          tensor, "has \(byteCount) bytes at the offset \(start)",
          "at most \(room), up to " + (next.map { "tensor \(raw[$0].name)" } ?? "the end of the file"))
      }
      let first = dataStart + start
      placed[index] = Tensor(name: tensor.name, type: type, shape: tensor.shape, range: first..<first + byteCount)
    }
    return placed.compactMap(\.self)
  }

  /// The type of a tensor and its bytes: among the types of its number, the one that fills the room up to the next
  /// tensor, or the usual one.
  private static func type(
    of tensor: RawTensor, room: Int, alignment: Int,
    refusal: (RawTensor, String, String) -> ModelFileError
  ) throws(ModelFileError) -> (TensorType, Int) {
    let types = TensorType.types(ofGGUFNumber: tensor.number)
    guard let usual = types.first else {
      throw refusal(tensor, "has type number \(tensor.number)", "the number of a known type")
    }
    let rowLength = tensor.shape.last ?? 1
    func byteCount(_ type: TensorType) -> Int? {
      type.ggufByteCount(elements: tensor.elements, rowLength: rowLength)
    }
    for type in types {
      guard let bytes = byteCount(type) else { continue }
      if types.count == 1 || (bytes <= room && room - bytes < alignment) { return (type, bytes) }
    }
    // A layout of bitnet.cpp that its shape does not describe takes all the room.
    if let opaque = types.first(where: { $0.block == nil }) { return (opaque, room) }
    guard let bytes = byteCount(usual) else {
      throw refusal(
        tensor, "has rows of \(rowLength) elements",
        "a multiple of \(usual.block?.elements ?? 4), the block of \(usual.rawValue)")
    }
    return (usual, bytes)
  }
}

extension Int {
  /// The smallest multiple of a power of two that is not less. A file's size plus the unit does not overflow.
  func roundedUp(to unit: Int) -> Int { (self + unit - 1) / unit * unit }
}

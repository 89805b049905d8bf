import BitNetJSON

/// The header of a safetensors file: 8 bytes of length (little-endian), then that much JSON, then the tensors' data.
///
/// The checks are those of the reference library: tensors cover the data exactly, without holes or overlaps, and every
/// size follows from type and shape. Data that is not aligned to its element size is accepted and read as such.
package struct SafetensorsHeader: Sendable {
  /// The header's description of a tensor.
  package struct Tensor: Sendable, Equatable {
    package let name: String
    package let type: TensorType
    /// Outermost first; empty for a scalar.
    package let shape: [Int]
    /// The place of the elements, in bytes from the start of the file.
    package let range: Range<Int>

    /// The number of elements, the product of the shape.
    package var elementCount: Int { range.count / type.byteCount }
  }

  /// The longest header that the format allows.
  package static let largestHeader = 100_000_000

  package let metadata: [String: String]
  /// In the order of their data.
  package let tensors: [Tensor]
  /// The first byte of the data in the file.
  package let dataStart: Int
  private let indices: [String: Int]

  /// - Parameters:
  ///   - bytes: the start of the file: at least the header, without or with data.
  ///   - fileSize: the bytes of the whole file.
  ///   - file: the file's name, for errors.
  /// - Throws: `ModelFileError` of kind `.malformed` naming the tensor at fault.
  package init(parsing bytes: UnsafeRawBufferPointer, fileSize: Int, file: String) throws(ModelFileError) {
    func refusal(_ subject: String, _ finding: String, _ expected: String?) -> ModelFileError {
      ModelFileError(.malformed, file: file, subject: subject, finding: finding, expected: expected)
    }
    guard bytes.count >= 8, fileSize >= 8 else {
      throw refusal(
        "the file", "has \(fileSize) bytes", "a safetensors file, which starts with 8 bytes of header length")
    }
    let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    guard length >= 2, length <= Self.largestHeader else {
      throw refusal("the header length", "is \(length)", "2 to \(Self.largestHeader), as a safetensors file has")
    }
    let dataStart = 8 + Int(length)
    guard dataStart <= fileSize, dataStart <= bytes.count else {
      throw refusal("the header", "ends at byte \(dataStart)", "an end inside the file, which has \(fileSize) bytes")
    }
    guard bytes[8] == UInt8(ascii: "{") else {
      throw refusal("the header", "starts with the byte \(bytes[8])", "a JSON object")
    }
    let text = UnsafeRawBufferPointer(rebasing: bytes[8..<dataStart])
    let raw = try JSONDocument.read(text, file: file, subject: "the header", limit: Self.largestHeader) {
      (json) throws(JSONError) in try RawHeader(json)
    }
    var tensors: [Tensor] = []
    tensors.reserveCapacity(raw.entries.count)
    for entry in raw.entries {
      tensors.append(try Self.check(entry, dataStart: dataStart, fileSize: fileSize, file: file))
    }
    // An empty tensor starts where the next tensor starts, so the end decides between equal starts.
    tensors.sort {
      ($0.range.lowerBound, $0.range.upperBound, $0.name) < ($1.range.lowerBound, $1.range.upperBound, $1.name)
    }
    var end = dataStart
    for tensor in tensors {
      guard tensor.range.lowerBound == end else {
        throw refusal(
          "tensor \(tensor.name)", "starts at byte \(tensor.range.lowerBound - dataStart) of the data",
          "byte \(end - dataStart), where the tensor before it ends: tensors neither overlap nor leave holes")
      }
      end = tensor.range.upperBound
    }
    guard end == fileSize else {
      throw refusal("the data", "has \(fileSize - dataStart) bytes", "\(end - dataStart), where the last tensor ends")
    }
    // Bytes that differ can be the same string to Swift, in two Unicode normalisations.
    var indices: [String: Int] = [:]
    for (index, tensor) in tensors.enumerated() where indices.updateValue(index, forKey: tensor.name) != nil {
      throw refusal("tensor \(tensor.name)", "is given twice, in two Unicode normalisations", "each name once")
    }
    self.metadata = raw.metadata
    self.dataStart = dataStart
    self.indices = indices
    self.tensors = tensors
  }

  /// The tensor of that name.
  package subscript(name: String) -> Tensor? { indices[name].map { tensors[$0] } }

  private static func check(
    _ entry: RawHeader.Entry, dataStart: Int, fileSize: Int, file: String
  ) throws(ModelFileError) -> Tensor {
    func refusal(_ finding: String, _ expected: String) -> ModelFileError {
      ModelFileError(.malformed, file: file, subject: "tensor \(entry.name)", finding: finding, expected: expected)
    }
    guard let type = TensorType(rawValue: entry.dtype), TensorType.safetensors.contains(type) else {
      throw refusal(
        "has dtype \(entry.dtype)", "one of " + TensorType.safetensors.map(\.rawValue).joined(separator: ", "))
    }
    let shape = entry.shape
    var byteCount = type.byteCount
    for extent in shape {
      guard extent >= 0 else { throw refusal("has shape \(shape)", "extents of 0 or more") }
      let (product, overflow) = byteCount.multipliedReportingOverflow(by: extent)
      guard !overflow else { throw refusal("has shape \(shape)", "a size below 2^63 bytes") }
      byteCount = product
    }
    guard entry.dataOffsets.count == 2 else {
      throw refusal("has \(entry.dataOffsets.count) data_offsets", "2: begin and end")
    }
    let (begin, end) = (entry.dataOffsets[0], entry.dataOffsets[1])
    guard begin >= 0, begin <= end, end <= fileSize - dataStart else {
      throw refusal(
        "has data_offsets [\(begin), \(end)]", "a range inside the data, which has \(fileSize - dataStart) bytes")
    }
    guard end - begin == byteCount else {
      throw refusal("has \(end - begin) bytes", "\(byteCount), for \(type.rawValue) of shape \(shape)")
    }
    return Tensor(name: entry.name, type: type, shape: shape, range: dataStart + begin..<dataStart + end)
  }
}

/// The header's JSON: tensors by name, and one member that is not a tensor.
private struct RawHeader {
  struct Entry {
    let name: String
    let dtype: String
    let shape: [Int]
    let dataOffsets: [Int]
  }

  var metadata: [String: String] = [:]
  var entries: [Entry] = []

  init(_ json: JSONValue) throws(JSONError) {
    for (name, value) in try json.members() {
      if name.hasName("__metadata__") {
        metadata = try value.stringsByName()
      } else {
        var fields = try value.fields()
        entries.append(
          Entry(
            name: try name.string(), dtype: try fields["dtype"].string(), shape: try fields["shape"].integers(),
            dataOffsets: try fields["data_offsets"].integers()))
      }
    }
  }
}

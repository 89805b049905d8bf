/// The header of a safetensors file: 8 bytes of length (little-endian), then that much JSON, then the tensors' data.
///
/// Checked as the reference library does: tensors cover the data exactly, without holes or overlaps, and every size
/// follows from type and shape. Data that is not aligned to its element size is accepted, and read without assuming
/// alignment.
package struct SafetensorsHeader: Sendable {
  /// One tensor as the header describes it.
  package struct Tensor: Sendable, Equatable {
    package let name: String
    package let type: TensorType
    /// Outermost first; empty for a scalar.
    package let shape: [Int]
    /// Where the elements are, in bytes from the start of the file.
    package let range: Range<Int>

    /// Elements: the product of the shape.
    package var elementCount: Int { range.count / type.byteCount }
  }

  /// The longest header that the format allows.
  package static let largestHeader = 100_000_000

  package let metadata: [String: String]
  /// In the order of their data.
  package let tensors: [Tensor]
  /// Where the data starts in the file.
  package let dataStart: Int
  private let indices: [String: Int]

  /// - Parameters:
  ///   - bytes: the file from its start; at least the header must be there, the data need not.
  ///   - fileSize: bytes of the whole file.
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
    let raw = try StrictJSON.decode(
      RawHeader.self, from: text, file: file, subject: "the header", limit: Self.largestHeader)

    var tensors: [Tensor] = []
    tensors.reserveCapacity(raw.tensors.count)
    for (name, entry) in raw.tensors {
      tensors.append(try Self.check(entry, name: name, dataStart: dataStart, fileSize: fileSize, file: file))
    }
    // Empty tensors share their place with what follows them, so the end decides between equal starts.
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
    self.metadata = raw.metadata
    self.dataStart = dataStart
    self.indices = Dictionary(uniqueKeysWithValues: tensors.enumerated().map { ($1.name, $0) })
    self.tensors = tensors
  }

  /// The tensor of that name.
  package subscript(name: String) -> Tensor? { indices[name].map { tensors[$0] } }

  private static func check(
    _ entry: RawHeader.Entry, name: String, dataStart: Int, fileSize: Int, file: String
  ) throws(ModelFileError) -> Tensor {
    func refusal(_ finding: String, _ expected: String) -> ModelFileError {
      ModelFileError(.malformed, file: file, subject: "tensor \(name)", finding: finding, expected: expected)
    }
    guard let type = TensorType(rawValue: entry.dtype) else {
      throw refusal("has dtype \(entry.dtype)", "one of " + TensorType.allCases.map(\.rawValue).joined(separator: ", "))
    }
    let shape = entry.shape.map(\.value)
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
    let (begin, end) = (entry.dataOffsets[0].value, entry.dataOffsets[1].value)
    guard begin >= 0, begin <= end, end <= fileSize - dataStart else {
      throw refusal(
        "has data_offsets [\(begin), \(end)]", "a range inside the data, which has \(fileSize - dataStart) bytes")
    }
    guard end - begin == byteCount else {
      throw refusal("has \(end - begin) bytes", "\(byteCount), for \(type.rawValue) of shape \(shape)")
    }
    return Tensor(name: name, type: type, shape: shape, range: dataStart + begin..<dataStart + end)
  }
}

/// The header's JSON: tensors by name, beside one member of another shape.
private struct RawHeader: Decodable {
  struct Entry: Decodable {
    let dtype: String
    let shape: [JSONNumber<Int>]
    let dataOffsets: [JSONNumber<Int>]

    enum CodingKeys: String, CodingKey {
      case dtype, shape
      case dataOffsets = "data_offsets"
    }
  }

  struct Name: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  var metadata: [String: String] = [:]
  var tensors: [String: Entry] = [:]

  init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: Name.self)
    for name in container.allKeys {
      if name.stringValue == "__metadata__" {
        metadata = try container.decode([String: String].self, forKey: name)
      } else {
        tensors[name.stringValue] = try container.decode(Entry.self, forKey: name)
      }
    }
  }
}

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// JSON from files that may be hostile: bounded in size and depth, and without repeated names.
///
/// Repeated names are refused because parsers disagree on which of them counts, so that what a reviewer's tool shows
/// need not be what is loaded.
enum StrictJSON {
  /// - Parameters:
  ///   - file: for errors.
  ///   - subject: what the text is, for errors: "the file", "the header".
  ///   - limit: the most bytes that are parsed.
  /// - Throws: `ModelFileError` of kind `.malformed` naming the field at fault where there is one.
  static func decode<Value: Decodable>(
    _ type: Value.Type, from bytes: UnsafeRawBufferPointer, file: String, subject: String, limit: Int
  ) throws(ModelFileError) -> Value {
    guard bytes.count <= limit else {
      throw ModelFileError(
        .malformed, file: file, subject: subject, finding: "has \(bytes.count) bytes", expected: "at most \(limit)")
    }
    // A zero byte would make the decoder guess UTF-16 or UTF-32, and the scan for repeated names below read another
    // text than it.
    guard !bytes.contains(0) else {
      throw ModelFileError(
        .malformed, file: file, subject: subject, finding: "holds a zero byte", expected: "JSON in UTF-8")
    }
    let value: Value
    do {
      value = try JSONDecoder().decode(type, from: Data(bytes))
    } catch let error as DecodingError {
      throw refusal(error, file: file, subject: subject)
    } catch {
      throw ModelFileError(.malformed, file: file, subject: subject, finding: "is not valid JSON: \(error)")
    }
    if let name = firstRepeatedName(in: bytes) {
      throw ModelFileError(
        .malformed, file: file, subject: subject, finding: "names \"\(name)\" twice in one object",
        expected: "each name once")
    }
    return value
  }

  /// The value as JSON with sorted names: the same bytes every time.
  static func encode(_ value: some Encodable, file: String) throws(ModelFileError) -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    do {
      return try encoder.encode(value)
    } catch {
      throw ModelFileError(
        .unsupported, file: file, subject: "the metadata", finding: "cannot be written as JSON: \(error)")
    }
  }

  private static func refusal(_ error: DecodingError, file: String, subject: String) -> ModelFileError {
    func field(_ path: [any CodingKey]) -> String {
      guard let first = path.first else { return subject }
      return path.dropFirst().reduce(first.stringValue) { $0 + ($1.intValue.map { "[\($0)]" } ?? "." + $1.stringValue) }
    }
    switch error {
    case .keyNotFound(let key, let context):
      return ModelFileError(.malformed, file: file, subject: field(context.codingPath + [key]), finding: "is missing")
    case .valueNotFound(let type, let context):
      return ModelFileError(
        .malformed, file: file, subject: field(context.codingPath), finding: "is null", expected: name(of: type))
    case .typeMismatch(let type, let context):
      return ModelFileError(
        .malformed, file: file, subject: field(context.codingPath), finding: "has another type",
        expected: name(of: type))
    case .dataCorrupted(let context):
      // For text that is no JSON, and for a number that its type cannot hold, the decoder gives neither place nor
      // reason.
      let reason =
        context.codingPath.isEmpty
        ? "is not valid JSON, or holds a number out of range" : "cannot be read: \(context.debugDescription)"
      return ModelFileError(.malformed, file: file, subject: field(context.codingPath), finding: reason)
    @unknown default:
      return ModelFileError(.malformed, file: file, subject: subject, finding: "cannot be read: \(error)")
    }
  }

  private static func name(of type: any Any.Type) -> String {
    switch type {
    case is Int.Type, is Int32.Type: "an integer"
    case is Double.Type: "a number"
    case is String.Type: "a string"
    case is Bool.Type: "true or false"
    case is [Any].Type: "an array"
    case is [String: Any].Type: "an object"
    default: "another value"
    }
  }

  /// The first name that occurs twice in one object of JSON that is known to be well formed.
  static func firstRepeatedName(in bytes: UnsafeRawBufferPointer) -> String? {
    var objects: [Set<String>] = []
    var latest = 0..<0
    var index = 0
    while index < bytes.count {
      switch bytes[index] {
      case UInt8(ascii: "{"): objects.append([])
      case UInt8(ascii: "}"): _ = objects.popLast()
      case UInt8(ascii: "\""):
        let start = index
        index += 1
        while index < bytes.count, bytes[index] != UInt8(ascii: "\"") {
          index += bytes[index] == UInt8(ascii: "\\") ? 2 : 1
        }
        latest = start..<min(index + 1, bytes.count)
      case UInt8(ascii: ":"):
        let name = unescaped(UnsafeRawBufferPointer(rebasing: bytes[latest]))
        if let object = objects.indices.last, !objects[object].insert(name).inserted { return name }
      default: break
      }
      index += 1
    }
    return nil
  }

  /// The text of a JSON string, given with its quotes.
  private static func unescaped(_ literal: UnsafeRawBufferPointer) -> String {
    if literal.contains(UInt8(ascii: "\\")), let text = try? JSONDecoder().decode(String.self, from: Data(literal)) {
      return text
    }
    return String(decoding: literal.dropFirst().dropLast(), as: UTF8.self)
  }
}

/// A number that, where its type cannot hold it, gives an error with its place and value.
struct JSONNumber<Value: Decodable>: Decodable {
  let value: Value

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    do {
      value = try container.decode(Value.self)
    } catch let error as DecodingError {
      throw error
    } catch {
      // An error of the decoder's own, which it would report without the place.
      let found = (try? container.decode(Double.self)).map { "\($0)" } ?? "a number beyond all ranges"
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(found) is no \(Value.self)")
    }
  }
}

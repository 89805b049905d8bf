import Foundation

/// JSON in the form of all commands: names in snake_case and in alphabetical order.
func jsonText(_ value: some Encodable, onOneLine: Bool = false) throws -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting =
    onOneLine ? [.sortedKeys, .withoutEscapingSlashes] : [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
  encoder.keyEncodingStrategy = .convertToSnakeCase
  encoder.nonConformingFloatEncodingStrategy = .convertToString(
    positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
  return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
}

/// Reads JSON that the user gave.
///
/// - Parameters:
///   - place: names the JSON, for the error.
///   - expected: describes the right contents, for the error.
func decodeJSON<Value: Decodable>(
  _ type: Value.Type, _ bytes: some Sequence<UInt8>, place: String, expected: String
) throws -> Value {
  do {
    return try JSONDecoder().decode(type, from: Data(bytes))
  } catch {
    throw CommandError("\(place) is not \(expected)")
  }
}

import Foundation

/// Lines of labels and values, the values in a column of their own.
func table(_ rows: [(label: String, value: String)]) -> String {
  let width = rows.map(\.label.count).max() ?? 0
  return rows.map { label, value in
    label + String(repeating: " ", count: width - label.count + 2) + value + "\n"
  }.joined()
}

extension Double {
  /// The number with a fixed number of decimals, whatever the locale.
  func decimals(_ count: Int) -> String { String(format: "%.\(count)f", self) }

  /// The number with about three digits that count.
  var shortened: String { decimals(self < 10 ? 2 : self < 100 ? 1 : 0) }
}

/// The numbers of a list such as "1,2,4" that a person gave with an option.
func numbers(_ text: String, of option: String, _ range: ClosedRange<Int>) throws -> [Int] {
  try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
    guard let number = Int(part), range ~= number else {
      throw CommandError(
        "\(option) has \"\(part)\"; expected numbers from \(range.lowerBound) to \(range.upperBound), as in 1,2,4")
    }
    return number
  }
}

/// Seconds, for people.
func duration(_ seconds: Double) -> String {
  seconds < 1 ? "\((seconds * 1000).decimals(0)) ms" : "\(seconds.decimals(1)) s"
}

/// Bytes, for people.
func size(_ bytes: Int) -> String {
  switch bytes {
  case 1_000_000_000...: "\((Double(bytes) / 1e9).decimals(2)) GB"
  case 1_000_000...: "\((Double(bytes) / 1e6).decimals(1)) MB"
  default: "\((Double(bytes) / 1e3).decimals(1)) kB"
  }
}

func plural(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

/// JSON as all commands write it: names in snake_case and in alphabetical order.
func jsonText(_ value: some Encodable, onOneLine: Bool = false) throws -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting =
    onOneLine ? [.sortedKeys, .withoutEscapingSlashes] : [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
  encoder.keyEncodingStrategy = .convertToSnakeCase
  encoder.nonConformingFloatEncodingStrategy = .convertToString(
    positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
  return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
}

/// Reads JSON that a person gave.
/// - Parameters:
///   - place: where it stands, for the error.
///   - expected: what it should be, for the error.
func decodeJSON<Value: Decodable>(_ type: Value.Type, _ bytes: some Sequence<UInt8>, place: String, expected: String)
  throws
  -> Value
{
  do {
    return try JSONDecoder().decode(type, from: Data(bytes))
  } catch {
    throw CommandError("\(place) is not \(expected)")
  }
}

/// The most memory that the process has had resident so far, mapped files included, in bytes.
func peakMemory() -> Int {
  #if canImport(Darwin)
    var usage = rusage()
    getrusage(RUSAGE_SELF, &usage)
    return usage.ru_maxrss
  #else
    // Not getrusage: there, Linux counts what the program that started this one had resident.
    let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") } ?? ""
    return (Int(line.split(whereSeparator: \.isWhitespace).dropFirst().first ?? "") ?? 0) * 1024
  #endif
}

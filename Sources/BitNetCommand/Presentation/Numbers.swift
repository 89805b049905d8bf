import BitNetInference
import Foundation

extension Double {
  /// The number with a fixed number of decimals, whatever the locale.
  func decimals(_ count: Int) -> String { String(format: "%.\(count)f", self) }

  /// The number with about three significant digits.
  var shortened: String { decimals(self < 10 ? 2 : self < 100 ? 1 : 0) }
}

extension Int {
  /// The number with a comma between groups of three digits, whatever the locale.
  var grouped: String {
    let digits = Array(String(magnitude))
    return digits.indices.reduce(into: self < 0 ? "-" : "") { text, index in
      if index > 0, (digits.count - index) % 3 == 0 { text.append(",") }
      text.append(digits[index])
    }
  }
}

/// A time in seconds, with a unit that keeps the number short.
func duration(_ seconds: Double) -> String {
  seconds < 1 ? "\((seconds * 1000).decimals(0)) ms" : "\(seconds.decimals(1)) s"
}

/// A number of bytes, with a decimal unit that keeps the number short.
func size(_ bytes: Int) -> String {
  switch bytes {
  case 1_000_000_000...: "\((Double(bytes) / 1e9).decimals(2)) GB"
  case 1_000_000...: "\((Double(bytes) / 1e6).decimals(1)) MB"
  case 1000...: "\((Double(bytes) / 1e3).decimals(1)) kB"
  default: plural(bytes, "byte")
  }
}

/// The numbers of a list such as "1,2,4" that was given with an option.
///
/// - Throws: `CommandError` naming the first that is no number or out of range.
func numbers(_ text: String, of option: String, _ range: ClosedRange<Int>) throws -> [Int] {
  try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
    guard let number = Int(part), range ~= number else {
      throw CommandError(
        "\(option) has \"\(part)\"; expected numbers from \(range.lowerBound) to \(range.upperBound), as in 1,2,4")
    }
    return number
  }
}

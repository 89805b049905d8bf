/// Times as Ollama writes them.
enum OllamaTime {
  /// A moment in UTC, such as `2026-11-27T18:05:00.25Z`.
  ///
  /// - Parameter seconds: since 1970.
  static func text(_ seconds: Double) -> String {
    let whole = Int(seconds.rounded(.down))
    let milliseconds = Int(((seconds - Double(whole)) * 1000).rounded(.down))
    let (year, month, day) = date(daysSince1970: whole / 86_400)
    let rest = whole % 86_400
    func digits(_ value: Int, _ count: Int) -> String {
      let text = String(value)
      return String(repeating: "0", count: max(0, count - text.count)) + text
    }
    return "\(digits(year, 4))-\(digits(month, 2))-\(digits(day, 2))T\(digits(rest / 3600, 2)):"
      + "\(digits(rest / 60 % 60, 2)):\(digits(rest % 60, 2)).\(digits(milliseconds, 3))Z"
  }

  static var now: String { text(WallClock.seconds) }

  /// The date of a day from 1970 on in the Gregorian calendar.
  private static func date(daysSince1970 days: Int) -> (year: Int, month: Int, day: Int) {
    // Years begin on the 1st of March, so that a leap day is the last of its year; 719,468 days lead to 0000-03-01.
    let sum = days + 719_468
    let era = sum / 146_097
    let dayOfEra = sum % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let march = (5 * dayOfYear + 2) / 153
    let month = march < 10 ? march + 3 : march - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * march + 2) / 5 + 1)
  }
}

extension Duration {
  /// Nanoseconds, in which Ollama counts.
  var nanoseconds: Int { Int(self / .nanoseconds(1)) }
}

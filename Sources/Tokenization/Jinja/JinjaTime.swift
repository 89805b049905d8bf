#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The time that a template's `strftime_now` sees: the local time, without a zone.
package struct JinjaTime: Sendable, Equatable {
  package let year: Int
  package let month: Int
  package let day: Int
  package let hour: Int
  package let minute: Int
  package let second: Int

  /// Nil if there is no such time.
  package init?(year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0) {
    guard 1...9999 ~= year, 1...12 ~= month, day >= 1, day <= Self.days(in: month, of: year), 0..<24 ~= hour,
      0..<60 ~= minute, 0...60 ~= second
    else { return nil }
    self.year = year
    self.month = month
    self.day = day
    self.hour = hour
    self.minute = minute
    self.second = second
  }

  /// The time of `2026-07-26`, `2026-07-26 09:05` or `2026-07-26T09:05:03`, with or without a fraction or a zone, which
  /// are left out; nil for other texts.
  package init?(_ text: String) {
    let bytes = Array(text.utf8)
    func number(_ range: Range<Int>) -> Int? {
      guard range.upperBound <= bytes.count, bytes[range].allSatisfy({ 0x30...0x39 ~= $0 }) else { return nil }
      return bytes[range].reduce(0) { $0 * 10 + Int($1) - 0x30 }
    }
    func has(_ characters: String, at index: Int) -> Bool {
      index < bytes.count && characters.utf8.contains(bytes[index])
    }
    guard let year = number(0..<4), has("-", at: 4), let month = number(5..<7), has("-", at: 7),
      let day = number(8..<10)
    else { return nil }
    var time = (hour: 0, minute: 0, second: 0)
    if bytes.count > 10 {
      guard has("T t", at: 10), let hour = number(11..<13), has(":", at: 13), let minute = number(14..<16) else {
        return nil
      }
      time = (hour, minute, 0)
      if has(":", at: 16) {
        guard let second = number(17..<19) else { return nil }
        time.second = second
      }
    }
    self.init(year: year, month: month, day: day, hour: time.hour, minute: time.minute, second: time.second)
  }

  /// The time of a C structure; nil for years that a template cannot write.
  private init?(_ parts: tm) {
    self.init(
      year: Int(parts.tm_year) + 1900, month: Int(parts.tm_mon) + 1, day: Int(parts.tm_mday), hour: Int(parts.tm_hour),
      minute: Int(parts.tm_min), second: Int(parts.tm_sec))
  }

  /// The local time now.
  package static var now: JinjaTime {
    var seconds = time(nil)
    var parts = tm()
    localtime_r(&seconds, &parts)
    return JinjaTime(parts) ?? JinjaTime(year: 1970, month: 1, day: 1)!
  }

  /// The time in UTC at a number of seconds after the beginning of 1970.
  package init?(secondsSince1970: Int) {
    var seconds = time_t(secondsSince1970)
    var parts = tm()
    guard gmtime_r(&seconds, &parts) != nil else { return nil }
    self.init(parts)
  }

  // MARK: - Calendar

  private static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

  private static func days(in month: Int, of year: Int) -> Int {
    [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
  }

  /// From 1.
  private var dayOfYear: Int { (1..<month).reduce(day) { $0 + Self.days(in: $1, of: year) } }

  /// 0 is Sunday.
  private var weekday: Int {
    let before = year - 1
    return (before * 365 + before / 4 - before / 100 + before / 400 + dayOfYear) % 7
  }

  /// The year and week by ISO 8601: weeks begin on Monday, and the first one has a Thursday.
  private var isoWeek: (year: Int, week: Int) {
    let fromMonday = (weekday + 6) % 7
    let week = (dayOfYear - 1 - fromMonday + 10) / 7
    func weeks(in year: Int) -> Int {
      guard let last = JinjaTime(year: year, month: 12, day: 31) else { return 52 }
      return last.weekday == 4 || last.weekday == 5 && Self.isLeap(year) ? 53 : 52
    }
    if week < 1 { return (year - 1, weeks(in: year - 1)) }
    return week > weeks(in: year) ? (year + 1, 1) : (year, week)
  }

  // MARK: - Writing

  private static let weekdays = [
    "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
  ]
  private static let months = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
  ]

  /// C's `strftime` in English, with the flags `-`, `_`, `0`, `^` and `#`.
  func formatted(_ format: JinjaText) -> JinjaText {
    var units: [JinjaText.Unit] = []
    var at = 0
    while at < format.count {
      let start = at
      let unit = format.units[at]
      at += 1
      guard unit & JinjaText.scalarMask == 0x25, at < format.count else {
        units.append(unit)
        continue
      }
      var flag: Character?
      var directive = Character(JinjaText.scalar(format.units[at]))
      if "-_0^#".contains(directive), at + 1 < format.count {
        flag = directive
        at += 1
        directive = Character(JinjaText.scalar(format.units[at]))
      }
      at += 1
      if let text = written(directive, flag) {
        units += JinjaText(text, mark: unit & JinjaText.originMask).units
      } else {
        units += format.units[start..<at]
      }
    }
    return JinjaText(units: units)
  }

  /// What a directive stands for; nil if there is none of that letter.
  private func written(_ directive: Character, _ flag: Character?) -> String? {
    func number(_ value: Int, _ width: Int, _ standard: Character = "0") -> String {
      let digits = "\(value)"
      let pad: Character = flag == "-" ? "-" : flag == "_" ? " " : flag == "0" ? "0" : standard
      return pad == "-" ? digits : String(repeating: pad, count: max(0, width - digits.count)) + digits
    }
    func name(_ name: some StringProtocol) -> String { flag == "^" || flag == "#" ? name.uppercased() : String(name) }
    func all(_ directives: String) -> String {
      formatted(JinjaText(directives)).string
    }
    switch directive {
    case "%": return "%"
    case "n": return "\n"
    case "t": return "\t"
    case "a": return name(Self.weekdays[weekday].prefix(3))
    case "A": return name(Self.weekdays[weekday])
    case "b", "h": return name(Self.months[month - 1].prefix(3))
    case "B": return name(Self.months[month - 1])
    case "p": return flag == "#" ? (hour < 12 ? "am" : "pm") : hour < 12 ? "AM" : "PM"
    case "P": return hour < 12 ? "am" : "pm"
    case "d": return number(day, 2)
    case "e": return number(day, 2, " ")
    case "m": return number(month, 2)
    case "y": return number(year % 100, 2)
    case "Y": return number(year, 4)
    case "C": return number(year / 100, 2)
    case "H": return number(hour, 2)
    case "k": return number(hour, 2, " ")
    case "I": return number((hour + 11) % 12 + 1, 2)
    case "l": return number((hour + 11) % 12 + 1, 2, " ")
    case "M": return number(minute, 2)
    case "S": return number(second, 2)
    case "f": return "000000"
    case "j": return number(dayOfYear, 3)
    case "w": return "\(weekday)"
    case "u": return "\(weekday == 0 ? 7 : weekday)"
    case "U": return number((dayOfYear + 6 - weekday) / 7, 2)
    case "W": return number((dayOfYear + 6 - (weekday + 6) % 7) / 7, 2)
    case "V": return number(isoWeek.week, 2)
    case "G": return number(isoWeek.year, 4)
    case "g": return number(isoWeek.year % 100, 2)
    case "z", "Z": return ""
    case "D", "x": return all("%m/%d/%y")
    case "F": return all("%Y-%m-%d")
    case "T", "X": return all("%H:%M:%S")
    case "R": return all("%H:%M")
    case "r": return all("%I:%M:%S %p")
    case "c": return all("%a %b %e %H:%M:%S %Y")
    default: return nil
    }
  }
}

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Numbers as Python reads and writes them.
enum JinjaNumbers {
  static func power(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }

  /// Python's `repr` of a float: the fewest digits that read back as the same number.
  static func written(_ value: Double) -> String {
    if value.isNaN { return "nan" }
    if value.isInfinite { return value < 0 ? "-inf" : "inf" }
    if value == 0 { return value.sign == .minus ? "-0.0" : "0.0" }
    var text = value.description
    let sign = text.hasPrefix("-") ? "-" : ""
    if !sign.isEmpty { text.removeFirst() }
    var exponent = 0
    if let mark = text.firstIndex(of: "e") {
      exponent = Int(text[text.index(after: mark)...]) ?? 0
      text = String(text[..<mark])
    }
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    var digits = String(parts[0]) + (parts.count > 1 ? String(parts[1]) : "")
    // The place of the point after the first digits.
    var point = parts[0].count + exponent
    let zeros = digits.prefix { $0 == "0" }.count
    digits.removeFirst(zeros)
    point -= zeros
    while digits.hasSuffix("0") { digits.removeLast() }
    if point - 1 < -4 || point - 1 >= 16 {
      let power = point - 1
      let written = "\(abs(power))"
      let fraction = digits.count > 1 ? "." + digits.dropFirst() : ""
      return sign + digits.prefix(1) + fraction + (power < 0 ? "e-" : "e+") + (written.count < 2 ? "0" : "") + written
    }
    if point <= 0 { return sign + "0." + String(repeating: "0", count: -point) + digits }
    if digits.count <= point { return sign + digits + String(repeating: "0", count: point - digits.count) + ".0" }
    return sign + digits.prefix(point) + "." + digits.dropFirst(point)
  }

  /// C's `printf` of one number.
  ///
  /// - Parameter format: has `.*` for the digits.
  static func printed(_ format: String, digits: Int, _ value: Double) -> String {
    withVaList([CInt(clamping: digits), value]) { arguments in
      var buffer = [CChar](repeating: 0, count: 512 + max(0, digits))
      let length = vsnprintf(&buffer, buffer.count, format, arguments)
      return String(decoding: buffer.prefix(max(0, Int(length))).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
  }

  static func fixed(_ value: Double, digits: Int) -> String { printed("%.*f", digits: digits, value) }

  /// Python's `round` of a float: to the nearest, by the exact binary value.
  static func rounded(_ value: Double, digits: Int) -> Double {
    guard value.isFinite, value != 0 else { return value }
    if digits > 330 { return value }
    if digits < -310 { return 0 * value }
    if digits >= 0 { return Double(fixed(value, digits: digits)) ?? value }
    let factor = power(10, Double(-digits))
    return (value / factor).rounded(.toNearestOrEven) * factor
  }

  /// Python's `round` of an integer, which changes it only for negative digits.
  static func rounded(_ value: Int128, digits: Int) -> Int128 {
    if digits >= 0 { return value }
    if digits < -37 { return 0 }
    var factor: Int128 = 1
    for _ in 0..<(-digits) { factor *= 10 }
    let rest = value % factor
    let base = value - rest
    let (twice, isTooLarge) = rest.magnitude.multipliedReportingOverflow(by: 2)
    let isOdd = (base / factor) % 2 != 0
    guard isTooLarge || twice > factor.magnitude || twice == factor.magnitude && isOdd else { return base }
    let (up, overflow) = base.addingReportingOverflow(value < 0 ? -factor : factor)
    return overflow ? base : up
  }

  private static func trimmed(_ text: String) -> String { JinjaText(text).stripped(.both).string }

  /// Python's `int(text, base)`; nil where that fails.
  static func integer(_ text: String, base: Int) -> Int128? {
    var digits = trimmed(text).lowercased()
    let isNegative = digits.hasPrefix("-")
    if isNegative || digits.hasPrefix("+") { digits.removeFirst() }
    var base = base
    let prefixes = ["0x": 16, "0o": 8, "0b": 2]
    if let radix = prefixes[String(digits.prefix(2))], base == radix || base == 0 {
      digits.removeFirst(2)
      base = radix
      if digits.hasPrefix("_") { digits.removeFirst() }
    }
    if base == 0 { base = 10 }
    guard 2...36 ~= base, let plain = withoutUnderscores(digits), plain.allSatisfy({ $0.isASCII }),
      !plain.hasPrefix("+"), !plain.hasPrefix("-")
    else { return nil }
    return Int128((isNegative ? "-" : "") + plain, radix: base)
  }

  /// The digits without the single underscores between them; nil if there are others.
  private static func withoutUnderscores(_ digits: String) -> String? {
    if digits.hasPrefix("_") || digits.hasSuffix("_") || digits.contains("__") { return nil }
    return digits.filter { $0 != "_" }
  }

  /// Python's `float()` of a value; nil where that fails.
  static func float(_ value: JinjaValue, _ interpreter: JinjaInterpreter) throws(JinjaError) -> Double? {
    if let fault = interpreter.undefinedError(value) { throw fault }
    guard case .text(let text) = value else { return value.number }
    try interpreter.spend(2 * text.count)
    let digits = trimmed(text.string).lowercased()
    let plain = ["-", "+"].contains(digits.prefix(1)) ? String(digits.dropFirst()) : digits
    if ["inf", "infinity"].contains(plain) { return digits.hasPrefix("-") ? -.infinity : .infinity }
    if plain == "nan" { return .nan }
    guard let number = withoutUnderscores(plain), let first = number.utf8.first, 0x30...0x39 ~= first || first == 0x2E,
      !number.contains("x"), !number.contains("p")
    else { return nil }
    let standard = (first == 0x2E ? "0" : "") + number.replacingPointBeforeExponent
    return Double(standard).map { digits.hasPrefix("-") ? -$0 : $0 }
  }
}

extension String {
  /// `1.` and `1.e5` as `1` and `1e5`, which Swift reads.
  fileprivate var replacingPointBeforeExponent: String {
    var text = ""
    for (index, character) in zip(indices, self) {
      let next = self.index(after: index)
      if character == ".", next == endIndex || self[next] == "e" { continue }
      text.append(character)
    }
    return text
  }
}

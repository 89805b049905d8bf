extension JSONTree {
  /// The value in the canonical form of RFC 8785: without spaces, members in the order of their names' UTF-16 code
  /// units, numbers as ECMAScript writes them. The same value has the same bytes in every program that follows the RFC.
  ///
  /// - Throws: `JSONError` for a number that is not finite, and for an integer that a Double cannot hold, which other
  ///   programs would read as another one.
  package func canonical() throws(JSONError) -> [UInt8] {
    var bytes: [UInt8] = []
    try append(to: &bytes, .canonical, path: "")
    return bytes
  }

  /// The largest integer up to which a Double holds all: 2^53.
  static let exactIntegers: Int64 = 1 << 53

  /// A finite number as ECMAScript's `Number.prototype.toString` writes it: the fewest digits that read back as the
  /// same Double, with an exponent below 10^-6 and from 10^21 on.
  static func ecmaScript(_ value: Double) -> String {
    if value == 0 { return "0" }
    if value < 0 { return "-" + ecmaScript(-value) }
    // Swift finds the same digits and places the point by other rules.
    let parts = value.description.split(separator: "e")
    let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
    var digits = mantissa.joined()
    var point = mantissa[0].count + (parts.count > 1 ? Int(parts[1]) ?? 0 : 0)
    let leading = digits.prefix { $0 == "0" }.count
    digits.removeFirst(leading)
    point -= leading
    while digits.last == "0" { digits.removeLast() }
    let count = digits.count
    func zeros(_ count: Int) -> String { String(repeating: "0", count: count) }
    if count <= point, point <= 21 { return digits + zeros(point - count) }
    if 0 < point, point <= 21 { return digits.prefix(point) + "." + digits.dropFirst(point) }
    if -6 < point, point <= 0 { return "0." + zeros(-point) + digits }
    let exponent = point - 1
    let fraction = count > 1 ? "." + digits.dropFirst() : ""
    return digits.prefix(1) + fraction + "e" + (exponent < 0 ? "-" : "+") + String(abs(exponent))
  }
}

/// The value of an option such as --cache-size: a number, and a unit that is a power of 1000 or 1024.
///
/// - Throws: `CommandError` for anything else, and for more than 1000 terabytes.
func byteCount(_ text: String, of option: String) throws -> Int {
  let units: [Substring: Double] = [
    "": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 0x1p10, "Mi": 0x1p20, "Gi": 0x1p30, "Ti": 0x1p40,
  ]
  let number = text.prefix { $0.isASCII && ($0.isWholeNumber || $0 == ".") }
  guard let value = Double(number), let unit = units[text.dropFirst(number.count)], value * unit <= 1e15 else {
    throw CommandError(
      "\(option) is \"\(text)\"; expected bytes, as in 500M, 2G (2,000,000,000) or 2Gi (2,147,483,648)")
  }
  return Int(value * unit)
}

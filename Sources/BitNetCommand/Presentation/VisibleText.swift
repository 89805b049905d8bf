/// Text that may come from a file, for a terminal.
extension StringProtocol {
  /// The text with characters that would move the cursor, change colours or reorder what is shown written as escapes:
  /// `\n`, `\t`, `\u{1B}`.
  ///
  /// - Parameter keepingLines: whether newlines stay.
  func visible(keepingLines: Bool = false) -> String {
    guard unicodeScalars.contains(where: \.isHiddenControl) else { return String(self) }
    var text = ""
    for scalar in unicodeScalars {
      switch scalar {
      case "\n" where keepingLines: text += "\n"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where scalar.isHiddenControl: text += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text
  }
}

extension Unicode.Scalar {
  /// Control characters (C0, DEL, C1), separators of lines and paragraphs, and marks that change the direction of text.
  fileprivate var isHiddenControl: Bool {
    switch value {
    case 0...0x1F, 0x7F...0x9F, 0x61C, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069: true
    default: false
    }
  }
}

/// The layout of text in the rows of a terminal.
struct TextLayout {
  private(set) var rows = [""]
  /// The position of the cursor.
  private(set) var cursor = (row: 0, column: 0)
  private var column = 0

  /// Lines are indented by the width of the prompt. The last column stays empty, because terminals differ in how they
  /// wrap after it.
  init(prompt: String, text: EditedText, columns: Int) {
    let width = max(2, columns - 1)
    for character in prompt { put(String(character), character.columns, width) }
    let indentation = min(column, width / 2)
    append(text.before, width, indentation)
    cursor = (rows.count - 1, column)
    append(text.after, width, indentation)
  }

  private mutating func append(_ text: String, _ width: Int, _ indentation: Int) {
    for character in text {
      if character == "\n" {
        rows.append(String(repeating: " ", count: indentation))
        column = indentation
      } else if character == "\t" {
        put("    ", 4, width)
      } else if let scalar = character.unicodeScalars.first, scalar.properties.generalCategory == .control {
        put("\u{FFFD}", 1, width)
      } else {
        put(String(character), character.columns, width)
      }
    }
  }

  private mutating func put(_ text: String, _ columns: Int, _ width: Int) {
    if column + columns > width {
      rows.append("")
      column = 0
    }
    rows[rows.count - 1] += text
    column += columns
  }
}

extension Character {
  /// The number of terminal columns of the character: 0, 1 or 2.
  var columns: Int {
    guard let first = unicodeScalars.first else { return 0 }
    if unicodeScalars.contains("\u{FE0F}") || first.properties.isEmojiPresentation { return 2 }
    switch first.properties.generalCategory {
    case .nonspacingMark, .enclosingMark, .format: return 0
    default: return Self.wide.contains { $0.contains(first.value) } ? 2 : 1
    }
  }

  /// The blocks of East Asian wide and full-width characters.
  private static let wide: [ClosedRange<UInt32>] = [
    0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x4DBF, 0x4E00...0xA4CF, 0xA960...0xA97C, 0xAC00...0xD7A3,
    0xF900...0xFAFF,
    0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F200...0x1F2FF, 0x20000...0x3FFFD,
  ]
}

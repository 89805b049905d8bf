/// The screen of a terminal after some output, for the control sequences that the program sends.
struct Screen: Equatable {
  /// All lines, including those that scrolled away, without trailing spaces.
  var lines: [String] { cells.map { row in String(String.UnicodeScalarView(row.joined())).trimmingEnd() } }
  /// The visible lines.
  var visible: [String] { Array(lines[top...]) }
  /// The cursor, counted from the first visible line.
  var cursor: [Int] { [row - top, column] }

  private let columns: Int
  private let rows: Int
  /// Each cell holds a character and the marks that combine with it; the second cell of a wide character is empty.
  private var cells: [[[Unicode.Scalar]]] = [[]]
  private var top = 0
  private var row = 0
  private var column = 0

  init(_ output: String, columns: Int, rows: Int) {
    (self.columns, self.rows) = (columns, rows)
    var scalars = Array(output.unicodeScalars)[...]
    while let scalar = scalars.popFirst() {
      switch scalar {
      case "\u{1B}":
        guard scalars.popFirst() == "[" else { continue }
        let parameters = scalars.prefix { $0.value < 0x40 }
        scalars = scalars.dropFirst(parameters.count)
        guard let end = scalars.popFirst() else { return }
        obey(end, Int(String(String.UnicodeScalarView(parameters))) ?? nil)
      case "\r": column = 0
      case "\n": lineFeed()
      default: put(scalar)
      }
    }
  }

  private mutating func obey(_ command: Unicode.Scalar, _ parameter: Int?) {
    switch command {
    case "A": row = max(top, row - (parameter ?? 1))
    case "C": column = min(columns - 1, column + (parameter ?? 1))
    case "H": (row, column) = (top, 0)
    case "J":
      if parameter == 2 {
        for index in top..<cells.count { cells[index] = [] }
      } else {
        cells[row] = Array(cells[row].prefix(column))
        cells.removeLast(cells.count - row - 1)
      }
    default: break
    }
  }

  private mutating func lineFeed() {
    row += 1
    if row == cells.count { cells.append([]) }
    top = max(top, row - rows + 1)
  }

  private mutating func put(_ scalar: Unicode.Scalar) {
    if scalar.properties.generalCategory == .nonspacingMark {
      if column > 0 { cells[row][column - 1].append(scalar) }
      return
    }
    let width = (0x1100...0xFFFF).contains(scalar.value) ? 2 : 1
    if column + width > columns {
      column = 0
      lineFeed()
    }
    while cells[row].count < column + width { cells[row].append([" "]) }
    cells[row][column] = [scalar]
    if width == 2 { cells[row][column + 1] = [] }
    column += width
  }
}

extension String {
  fileprivate func trimmingEnd() -> String { String(reversed().drop { $0 == " " }.reversed()) }
}

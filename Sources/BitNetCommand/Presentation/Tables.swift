/// Lines of labels and values, the values in a column of their own, with control characters as escapes.
func table(_ rows: [(label: String, value: String)]) -> String {
  let rows = rows.map { (label: $0.label.visible(), value: $0.value.visible()) }
  let width = rows.map(\.label.count).max() ?? 0
  return rows.map { label, value in
    label + String(repeating: " ", count: width - label.count + 2) + value + "\n"
  }.joined()
}

/// The columns of a table whose rows are printed one by one, each as soon as it is known.
struct TableColumns {
  enum Column {
    case left(Int)
    case right(Int)
  }

  private let columns: [Column]

  /// - Parameter columns: the alignment of each column and its width in characters. Two spaces separate columns.
  init(_ columns: [Column]) { self.columns = columns }

  /// A line with a line end and without spaces before it, with control characters as escapes. Cells wider than their
  /// columns move those after them.
  ///
  /// - Parameter cells: at most as many as there are columns.
  func row(_ cells: [String]) -> String {
    let padded = zip(cells, columns).map { cell, column in
      let cell = cell.visible()
      return switch column {
      case .left(let width): cell + String(repeating: " ", count: max(0, width - cell.count))
      case .right(let width): String(repeating: " ", count: max(0, width - cell.count)) + cell
      }
    }
    let line = padded.joined(separator: "  ")
    return String(line[..<(line.lastIndex { $0 != " " }.map { line.index(after: $0) } ?? line.startIndex)]) + "\n"
  }
}

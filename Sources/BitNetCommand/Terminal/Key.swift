/// A key press.
enum Key: Equatable {
  /// Typed or pasted text. Pasted text may have several lines.
  case text(String)
  case enter
  /// Alt-Enter.
  case newline
  case left, right, up, down, home, end
  case wordLeft, wordRight
  case backspace, delete
  case deleteWordLeft, deleteWordRight
  case deleteToStart, deleteToEnd
  /// Inserts the text of the last deletion by word or to an end of the line.
  case yank
  case earlier, later
  case clearScreen
  case interrupt, suspend
  /// Ctrl-D: the end of the input on an empty line, otherwise like `delete`.
  case endOrDelete
  /// The terminal was closed.
  case hangUp
  /// A key without a function.
  case other
}

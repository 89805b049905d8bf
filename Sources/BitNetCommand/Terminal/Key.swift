/// What a person pressed.
enum Key: Equatable {
  /// Text that was typed or pasted; a pasted one may have several lines.
  case text(String)
  case enter
  /// Alt-Enter.
  case newline
  case left, right, up, down, home, end
  case wordLeft, wordRight
  case backspace, delete
  case deleteWordLeft, deleteWordRight
  case deleteToStart, deleteToEnd
  /// Puts back what was deleted last by word or to an end of the line.
  case yank
  case earlier, later
  case clearScreen
  case interrupt, suspend
  /// Ctrl-D: the end of the input on an empty line, else like `delete`.
  case endOrDelete
  /// The terminal is gone.
  case hangUp
  /// A key that means nothing here.
  case other
}

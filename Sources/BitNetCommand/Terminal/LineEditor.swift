/// Asks for text on a terminal, with the usual keys to edit it.
struct LineEditor {
  enum Result: Equatable {
    case text(String)
    /// Ctrl-C, which drops the typed text.
    case interrupted(wasEmpty: Bool)
    /// Ctrl-D on an empty line, or the terminal was closed.
    case end
  }

  private let terminal: Terminal
  private var keys = KeyReader()
  private var edited = EditedText()
  /// The row of the cursor, counted from the first row that is drawn.
  private var cursorRow = 0

  init(_ terminal: Terminal) { self.terminal = terminal }

  /// - Parameter history: earlier texts, the newest last.
  mutating func read(prompt: String, history: [String]) throws -> Result {
    edited.replace(with: "")
    cursorRow = 0
    // The earlier texts and, last, the new one, which is kept while earlier ones are shown.
    var choices = history + [""]
    var chosen = history.count
    func choose(_ index: Int, _ edited: inout EditedText) {
      guard choices.indices.contains(index) else { return }
      choices[chosen] = edited.text
      chosen = index
      edited.replace(with: choices[index])
    }
    while true {
      // What was typed or pasted at once is drawn at once.
      if !keys.areWaiting { try draw(prompt) }
      switch keys.next() {
      case .text(let text): edited.insert(text)
      case .newline: edited.insert("\n")
      case .enter:
        if edited.continueAfterBackslash() { continue }
        return try finish(prompt, .text(edited.text))
      case .left: edited.moveLeft()
      case .right: edited.moveRight()
      case .wordLeft: edited.moveWordLeft()
      case .wordRight: edited.moveWordRight()
      case .home: edited.moveToStart()
      case .end: edited.moveToEnd()
      case .up: if !edited.moveUp() { choose(chosen - 1, &edited) }
      case .down: if !edited.moveDown() { choose(chosen + 1, &edited) }
      case .earlier: choose(chosen - 1, &edited)
      case .later: choose(chosen + 1, &edited)
      case .backspace: edited.deleteLeft()
      case .delete: edited.deleteRight()
      case .deleteWordLeft: edited.deleteWordLeft()
      case .deleteWordRight: edited.deleteWordRight()
      case .deleteToStart: edited.deleteToStart()
      case .deleteToEnd: edited.deleteToEnd()
      case .yank: edited.yank()
      case .clearScreen:
        try ByteOutput.standard.write("\u{1B}[H\u{1B}[2J")
        cursorRow = 0
      case .interrupt:
        let wasEmpty = edited.text.isEmpty
        edited.moveToTextEnd()
        edited.insert("^C")
        return try finish(prompt, .interrupted(wasEmpty: wasEmpty))
      case .suspend:
        try finishDrawing(prompt)
        Terminal.suspend()
        cursorRow = 0
      case .endOrDelete:
        if edited.text.isEmpty { return try finish(prompt, .end) }
        edited.deleteRight()
      case .hangUp: return .end
      case .other: break
      }
    }
  }

  /// Whether Ctrl-C was typed after the last text, before the terminal made it a signal. What was typed up to it is
  /// dropped.
  mutating func takeInterrupt() -> Bool { keys.takeInterrupt() }

  private mutating func finish(_ prompt: String, _ result: Result) throws -> Result {
    try finishDrawing(prompt)
    return result
  }

  /// Leaves the whole text on the screen, and the cursor on the line after it.
  private mutating func finishDrawing(_ prompt: String) throws {
    edited.moveToTextEnd()
    try draw(prompt, whole: true)
    try ByteOutput.standard.write("\r\n")
  }

  /// Redraws prompt and text. If the text is higher than the screen, draws the part around the cursor.
  private mutating func draw(_ prompt: String, whole: Bool = false) throws {
    let size = terminal.size
    let layout = TextLayout(prompt: prompt, text: edited, columns: size.columns)
    let count = whole ? layout.rows.count : min(layout.rows.count, size.rows)
    let first = max(0, min(layout.cursor.row - count / 2, layout.rows.count - count))
    var output = cursorRow > 0 ? "\u{1B}[\(cursorRow)A" : ""
    output += "\r\u{1B}[J" + layout.rows[first..<first + count].joined(separator: "\r\n")
    cursorRow = layout.cursor.row - first
    if count - 1 > cursorRow { output += "\u{1B}[\(count - 1 - cursorRow)A" }
    output += "\r"
    if layout.cursor.column > 0 { output += "\u{1B}[\(layout.cursor.column)C" }
    try ByteOutput.standard.write(output)
  }
}

/// Reads prompts and passes each to a body: on a terminal with editing and history, otherwise line by line.
struct PromptLoop {
  private let terminal = Terminal()
  private var history: History

  init(history: History) { self.history = history }

  /// Runs until the input ends or `body` returns false. On a terminal, errors that `body` throws are shown, and the
  /// loop continues.
  ///
  /// A line that ends with a backslash continues on the next line.
  mutating func run(_ body: (String) async throws -> Bool) async throws {
    guard let terminal else {
      var lines = LineReader()
      while let text = try Self.nextText(&lines) {
        if !Self.isBlank(text), !(try await body(text)) { return }
      }
      return
    }
    defer { Terminal.restore() }
    var editor = LineEditor(terminal)
    var isWarned = false
    while true {
      try terminal.enter(.editing)
      switch try editor.read(prompt: "> ", history: history.entries) {
      case .end: return
      case .interrupted(let wasEmpty):
        if wasEmpty, isWarned { return }
        isWarned = wasEmpty
        if wasEmpty { ByteOutput.note("Ctrl-C once more, or Ctrl-D, ends the program.") }
      case .text(let text):
        isWarned = false
        if Self.isBlank(text) { continue }
        history.add(text)
        try terminal.enter(.answering)
        if editor.takeInterrupt() {
          ByteOutput.note("[stopped]")
          continue
        }
        do {
          if !(try await body(text)) { return }
        } catch {
          ByteOutput.note(error)
        }
      }
    }
  }

  private static func isBlank(_ text: String) -> Bool { text.allSatisfy(\.isWhitespace) }

  private static func nextText(_ lines: inout LineReader) throws -> String? {
    guard var text = try lines.nextText() else { return nil }
    while text.hasSuffix("\\") {
      text.removeLast()
      guard let next = try lines.nextText() else { break }
      text += "\n" + next
    }
    return text
  }
}

import Foundation
import Synchronization

/// The columns and rows of a terminal.
struct TerminalSize {
  var columns: Int
  var rows: Int

  /// The size of a terminal; 80 by 24 if the terminal does not report it.
  static func current(_ descriptor: Int32) -> TerminalSize {
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else {
      return TerminalSize(columns: 80, rows: 24)
    }
    return TerminalSize(columns: Int(size.ws_col), rows: Int(size.ws_row))
  }
}

/// The terminal on standard input and output. Its modes are restored when it is released or a signal ends the process.
final class Terminal {
  enum Mode {
    /// Every key arrives when it is pressed, including Ctrl-C, and pasted text is marked.
    case editing
    /// Keys wait without echo until the next prompt, and Ctrl-C is a signal.
    case answering
  }

  /// The terminal's original modes, while there is a `Terminal`.
  private static let found = Mutex<termios?>(nil)

  private let original: termios
  private let endings = SignalHandler([SIGTERM, SIGHUP]) { endProcess(by: $0) }
  /// Ctrl-C stops answers and clears lines. In between it must not end the program.
  private let interrupts = SignalHandler([SIGINT]) { _ in }

  /// Nil unless standard input and output are a terminal that can move its cursor.
  init?() {
    guard ByteInput.standardIsTerminal, ByteOutput.standard.isTerminal else { return nil }
    guard ProcessInfo.processInfo.environment["TERM"] != "dumb" else { return nil }
    var modes = termios()
    guard tcgetattr(STDIN_FILENO, &modes) == 0 else { return nil }
    let original = modes
    self.original = original
    Self.found.withLock { $0 = original }
  }

  deinit {
    Self.restore()
    Self.found.withLock { $0 = nil }
    endings.cancel()
    interrupts.cancel()
  }

  var size: TerminalSize { .current(STDOUT_FILENO) }

  func enter(_ mode: Mode) throws {
    var modes = original
    switch mode {
    case .editing:
      cfmakeraw(&modes)
      modes.c_oflag = original.c_oflag
    case .answering:
      modes.c_lflag &= ~tcflag_t(ECHO | ICANON)
    }
    guard tcsetattr(STDIN_FILENO, TCSADRAIN, &modes) == 0 else {
      throw CommandError.system("the terminal cannot be set up")
    }
    try ByteOutput.standard.write(mode == .editing ? "\u{1B}[?2004h" : "\u{1B}[?2004l")
  }

  /// Restores the terminal's original modes, if it is in use.
  static func restore() {
    guard var modes = found.withLock({ $0 }) else { return }
    tcsetattr(STDIN_FILENO, TCSADRAIN, &modes)
    try? ByteOutput.standard.write("\u{1B}[?2004l")
  }

  /// Suspends the program as Ctrl-Z does, with the terminal's original modes. Returns when the program continues, in
  /// the mode for editing.
  func suspend() throws {
    Self.restore()
    kill(getpid(), SIGTSTP)
    try enter(.editing)
  }
}

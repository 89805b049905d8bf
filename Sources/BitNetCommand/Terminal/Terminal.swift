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

  /// The terminal's original modes and its present one, while there is a `Terminal`.
  private static let state = Mutex<(original: termios, mode: Mode?)?>(nil)

  private let endings = SignalHandler([SIGTERM, SIGHUP, SIGQUIT]) { endProcess(by: $0) }
  private let stops = SignalHandler([SIGTSTP]) { _ in Terminal.suspend() }
  /// Ctrl-C stops answers and clears lines. In between it must not end the program.
  private let interrupts = SignalHandler([SIGINT]) { _ in }

  /// Nil unless standard input and output are a terminal that can move its cursor.
  init?() {
    guard ByteInput.standardIsTerminal, ByteOutput.standard.isTerminal else { return nil }
    guard ProcessInfo.processInfo.environment["TERM"] != "dumb" else { return nil }
    var modes = termios()
    guard tcgetattr(STDIN_FILENO, &modes) == 0 else { return nil }
    let original = modes
    Self.state.withLock { $0 = (original, nil) }
  }

  deinit {
    Self.restore()
    Self.state.withLock { $0 = nil }
    endings.cancel()
    stops.cancel()
    interrupts.cancel()
  }

  var size: TerminalSize { .current(STDOUT_FILENO) }

  func enter(_ mode: Mode) throws {
    let original = Self.state.withLock { state in
      state?.mode = mode
      return state?.original
    }
    guard let original else { return }
    try Self.set(mode, original)
  }

  private static func set(_ mode: Mode, _ original: termios) throws {
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
    guard var modes = state.withLock({ $0?.original }) else { return }
    tcsetattr(STDIN_FILENO, TCSADRAIN, &modes)
    try? ByteOutput.standard.write("\u{1B}[?2004l")
  }

  /// Suspends the program as Ctrl-Z does, with the terminal's original modes. Returns when the program continues, in
  /// its mode from before.
  static func suspend() {
    restore()
    stopProcess()
    guard let (original, mode) = state.withLock({ $0 }), let mode else { return }
    try? set(mode, original)
  }
}

#if os(Linux)
  import Foundation
  import Testing

  /// The program on a pseudo-terminal, to which a test sends keys.
  final class PseudoTerminal {
    private let main: Int32
    /// Kept open, so that tests can read the terminal's modes.
    private let side: Int32
    private let process: pid_t
    private(set) var output = ""
    private var bytes: [UInt8] = []
    /// The position in the output from which the next wait searches.
    private var position = 0

    struct TimeOut: Error, CustomStringConvertible {
      let description: String
    }

    /// - Parameter program: the path of the program to run.
    init(
      program: String = BitNetProgram.url.path, _ arguments: [String], environment: [String: String],
      columns: UInt16 = 80, rows: UInt16 = 24
    ) throws {
      var (main, side): (Int32, Int32) = (-1, -1)
      var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
      var name = [CChar](repeating: 0, count: 128)
      try #require(openpty(&main, &side, nil, nil, &size) == 0 && ttyname_r(side, &name, name.count) == 0)
      let path = name.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
      (self.main, self.side) = (main, side)

      var attributes = posix_spawnattr_t()
      posix_spawnattr_init(&attributes)
      defer { posix_spawnattr_destroy(&attributes) }
      posix_spawnattr_setflags(&attributes, 0x80)  // POSIX_SPAWN_SETSID: the first terminal it opens then is its own
      var actions = posix_spawn_file_actions_t()
      posix_spawn_file_actions_init(&actions)
      defer { posix_spawn_file_actions_destroy(&actions) }
      posix_spawn_file_actions_addopen(&actions, 0, path, O_RDWR, 0)
      posix_spawn_file_actions_adddup2(&actions, 0, 1)
      posix_spawn_file_actions_adddup2(&actions, 0, 2)
      posix_spawn_file_actions_addclose(&actions, main)
      posix_spawn_file_actions_addclose(&actions, side)
      let all = ProcessInfo.processInfo.environment.merging(environment.merging(["TERM": "xterm"]) { a, _ in a }) { $1 }
      var argv = ([program] + arguments).map { strdup($0) } + [nil]
      var envp = all.map { strdup("\($0)=\($1)") } + [nil]
      defer { for pointer in argv + envp { free(pointer) } }
      var process: pid_t = 0
      let result = posix_spawn(&process, program, &actions, &attributes, &argv, &envp)
      try #require(result == 0)
      self.process = process
    }

    deinit {
      kill(process, SIGKILL)
      waitpid(process, nil, 0)
      close(main)
      close(side)
    }

    /// Whether typed characters are echoed and lines collected, as in a terminal whose modes were restored.
    var isInOrder: Bool {
      var modes = termios()
      tcgetattr(side, &modes)
      let expected = tcflag_t(ECHO | ICANON | ISIG)
      return modes.c_lflag & expected == expected
    }

    func type(_ keys: String) {
      let bytes = Array(keys.utf8)
      write(main, bytes, bytes.count)
    }

    func send(_ number: Int32) { kill(process, number) }

    /// Reads until the output contains `text` after the text of the previous wait.
    func wait(for text: String) throws {
      let deadline = ContinuousClock.now + .seconds(60)
      while true {
        let rest = output.utf8.dropFirst(position)
        if let range = String(decoding: rest, as: UTF8.self).range(of: text) {
          position += String(decoding: rest, as: UTF8.self)[..<range.upperBound].utf8.count
          return
        }
        guard ContinuousClock.now < deadline, readSome() else {
          throw TimeOut(
            description: "no \(text.debugDescription) at the end of \(String(output.suffix(2000)).debugDescription)")
        }
      }
    }

    /// Reads until `condition` holds for the screen.
    func wait(columns: Int, rows: Int, until condition: (Screen) -> Bool) throws {
      let deadline = ContinuousClock.now + .seconds(60)
      while true {
        let screen = Screen(output, columns: columns, rows: rows)
        if condition(screen) { return }
        guard ContinuousClock.now < deadline, readSome() else {
          throw TimeOut(
            description: "the terminal shows \(screen.visible), the cursor at \(screen.cursor), after \(screen.lines)")
        }
      }
    }

    /// Waits for the program's end; returns its wait status.
    func waitForEnd() throws -> Int32 {
      let deadline = ContinuousClock.now + .seconds(60)
      while ContinuousClock.now < deadline {
        var status: Int32 = 0
        if waitpid(process, &status, WNOHANG) == process { return status }
        _ = readSome()
      }
      throw TimeOut(description: "the program has not ended; it printed \(output.debugDescription)")
    }

    /// Reads the available output, within at most 20 ms. Returns false when there is no more.
    private func readSome() -> Bool {
      var request = pollfd(fd: main, events: Int16(POLLIN), revents: 0)
      guard poll(&request, 1, 20) > 0 else { return true }
      var buffer = [UInt8](repeating: 0, count: 4096)
      let count = read(main, &buffer, buffer.count)
      guard count > 0 else { return false }
      bytes += buffer[..<count]
      output = String(decoding: bytes, as: UTF8.self)
      return true
    }
  }
#endif

#if os(Linux)
  // Only on Linux does a child get a controlling terminal, which Ctrl-C needs, by opening it. On macOS that takes an
  // ioctl in the child.
  import Foundation
  import Testing

  @Suite("bitnet chat on a terminal", .serialized)
  struct TerminalTests {
    /// Starts a chat with greedy sampling, waits for its prompt, and passes it to `body`.
    private func chat(
      _ arguments: [String] = ["--max-tokens", "4"], history: String = "", columns: UInt16 = 80, rows: UInt16 = 24,
      _ body: (PseudoTerminal) throws -> Void
    ) async throws -> [String] {
      try await TemporaryFolder.with { folder in
        try FileManager.default.createDirectory(at: folder["bitnet"], withIntermediateDirectories: true)
        if !history.isEmpty { _ = try folder.write(history, to: "bitnet/history") }
        let terminal = try PseudoTerminal(
          ["chat", "--sampling", "greedy", "--chat-format", "plain"] + arguments,
          environment: ["XDG_STATE_HOME": folder.url.path],
          columns: columns, rows: rows)
        try terminal.wait(for: "> ")
        try body(terminal)
        #expect(terminal.isInOrder)
        let lines = (try? String(contentsOf: folder["bitnet/history"], encoding: .utf8)) ?? ""
        return lines.split(separator: "\n").map(String.init)
      }
    }

    private func exit(_ terminal: PseudoTerminal) throws {
      terminal.type("\u{04}")
      #expect(try terminal.waitForEnd() == 0)
    }

    /// The text that the program made of the keys, from its history.
    private func typed(_ keys: String, history: String = "", columns: UInt16 = 80) async throws -> String? {
      try await chat(history: history, columns: columns) { terminal in
        terminal.type(keys + "\r")
        try terminal.wait(for: "[cut off")
        try terminal.wait(for: "> ")
        try exit(terminal)
      }.last
    }

    @Test(
      "keys edit the line",
      arguments: [
        ("abc", "abc"),
        ("abd\u{1B}[Dc", "abcd"),
        ("bc\u{1B}[Ha\u{1B}[Fd", "abcd"),
        ("bc\u{01}a\u{05}d", "abcd"),
        ("one two\u{1B}[1;5Dand ", "one and two"),
        ("one two\u{1B}b\u{1B}b\u{1B}fx", "onex two"),
        ("one two\u{17}three", "one three"),
        ("one two\u{15}three", "three"),
        ("one two\u{01}\u{1B}[C\u{0B}", "o"),
        ("one two\u{17}\u{01}\u{19} ", "two one "),
        ("abcd\u{7F}\u{08}", "ab"),
        ("abc\u{01}\u{1B}[3~", "bc"),
        ("abc\u{01}\u{04}", "bc"),
        ("one two\u{01}\u{1B}d", " two"),
        ("one\u{0C} two", "one two"),
        ("naïve 你好 👨‍👩‍👧\u{1B}[D\u{1B}[D\u{1B}[Dx", "naïve 你x好 👨‍👩‍👧"),
        ("a\u{1B}[99;99Xb\u{1B}[24~c", "abc"),
        ("first\\\rsecond", "first\\nsecond"),
        ("first\u{1B}\rsecond", "first\\nsecond"),
        ("one\\\rtwo\u{1B}[A!", "one!\\ntwo"),
        ("\u{1B}[200~pasted\r\ntext\tand\u{7} more\u{1B}[201~!", "pasted\\ntext\tand more!"),
        ("back\\slash\u{1B}[D", "back\\\\slash"),
      ])
    func keys(_ keys: String, _ text: String) async throws {
      #expect(try await typed(keys) == text)
    }

    @Test("a narrow terminal and a long text give the same text")
    func wrapping() async throws {
      let words = Array(repeating: "wörter", count: 60).joined(separator: " ")
      #expect(try await typed("x" + words + "\u{01}\u{1B}[3~", columns: 20) == words)
    }

    @Test("a long line wraps, and the cursor is where the next character goes")
    func wrapsOnScreen() async throws {
      _ = try await chat(columns: 20) { terminal in
        func shows(_ lines: [String], cursor: [Int]) throws {
          try terminal.wait(columns: 20, rows: 24) {
            $0.visible.suffix(lines.count) == lines[...] && $0.cursor[1] == cursor[1]
              && $0.visible.count - lines.count + cursor[0] == $0.cursor[0]
          }
        }
        terminal.type("0123456789 abcdefg")
        try shows(["> 0123456789 abcdef", "g"], cursor: [1, 1])
        terminal.type("\u{7F}")
        try shows(["> 0123456789 abcdef"], cursor: [0, 19])
        terminal.type("你好e\u{301}!\u{1B}[D\u{1B}[D")
        try shows(["> 0123456789 abcdef", "你好e\u{301}!"], cursor: [1, 4])
        terminal.type("\u{01}你")
        try shows(["> 你0123456789 abcd", "ef你好e\u{301}!"], cursor: [0, 4])
        terminal.type("\u{1B}\r")
        try shows(["> 你", "  0123456789 abcdef", "你好e\u{301}!"], cursor: [1, 2])
        terminal.type("\u{0C}")
        try terminal.wait(columns: 20, rows: 24) {
          $0.visible.prefix(3) == ["> 你", "  0123456789 abcdef", "你好e\u{301}!"] && $0.cursor == [1, 2]
        }
        terminal.type("\u{03}")
        try shows(["> 你", "  0123456789 abcdef", "你好e\u{301}!^C", ">"], cursor: [3, 2])
        try exit(terminal)
      }
    }

    @Test("a text higher than the screen scrolls with the cursor and is left whole")
    func tallText() async throws {
      _ = try await chat(["--max-tokens", "1"], rows: 6) { terminal in
        let lines = (1...12).map { "line \($0)" }
        terminal.type("\u{1B}[200~\(lines.joined(separator: "\n"))\u{1B}[201~")
        try terminal.wait(columns: 80, rows: 6) {
          $0.visible == (7...12).map { "  line \($0)" } && $0.cursor == [5, 9]
        }
        for _ in 1..<12 { terminal.type("\u{1B}[A") }
        let top = ["> line 1"] + (2...6).map { "  line \($0)" }
        try terminal.wait(columns: 80, rows: 6) { $0.visible == top && $0.cursor == [0, 8] }
        terminal.type("\r")
        let whole = ["> line 1"] + (2...12).map { "  line \($0)" }
        try terminal.wait(columns: 80, rows: 6) { screen in
          guard screen.lines.last == ">", let start = screen.lines.lastIndex(of: "> line 1") else { return false }
          return screen.lines[start...].starts(with: whole)
        }
        try exit(terminal)
      }
    }

    @Test("arrow keys recall earlier lines, also of earlier runs")
    func history() async throws {
      #expect(try await typed("\u{1B}[A!", history: "one\ntwo\\nlines\n") == "two\\nlines!")
      #expect(try await typed("draft\u{10}\u{10}\u{0E}\u{0E}!", history: "one\ntwo\n") == "draft!")
      #expect(try await typed("\u{1B}OA\u{1B}OA\u{1B}OA!", history: "one\ntwo\n") == "one!")
      let lines = try await chat { terminal in
        terminal.type("/stats\r")
        try terminal.wait(for: "no answer yet")
        try terminal.wait(for: "> ")
        terminal.type("\u{1B}[A\r")
        try terminal.wait(for: "no answer yet")
        try terminal.wait(for: "> ")
        try exit(terminal)
      }
      #expect(lines == ["/stats"])
    }

    @Test("Ctrl-C stops an answer but not the program")
    func interrupt() async throws {
      _ = try await chat(["--context", "100000"]) { terminal in
        terminal.type("Once upon a time\r")
        try terminal.wait(for: "there was a man")
        terminal.type("\u{03}")
        try terminal.wait(for: "[stopped]")
        try terminal.wait(for: "> ")
        terminal.type("/stats\r")
        try terminal.wait(for: "of 100000 tokens")
        try terminal.wait(for: "> ")
        // A second answer can be stopped like the first.
        terminal.type("Once upon a time there was a\r")
        try terminal.wait(for: " was a ")
        terminal.type("\u{03}")
        try terminal.wait(for: "[stopped]")
        try terminal.wait(for: "> ")
        terminal.type("/exit\r")
        #expect(try terminal.waitForEnd() == 0)
      }
    }

    @Test("Ctrl-C that arrives with Enter stops the answer, and does not count again")
    func interruptWithEnter() async throws {
      _ = try await chat(["--context", "100000"]) { terminal in
        terminal.type("Once upon a time\r\u{03}\u{03}\u{03}")
        try terminal.wait(for: "[stopped]")
        try terminal.wait(for: "> ")
        terminal.type("/stats\r")
        try terminal.wait(for: "no answer yet")
        try terminal.wait(for: "> ")
        try exit(terminal)
      }
    }

    @Test("Ctrl-Z leaves the terminal in order, at the prompt and during an answer")
    func suspension() async throws {
      try await TemporaryFolder.with { folder in
        // Only a shell with job control continues a program that was stopped.
        let script = #"""
          "$0" chat --sampling greedy --chat-format plain --context 100000
          stty -a; fg; stty -a; fg
          """#
        let terminal = try PseudoTerminal(
          program: "/bin/sh", ["-mc", script, BitNetProgram.url.path], environment: ["XDG_STATE_HOME": folder.url.path])
        try terminal.wait(for: "> ")
        terminal.type("\u{1A}")
        try terminal.wait(for: "\r\nisig icanon")
        try terminal.wait(for: " echo ")
        try terminal.wait(for: "> ")
        terminal.type("Once upon a time\r")
        try terminal.wait(for: "there was a man")
        terminal.type("\u{1A}")
        try terminal.wait(for: "\r\nisig icanon")
        try terminal.wait(for: " echo ")
        try terminal.wait(for: " was a ")
        terminal.type("\u{03}")
        try terminal.wait(for: "[stopped]")
        try terminal.wait(for: "> ")
        try exit(terminal)
      }
    }

    @Test("Ctrl-C drops a line, then gives a hint, then quits")
    func interruptAtPrompt() async throws {
      let lines = try await chat { terminal in
        terminal.type("nonsense\u{03}")
        try terminal.wait(for: "nonsense^C")
        try terminal.wait(for: "> ")
        terminal.type("\u{03}")
        try terminal.wait(for: "once more")
        try terminal.wait(for: "> ")
        terminal.type("\u{03}")
        #expect(try terminal.waitForEnd() == 0)
      }
      #expect(lines.isEmpty)
    }

    @Test("mistakes are reported and the conversation continues")
    func mistakes() async throws {
      _ = try await chat(["--context", "12", "--max-tokens", "2"]) { terminal in
        terminal.type("/sing\r")
        try terminal.wait(for: "there is no command /sing")
        try terminal.wait(for: "> ")
        terminal.type(String(repeating: "king ", count: 30) + "\r")
        try terminal.wait(for: "the context holds 12")
        try terminal.wait(for: "> ")
        terminal.type("Once\r")
        try terminal.wait(for: "[cut off")
        try exit(terminal)
      }
    }

    @Test("the terminal is restored when a signal ends the program", arguments: [SIGTERM, SIGHUP, SIGQUIT])
    func termination(signal: Int32) async throws {
      _ = try await chat { terminal in
        #expect(!terminal.isInOrder)
        terminal.send(signal)
        let status = try terminal.waitForEnd()
        #expect(status & 0x7F == signal)
      }
    }

    @Test("generate --interactive has the same keys")
    func interactive() async throws {
      let terminal = try PseudoTerminal(
        ["generate", "--interactive", "--sampling", "greedy", "--max-tokens", "5", "--quiet"], environment: [:])
      try terminal.wait(for: "> ")
      terminal.type("Once upon a tme\u{1B}[D\u{1B}[Di\r")
      try terminal.wait(for: " there was a man")
      try terminal.wait(for: "> ")
      terminal.type("\u{04}")
      #expect(try terminal.waitForEnd() == 0)
      #expect(terminal.isInOrder)
    }

    @Test("generate without a prompt asks for one")
    func noPrompt() async throws {
      let terminal = try PseudoTerminal(["generate"], environment: [:])
      try terminal.wait(for: "There is no prompt")
      #expect(try terminal.waitForEnd() == 64 << 8)
    }
  }
#endif

import Foundation

/// The earlier input, newest last, and the file that keeps it, if any.
///
/// The file is optional: if it cannot be read or written, the history lasts as long as the program.
struct History {
  private static let limit = 1000
  private(set) var entries: [String] = []
  private let file: URL?

  /// - Parameter file: one entry per line, with `\n` for a line break and `\\` for a backslash.
  init(file: URL? = nil) {
    self.file = file
    guard let file, let data = try? Data(contentsOf: file) else { return }
    let lines = String(decoding: data, as: UTF8.self).split(separator: "\n")
    entries = lines.suffix(Self.limit).map(Self.unescaped)
    if lines.count > 2 * Self.limit {
      try? Data(entries.map { Self.escaped($0) + "\n" }.joined().utf8).write(to: file, options: .atomic)
    }
  }

  /// The program's own history, in the folder that the XDG base directories name for such files.
  static func standard() -> History {
    let state = ProcessInfo.processInfo.environment["XDG_STATE_HOME"].flatMap {
      $0.hasPrefix("/") ? URL(filePath: $0) : nil
    }
    let folder = state ?? FileManager.default.homeDirectoryForCurrentUser.appending(path: ".local/state")
    return History(file: folder.appending(path: "bitnet/history"))
  }

  mutating func add(_ entry: String) {
    guard entry != entries.last else { return }
    entries.append(entry)
    if entries.count > Self.limit { entries.removeFirst() }
    guard let file else { return }
    try? FileManager.default.createDirectory(
      at: file.deletingLastPathComponent(), withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    // Append, so that programs that run at the same time do not lose each other's entries.
    let descriptor = open(file.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    try? ByteOutput(descriptor: descriptor, name: file.path).write(Self.escaped(entry) + "\n")
  }

  private static func escaped(_ entry: String) -> String {
    entry.replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
  }

  private static func unescaped(_ line: Substring) -> String {
    var text = ""
    var characters = line.makeIterator()
    while let character = characters.next() {
      if character == "\\", let next = characters.next() {
        text.append(next == "n" ? "\n" : next)
      } else {
        text.append(character)
      }
    }
    return text
  }
}

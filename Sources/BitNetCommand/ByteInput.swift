import Foundation

/// An open file that is read from beginning to end.
struct ByteInput {
  let descriptor: Int32
  /// The name for errors.
  let name: String

  static let standard = ByteInput(descriptor: STDIN_FILENO, name: "standard input")

  static var standardIsTerminal: Bool { isatty(STDIN_FILENO) == 1 }

  /// All bytes of a file; of standard input for "-".
  ///
  /// - Parameter limit: the most bytes that it may have.
  static func contents(of path: String, limit: Int = .max) throws -> [UInt8] {
    if path == "-" { return try standard.readToEnd(limit: limit) }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw CommandError.unopened(path) }
    defer { close(descriptor) }
    return try ByteInput(descriptor: descriptor, name: path).readToEnd(limit: limit)
  }

  /// The text of a file; of standard input for "-".
  ///
  /// - Parameter limit: the most bytes that it may have.
  static func text(of path: String, limit: Int = .max) throws -> String {
    let bytes = try contents(of: path, limit: limit)
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw CommandError("\(path == "-" ? standard.name : path) is not UTF-8 text")
    }
    return text
  }

  func readToEnd(limit: Int = .max) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while let chunk = try read() {
      bytes += chunk
      guard bytes.count <= limit else {
        throw CommandError("\(name) has more than \(size(limit)); expected at most as many")
      }
    }
    return bytes
  }

  /// The next bytes, one or more; nil at the end.
  func read() throws -> [UInt8]? {
    while true {
      var count = 0
      let bytes = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, initialized in
        count = Foundation.read(descriptor, buffer.baseAddress, buffer.count)
        initialized = max(0, count)
      }
      if count > 0 { return bytes }
      if count == 0 { return nil }
      if errno != EINTR { throw CommandError.system("\(name) cannot be read") }
    }
  }
}

/// A line has more bytes than ``LineReader/longestLine``.
struct LineTooLongError: Error, CustomStringConvertible {
  /// The line's number, from 1.
  let number: Int
  let input: String

  var description: String {
    "line \(number) of \(input) has more than \(size(LineReader.longestLine)); expected at most as many"
  }
}

/// The lines of an input, without their line ends and without the byte order mark that programs on Windows write before
/// the first.
struct LineReader {
  /// The longest line in bytes: 64 MiB.
  static let longestLine = 64 << 20
  static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

  private let input: ByteInput
  private var buffer: [UInt8] = []
  private var start = 0
  private var isAtEnd = false
  /// The number of the line that was returned last, from 1.
  private(set) var lineNumber = 0
  /// The bytes of all lines that were returned, with their line ends.
  private(set) var bytesRead = 0
  /// Whether the line that was returned last has a line end.
  private(set) var endsWithBreak = false

  init(_ input: ByteInput = .standard) { self.input = input }

  /// - Throws: `LineTooLongError`, after which ``skipLine()`` leads to the next line; `CommandError` for an input that
  ///   cannot be read.
  mutating func next() throws -> ArraySlice<UInt8>? {
    var searched = start
    while true {
      if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
        defer { start = end + 1 }
        lineNumber += 1
        bytesRead += end + 1 - start
        endsWithBreak = true
        return text(buffer[start..<end].last == UInt8(ascii: "\r") ? start..<end - 1 : start..<end)
      }
      if isAtEnd {
        guard start < buffer.count else { return nil }
        defer { start = buffer.count }
        lineNumber += 1
        bytesRead += buffer.count - start
        endsWithBreak = false
        return text(start..<buffer.count)
      }
      guard buffer.count - start <= Self.longestLine else {
        throw LineTooLongError(number: lineNumber + 1, input: input.name)
      }
      buffer.removeFirst(start)
      searched = buffer.count
      start = 0
      if let bytes = try input.read() { buffer += bytes } else { isAtEnd = true }
    }
  }

  /// The bytes of a line that was just counted.
  private func text(_ range: Range<Int>) -> ArraySlice<UInt8> {
    let line = buffer[range], mark = Self.byteOrderMark
    return lineNumber == 1 && line.starts(with: mark) ? line.dropFirst(mark.count) : line
  }

  /// Passes over a line of any length.
  mutating func skipLine() throws {
    let number = lineNumber + 1
    while !buffer[start...].contains(UInt8(ascii: "\n")) {
      bytesRead += buffer.count - start
      (buffer, start) = ([], 0)
      guard let bytes = try input.read() else {
        isAtEnd = true
        break
      }
      buffer = bytes
    }
    _ = try next()
    lineNumber = number
  }

  /// The next line as text.
  mutating func nextText() throws -> String? {
    guard let line = try next() else { return nil }
    guard let text = String(validating: line, as: UTF8.self) else {
      throw CommandError("line \(lineNumber) of \(input.name) is not UTF-8 text")
    }
    return text
  }
}

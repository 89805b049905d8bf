import Foundation

/// Standard output or standard error, without a buffer.
struct ByteOutput: Sendable {
  static let standard = ByteOutput(descriptor: STDOUT_FILENO, name: "standard output")
  static let errors = ByteOutput(descriptor: STDERR_FILENO, name: "standard error")

  let descriptor: Int32
  let name: String

  var isTerminal: Bool { isatty(descriptor) == 1 }

  func write(_ text: String) throws { try write(Array(text.utf8)) }

  func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes(write) }

  func write(_ bytes: UnsafeRawBufferPointer) throws {
    var rest = bytes
    while !rest.isEmpty {
      let count = Foundation.write(descriptor, rest.baseAddress, rest.count)
      if count > 0 {
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      } else if errno == EAGAIN {
        // The descriptor does not block, as when the program at the other end has made it so.
        var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = poll(&ready, 1, -1)
      } else if errno != EINTR {
        throw CommandError.system("\(name) cannot be written")
      }
    }
  }

  /// Writes lines to standard error, with control characters as escapes. Failures are ignored: nothing depends on the
  /// note.
  static func note(_ lines: String) { try? errors.write(lines.visible(keepingLines: true) + "\n") }

  /// Writes the sentence of an error to standard error, on one line.
  static func note(_ error: any Error) { note("Error: " + "\(error)".visible()) }
}

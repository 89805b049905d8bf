import BitNet
import Foundation

/// An error that only the command reports: one sentence for the user.
struct CommandError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }

  /// `subject`, followed by the C library's message for `errno`.
  static func system(_ subject: String) -> CommandError {
    CommandError("\(subject): \(String(cString: strerror(errno)))")
  }

  /// A file that `open` has refused.
  ///
  /// - Parameter purpose: what it was to be opened for; empty for reading.
  static func unopened(_ path: String, for purpose: String = "") -> CommandError {
    let name = path.isEmpty ? "the path \"\"" : path
    return system("\(name) cannot be opened\(purpose.isEmpty ? "" : " for \(purpose)")")
  }
}

extension BitNetError {
  /// Whether the error is that a text does not fit the context or the cache.
  var isAboutLength: Bool { code == .contextExceeded || code == .outOfMemory }
}

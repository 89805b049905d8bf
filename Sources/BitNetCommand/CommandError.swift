import Foundation

/// A mistake that no library reports: one sentence for the person at the keyboard.
struct CommandError: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }

  /// `subject` followed by the C library's sentence for `errno`.
  static func system(_ subject: String) -> CommandError {
    CommandError("\(subject): \(String(cString: strerror(errno)))")
  }
}

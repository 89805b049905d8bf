/// One message of a chat.
public struct ChatMessage: Equatable, Sendable {
  public enum Role: String, Sendable, CaseIterable {
    case system, user, assistant
  }

  public var role: Role
  public var content: String

  public init(role: Role, content: String) {
    self.role = role
    self.content = content
  }
}

extension ChatMessage {
  /// The content without whitespace at its ends: `trim` in Jinja and `strip` in Python, which chat templates are
  /// written for.
  var trimmedContent: String {
    let scalars = content.unicodeScalars
    guard let first = scalars.firstIndex(where: { !Self.isStripped($0) }),
      let last = scalars.lastIndex(where: { !Self.isStripped($0) })
    else { return "" }
    return String(scalars[first...last])
  }

  /// Python's `str.isspace`: Unicode whitespace, and the separators U+001C…U+001F besides.
  private static func isStripped(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
  }
}

/// One message of a chat.
public struct ChatMessage: Equatable, Sendable {
  /// Who a message is from. Later versions may add roles.
  public struct Role: RawRepresentable, Hashable, Sendable {
    /// The role's name, as chat templates write it.
    public let rawValue: String

    /// Makes a role from its name.
    public init(rawValue: String) { self.rawValue = rawValue }

    /// The operator, who tells the model its role.
    public static let system = Role(rawValue: "system")
    /// The person who asks.
    public static let user = Role(rawValue: "user")
    /// The model.
    public static let assistant = Role(rawValue: "assistant")
  }

  /// Who the message is from.
  public var role: Role
  /// The message's text.
  public var content: String

  /// Makes a message.
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

/// One message of a chat.
public struct ChatMessage: Equatable, Sendable {
  /// Who a message is from. Later versions may add roles.
  public struct Role: Hashable, Sendable {
    /// The role's name, as chat templates write it.
    package let rawValue: String

    package init(rawValue: String) { self.rawValue = rawValue }

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
  public var content: String {
    didSet { tokens = nil }
  }
  /// The tokens in which the model generated the content, without the token that ended the reply. A prompt contains
  /// them instead of the content: encoded anew, the text might give other tokens than those in the KV cache.
  package var tokens: [Int32]?

  /// Makes a message.
  public init(role: Role, content: String) {
    self.role = role
    self.content = content
  }

  /// A reply, with the tokens in which the model generated it.
  package init(reply content: String, tokens: [Int32]) {
    role = .assistant
    self.content = content
    self.tokens = tokens
  }

  /// Whether two messages have the same role and content.
  public static func == (a: ChatMessage, b: ChatMessage) -> Bool { a.role == b.role && a.content == b.content }
}

extension ChatMessage {
  /// The message as a part of a prompt: its tokens if it has them, else its content.
  ///
  /// - Parameter trimming: whether whitespace at both ends of the content is left out.
  func part(trimming: Bool) -> Prompt.Part {
    if let tokens { return .tokens(tokens) }
    return .content(trimming ? trimmedContent : content)
  }

  /// The content without whitespace at both ends, as `trim` in Jinja and `strip` in Python give it, for which chat
  /// templates are written.
  private var trimmedContent: String {
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

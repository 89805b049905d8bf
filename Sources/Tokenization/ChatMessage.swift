/// One message of a chat.
public struct ChatMessage: Equatable, Sendable {
  /// The author of a message.
  public enum Role: String, Sendable, CaseIterable {
    case system, user, assistant
  }

  public var role: Role
  public var content: String {
    didSet { tokens = nil }
  }
  /// The tokens in which the model generated the content, without the token that ended the reply. A prompt contains
  /// them instead of the content: encoded anew, the text might give other tokens than those in the KV cache.
  package var tokens: [Int32]?

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

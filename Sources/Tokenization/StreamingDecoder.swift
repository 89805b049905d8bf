/// Decodes tokens one at a time, for text that is shown while it is generated.
///
/// A token may end in the middle of a character. What is not yet a whole character is held back, so that all pieces
/// joined are exactly what ``Tokenizer/decode(_:skippingSpecials:)`` gives for all ids.
package struct StreamingDecoder: Sendable {
  private let tokenizer: Tokenizer
  private let skipsSpecials: Bool
  /// The beginning of a UTF-8 sequence that a next byte may continue: up to three bytes.
  private var pending: [UInt8] = []

  /// - Parameter skippingSpecials: whether special tokens give no text.
  package init(_ tokenizer: Tokenizer, skippingSpecials: Bool = false) {
    self.tokenizer = tokenizer
    skipsSpecials = skippingSpecials
  }

  /// The text that became complete with this token, possibly empty. An id that no token has stands for nothing.
  package mutating func append(_ id: Int32) -> String {
    tokenizer.appendBytes(of: id, to: &pending, skippingSpecials: skipsSpecials)
    let complete = pending.count - Self.lengthOfOpenSequence(atEndOf: pending)
    let text = String(decoding: pending[..<complete], as: UTF8.self)
    pending.removeFirst(complete)
    return text
  }

  /// The text of what was held back: U+FFFD if a character was left unfinished, else nothing. The decoder can then be
  /// used for another sequence.
  package mutating func finish() -> String {
    defer { pending.removeAll(keepingCapacity: true) }
    return String(decoding: pending, as: UTF8.self)
  }

  /// How many of the last bytes are the beginning of a valid UTF-8 sequence and not the whole of it.
  private static func lengthOfOpenSequence(atEndOf bytes: [UInt8]) -> Int {
    for length in 1...3 where length <= bytes.count {
      let lead = bytes[bytes.count - length]
      if lead & 0xC0 == 0x80 { continue }
      let needed = lead >= 0xF5 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 1
      guard needed > length else { return 0 }
      // After some leads not every continuation byte may come second: overlong forms, surrogates, beyond U+10FFFF.
      if length > 1 {
        let second = bytes[bytes.count - length + 1]
        let allowed: ClosedRange<UInt8> =
          switch lead {
          case 0xE0: 0xA0...0xBF
          case 0xED: 0x80...0x9F
          case 0xF0: 0x90...0xBF
          case 0xF4: 0x80...0x8F
          default: 0x80...0xBF
          }
        guard allowed.contains(second) else { return 0 }
      }
      return length
    }
    return 0
  }
}

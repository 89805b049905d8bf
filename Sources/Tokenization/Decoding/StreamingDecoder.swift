/// Decodes tokens one at a time, for text that is shown while it is generated.
///
/// A token may end in the middle of a character, and byte tokens of SentencePiece may turn out not to be text. Whatever
/// later tokens can change is held back, so that the pieces joined equal the text that
/// ``Tokenizer/decode(_:skippingSpecialTokens:)`` gives for all ids.
package struct StreamingDecoder: Sendable {
  private let tokenizer: Tokenizer
  private let skipsSpecialTokens: Bool
  /// Special tokens that add text all the same.
  private let shown: Set<Int32>
  /// The steps of the tokenizer's decoder; nil if it joins bytes.
  private var chain: DecoderChain?
  /// The beginning of a UTF-8 sequence that the next byte may continue: up to three bytes.
  private var pending: [UInt8] = []

  /// - Parameters:
  ///   - skippingSpecialTokens: whether special tokens add no text.
  ///   - shown: those that do in any case.
  package init(_ tokenizer: Tokenizer, skippingSpecialTokens: Bool = false, except shown: Set<Int32> = []) {
    self.tokenizer = tokenizer
    skipsSpecialTokens = skippingSpecialTokens
    self.shown = shown
    chain = tokenizer.decoder.map { DecoderChain($0) }
  }

  /// The text that this token completes, possibly empty. An id that no token has adds no text.
  package mutating func append(_ id: Int32) -> String {
    let skips = skipsSpecialTokens && !shown.contains(id)
    if chain != nil {
      if let spelling = tokenizer.spelling(of: id, skips) { chain?.append(spelling, to: &pending) }
    } else if !(skips && tokenizer.isSpecial(id)) {
      tokenizer.appendBytes(of: id, to: &pending)
    }
    let complete = pending.count - Self.lengthOfOpenSequence(atEndOf: pending)
    let text = String(decoding: pending[..<complete], as: UTF8.self)
    pending.removeFirst(complete)
    return text
  }

  /// The text that was held back: U+FFFD for a character that is incomplete, and byte tokens that no other token
  /// followed. The decoder can then be used for another sequence.
  package mutating func finish() -> String {
    chain?.finish(&pending)
    chain = tokenizer.decoder.map { DecoderChain($0) }
    defer { pending.removeAll(keepingCapacity: true) }
    return String(decoding: pending, as: UTF8.self)
  }

  /// The number of last bytes that begin a valid UTF-8 sequence without completing it.
  private static func lengthOfOpenSequence(atEndOf bytes: [UInt8]) -> Int {
    for length in 1...3 where length <= bytes.count {
      let lead = bytes[bytes.count - length]
      if lead & 0xC0 == 0x80 { continue }
      let needed = lead >= 0xF5 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 1
      guard needed > length else { return 0 }
      // Some leads allow only some second bytes: the others give overlong forms, surrogates or values above U+10FFFF.
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

/// The rule that splits text into pieces before any merging. No token crosses the border of two pieces.
///
/// Each pattern is a well-known regular expression, written out by hand: it needs no engine, and one pass without
/// backtracking.
package enum SplitPattern: String, Sendable, CaseIterable {
  /// Llama 3 and its relatives, BitNet b1.58 2B-4T among them.
  case llama3
  /// Qwen 2 and 3: Llama 3's with single digits.
  case qwen2
  /// GPT-2: the `ByteLevel` pre-tokenizer with `use_regex`.
  case gpt2

  /// The regular expression, as tokenizer files write it.
  package var expression: String {
    switch self {
    case .llama3, .qwen2:
      #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + (self == .llama3 ? "{1,3}" : "")
        + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    case .gpt2:
      #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
    }
  }
}

/// Finds the ends of pieces.
package struct PieceSplitter: Sendable {
  private let pattern: SplitPattern
  private let classes = ScalarClassTable.shared

  package init(_ pattern: SplitPattern) { self.pattern = pattern }

  /// The end of the piece that starts at `start`, in `start + 1...end`. Only `text[start..<end]` is considered.
  @inline(__always)
  package func endOfPiece(in text: Span<UInt8>, from start: Int, to end: Int) -> Int {
    switch pattern {
    case .llama3: endOfLlama3Piece(text, start, end, digits: 3)
    case .qwen2: endOfLlama3Piece(text, start, end, digits: 1)
    case .gpt2: endOfGPT2Piece(text, start, end)
    }
  }

  @inline(__always)
  private func endOfLlama3Piece(_ text: Span<UInt8>, _ start: Int, _ end: Int, digits: Int) -> Int {
    let first = classes.scalar(in: text, at: start, end: end)
    let second = start + first.length
    switch first.class {
    case .letter:
      return endOfRun(of: .letter, text, second, end)
    case .number:  // \p{N}{1,3} or \p{N}
      var at = second
      for _ in 1..<digits where at < end {
        let next = classes.scalar(in: text, at: at, end: end)
        guard next.class == .number else { break }
        at += next.length
      }
      return at
    case .newline:
      return endOfWhitespace(text, start, end, cutsAfterNewlines: true)
    case .space, .other:
      if text[start] == UInt8(ascii: "'") {
        let length = contractionLength(text, start, end, ignoringCase: true)
        if length > 0 { return start + length }
      }
      if second < end {
        // [^\r\n\p{L}\p{N}]?\p{L}+
        let next = classes.scalar(in: text, at: second, end: end)
        if next.class == .letter { return endOfRun(of: .letter, text, second + next.length, end) }
        if next.class == .other, text[start] == UInt8(ascii: " ") {
          return endOfNewlines(text, endOfRun(of: .other, text, second + next.length, end), end)
        }
      }
      if first.class == .other { return endOfNewlines(text, endOfRun(of: .other, text, second, end), end) }
      return endOfWhitespace(text, start, end, cutsAfterNewlines: true)
    }
  }

  private func endOfGPT2Piece(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int {
    var first = classes.scalar(in: text, at: start, end: end)
    var second = start + first.length
    if text[start] == UInt8(ascii: "'") {
      let length = contractionLength(text, start, end, ignoringCase: false)
      if length > 0 { return start + length }
    } else if text[start] == UInt8(ascii: " "), second < end {
      // The optional space of ` ?\p{L}+` and its like.
      let next = classes.scalar(in: text, at: second, end: end)
      if next.class != .space && next.class != .newline {
        first = next
        second += next.length
      }
    }
    switch first.class {
    case .letter, .number, .other: return endOfRun(of: first.class, text, second, end)
    case .space, .newline: return endOfWhitespace(text, start, end, cutsAfterNewlines: false)
    }
  }

  @inline(__always)
  private func endOfRun(of scalarClass: ScalarClass, _ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int {
    var at = start
    while at < end {
      let next = classes.scalar(in: text, at: at, end: end)
      guard next.class == scalarClass else { break }
      at += next.length
    }
    return at
  }

  /// `[\r\n]*`
  private func endOfNewlines(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int {
    endOfRun(of: .newline, text, start, end)
  }

  /// `\s*[\r\n]+|\s+(?!\S)|\s+`, or only its last two alternatives. There must be whitespace at `start`.
  private func endOfWhitespace(_ text: Span<UInt8>, _ start: Int, _ end: Int, cutsAfterNewlines: Bool) -> Int {
    var at = start
    var last = start  // the start of the last scalar of the run
    var afterNewline = start
    while at < end {
      let next = classes.scalar(in: text, at: at, end: end)
      guard next.class == .space || next.class == .newline else { break }
      last = at
      at += next.length
      if next.class == .newline { afterNewline = at }
    }
    if cutsAfterNewlines && afterNewline > start { return afterNewline }
    // Before text, the last space belongs to the next piece, unless it is the only one.
    return at < end && last > start ? last : at
  }

  /// The length of `'s|'t|'re|'ve|'m|'ll|'d` at an apostrophe; 0 if there is none.
  private func contractionLength(_ text: Span<UInt8>, _ start: Int, _ end: Int, ignoringCase: Bool) -> Int {
    guard start + 1 < end else { return 0 }
    let caseBit: UInt8 = ignoringCase ? 0x20 : 0
    let first = text[start + 1] | caseBit
    switch first {
    case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"):
      return 2
    case UInt8(ascii: "r"), UInt8(ascii: "v"), UInt8(ascii: "l"):
      guard start + 2 < end else { return 0 }
      return text[start + 2] | caseBit == (first == UInt8(ascii: "l") ? first : UInt8(ascii: "e")) ? 3 : 0
    default:
      // If case is ignored, U+017F, the long s, is an s. No other letter here has an equivalent outside ASCII.
      let isLongS = ignoringCase && start + 2 < end && text[start + 1] == 0xC5 && text[start + 2] == 0xBF
      return isLongS ? 3 : 0
    }
  }
}

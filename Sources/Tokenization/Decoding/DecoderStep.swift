/// A step that turns the texts of tokens into the text of a sequence, as a tokenizer.json describes it.
enum DecoderStep: Equatable, Sendable {
  case replace(String, with: String)
  /// Tokens such as `<0x0A>` are bytes. A run of them becomes text if it is UTF-8; else each byte becomes one U+FFFD,
  /// or, if `keepsCharacters`, only the bytes that are part of no character do.
  case byteFallback(keepsCharacters: Bool)
  /// Joins all tokens to one.
  case fuse
  /// Removes a character from both ends of each token, at most as often as given.
  case strip(Unicode.Scalar, start: Int, stop: Int)
  /// Marks become spaces; those of the first token are dropped if `dropsFirst`.
  case metaspace(Unicode.Scalar, dropsFirst: Bool)
  /// Drops one mark at the beginning of the first token that has text.
  case dropFirstMark(Unicode.Scalar)
}

/// The steps of a decoder at work on a sequence: texts of tokens go in one by one, and their text comes out as soon as
/// no later token can change it.
struct DecoderChain: Sendable {
  private enum Stage: Sendable {
    case replace([UInt8], [UInt8])
    case byteFallback(keepsCharacters: Bool, pending: [UInt8])
    case strip(Strip)
    /// The same in text that is one token.
    case stripText(Strip, hasBegun: Bool, startLeft: Int, held: [UInt8])
    case metaspace([UInt8], dropsFirst: Bool, isFirst: Bool)
    case dropFirstMark([UInt8], isFirst: Bool)
  }

  private struct Strip {
    var content: [UInt8]
    var start: Int
    var stop: Int
  }

  private var stages: [Stage] = []
  private let keepsBytes: Bool

  /// - Parameter keepingBytes: whether bytes that are not UTF-8 are kept, for output that need not be text.
  init(_ steps: [DecoderStep], keepingBytes: Bool = false) {
    keepsBytes = keepingBytes
    var isFused = false
    func bytes(_ scalar: Unicode.Scalar) -> [UInt8] { Array(UTF8.encode(scalar)!) }
    for step in steps {
      switch step {
      case .replace(let old, let new): stages.append(.replace(Array(old.utf8), Array(new.utf8)))
      case .byteFallback(let keeps): stages.append(.byteFallback(keepsCharacters: keeps, pending: []))
      case .fuse: isFused = true
      case .strip(let scalar, let start, let stop):
        let strip = Strip(content: bytes(scalar), start: start, stop: stop)
        stages.append(isFused ? .stripText(strip, hasBegun: false, startLeft: start, held: []) : .strip(strip))
      case .metaspace(let mark, let dropsFirst):
        stages.append(.metaspace(bytes(mark), dropsFirst: dropsFirst, isFirst: true))
      case .dropFirstMark(let mark): stages.append(.dropFirstMark(bytes(mark), isFirst: true))
      }
    }
  }

  /// Appends the text that a token completes.
  mutating func append(_ token: [UInt8], to text: inout [UInt8]) { pass(token, from: 0, &text) }

  /// Appends the text that was held back.
  mutating func finish(_ text: inout [UInt8]) {
    for index in stages.indices {
      switch stages[index] {
      case .byteFallback: endRun(index, &text)
      // What is held at the end is stripped.
      case .stripText(let strip, let hasBegun, let startLeft, _):
        stages[index] = .stripText(strip, hasBegun: hasBegun, startLeft: startLeft, held: [])
      default: break
      }
    }
  }

  private mutating func pass(_ token: [UInt8], from index: Int, _ text: inout [UInt8]) {
    guard index < stages.count else {
      text += token
      return
    }
    switch stages[index] {
    case .replace(let old, let new):
      pass(Self.replacing(token, old, new), from: index + 1, &text)
    case .byteFallback(let keeps, var pending):
      if let byte = Self.byte(of: token) {
        stages[index] = .strip(Strip(content: [], start: 0, stop: 0))  // so that pending is not copied
        pending.append(byte)
        stages[index] = .byteFallback(keepsCharacters: keeps, pending: pending)
      } else {
        endRun(index, &text)
        pass(token, from: index + 1, &text)
      }
    case .strip(let strip):
      pass(Self.stripped(token, strip), from: index + 1, &text)
    case .stripText(let strip, var hasBegun, var startLeft, var held):
      var rest = token[...]
      if !hasBegun {
        while startLeft > 0, rest.starts(with: strip.content) {
          rest = rest.dropFirst(strip.content.count)
          startLeft -= 1
        }
        if !rest.isEmpty { hasBegun = true }
      }
      held += rest
      var keptCount = 0
      while keptCount < strip.stop, held.dropLast(keptCount * strip.content.count).ends(with: strip.content) {
        keptCount += 1
      }
      let free = held.count - keptCount * strip.content.count
      let complete = Array(held[..<free])
      held.removeFirst(free)
      stages[index] = .stripText(strip, hasBegun: hasBegun, startLeft: startLeft, held: held)
      pass(complete, from: index + 1, &text)
    case .metaspace(let mark, let dropsFirst, let isFirst):
      stages[index] = .metaspace(mark, dropsFirst: dropsFirst, isFirst: false)
      let space: [UInt8] = isFirst && dropsFirst ? [] : [UInt8(ascii: " ")]
      pass(Self.replacing(token, mark, space), from: index + 1, &text)
    case .dropFirstMark(let mark, let isFirst):
      if isFirst, !token.isEmpty { stages[index] = .dropFirstMark(mark, isFirst: false) }
      pass(isFirst && token.starts(with: mark) ? Array(token.dropFirst(mark.count)) : token, from: index + 1, &text)
    }
  }

  /// Passes on the text of a run of byte tokens that has ended.
  private mutating func endRun(_ index: Int, _ text: inout [UInt8]) {
    guard case .byteFallback(let keeps, let pending) = stages[index], !pending.isEmpty else { return }
    stages[index] = .byteFallback(keepsCharacters: keeps, pending: [])
    pass(keepsBytes ? pending : Self.text(ofRun: pending, keeps), from: index + 1, &text)
  }

  private static func text(ofRun bytes: [UInt8], _ keepsCharacters: Bool) -> [UInt8] {
    let replacement = Array("\u{FFFD}".utf8)
    var text: [UInt8] = []
    var isValid = true
    var at = 0
    while at < bytes.count {
      let (scalar, length) = bytes.withUnsafeBufferPointer {
        ScalarReading.utf8.scalar(in: $0.span, at: at, end: bytes.count)
      }
      if scalar == ScalarSet.invalid {
        isValid = false
        text += replacement
      } else {
        text += bytes[at..<at + length]
      }
      at += length
    }
    return isValid || keepsCharacters ? text : Array(repeatElement(replacement, count: bytes.count).joined())
  }

  /// The byte that `<0xNN>` stands for.
  static func byte(of token: [UInt8]) -> UInt8? {
    guard token.count == 6, token.starts(with: "<0x".utf8), token[5] == UInt8(ascii: ">") else { return nil }
    func digit(_ character: UInt8) -> UInt8? { Character(Unicode.Scalar(character)).hexDigitValue.map(UInt8.init) }
    guard token[3] < 0x80, token[4] < 0x80, let high = digit(token[3]), let low = digit(token[4]) else { return nil }
    return high << 4 | low
  }

  private static func stripped(_ token: [UInt8], _ strip: Strip) -> [UInt8] {
    var rest = token[...]
    for _ in 0..<strip.start where rest.starts(with: strip.content) { rest = rest.dropFirst(strip.content.count) }
    for _ in 0..<strip.stop where rest.ends(with: strip.content) { rest = rest.dropLast(strip.content.count) }
    return Array(rest)
  }

  private static func replacing(_ token: [UInt8], _ old: [UInt8], _ new: [UInt8]) -> [UInt8] {
    guard let first = old.first, token.contains(first) else { return token }
    var result: [UInt8] = []
    var at = 0
    while at < token.count {
      if token[at...].starts(with: old) {
        result += new
        at += old.count
      } else {
        result.append(token[at])
        at += 1
      }
    }
    return result
  }
}

extension ArraySlice<UInt8> {
  fileprivate func ends(with suffix: [UInt8]) -> Bool {
    count >= suffix.count && self[(endIndex - suffix.count)...] == suffix[...]
  }
}

/// Unicode's normalization form C, of the Unicode version that Hugging Face tokenizers follow.
struct CanonicalComposition: Sendable {
  static let shared = CanonicalComposition()

  /// Hangul syllables are lead (of 19), vowel (of 21) and an optional tail (of 27) jamo.
  private enum Hangul {
    static let syllables: UInt32 = 0xAC00
    static let leads: UInt32 = 0x1100
    static let vowels: UInt32 = 0x1161
    /// One less than the first tail: the tail number 0 is no tail.
    static let tails: UInt32 = 0x11A7
    static let vowelCount: UInt32 = 21
    static let tailCount: UInt32 = 28
    static let leadCount: UInt32 = 19
    static var syllableCount: UInt32 { leadCount * vowelCount * tailCount }
  }

  /// The smallest lead byte of a scalar that may change: that of U+0300.
  private static let firstAffectedByte: UInt8 = 0xCC

  /// The scalars that may change, move or combine with the one before.
  private let affected: ScalarSet
  private let decompositions: [UInt32: [UInt32]]
  private let compositions: [UInt64: UInt32]
  private let classes: [UInt32: UInt8]

  private init() {
    var decompositions: [UInt32: [UInt32]] = [:]
    let listed = UnicodeCompositions.decompositions
    var at = 0
    while at < listed.count {
      let end = at + 2 + Int(listed[at + 1])
      decompositions[listed[at]] = Array(listed[(at + 2)..<end])
      at = end
    }
    var compositions: [UInt64: UInt32] = [:]
    var changing = Set(decompositions.keys)
    var affected: [ClosedRange<UInt32>] = []
    let pairs = UnicodeCompositions.pairs
    for at in stride(from: 0, to: pairs.count, by: 3) {
      compositions[Self.pair(pairs[at], pairs[at + 1])] = pairs[at + 2]
      changing.remove(pairs[at + 2])
      affected.append(pairs[at + 1]...pairs[at + 1])
    }
    var classes: [UInt32: UInt8] = [:]
    let ranges = UnicodeCompositions.combiningClasses
    for at in stride(from: 0, to: ranges.count, by: 3) {
      affected.append(ranges[at]...ranges[at + 1])
      for scalar in ranges[at]...ranges[at + 1] { classes[scalar] = UInt8(ranges[at + 2]) }
    }
    affected += changing.map { $0...$0 }
    affected.append(Hangul.vowels...Hangul.vowels + Hangul.vowelCount - 1)
    affected.append(Hangul.tails + 1...Hangul.tails + Hangul.tailCount - 1)
    self.affected = ScalarSet(ScalarRanges(affected))
    self.decompositions = decompositions
    self.compositions = compositions
    self.classes = classes
  }

  private static func pair(_ first: UInt32, _ second: UInt32) -> UInt64 { UInt64(first) << 32 | UInt64(second) }

  /// The first stretch of `text` from `start` on that composing may change; nil if there is none. It begins with the
  /// scalar before the first affected one and ends before an unaffected one.
  func firstAffected(in text: Span<UInt8>, from start: Int) -> Range<Int>? {
    var at = start
    var previous = -1
    while at < text.count {
      if text[at] < Self.firstAffectedByte {
        // Also continuation bytes and two-byte scalars below U+0300.
        if text[at] & 0xC0 != 0x80 { previous = at }
        at += 1
        continue
      }
      let (scalar, length) = ScalarReading.longScalar(in: text, at: at, end: text.count)
      if scalar != ScalarSet.invalid, affected.contains(scalar) {
        return (previous < 0 ? at : previous)..<endOfAffected(in: text, from: at + length)
      }
      previous = scalar == ScalarSet.invalid ? -1 : at
      at += length
    }
    return nil
  }

  private func endOfAffected(in text: Span<UInt8>, from start: Int) -> Int {
    var at = start
    while at < text.count, text[at] >= Self.firstAffectedByte {
      let (scalar, length) = ScalarReading.longScalar(in: text, at: at, end: text.count)
      guard scalar != ScalarSet.invalid, affected.contains(scalar) else { break }
      at += length
    }
    return at
  }

  /// The composed form of a stretch that ``firstAffected(in:from:)`` found. Bytes that are not UTF-8 are kept.
  func composed(_ text: Span<UInt8>, _ range: Range<Int>) -> [UInt8] {
    var result: [UInt8] = []
    var at = range.lowerBound
    var scalars: [UInt32] = []
    func flush() {
      compose(&scalars)
      for scalar in scalars { result.append(contentsOf: UTF8.encode(Unicode.Scalar(scalar)!)!) }
      scalars.removeAll(keepingCapacity: true)
    }
    while at < range.upperBound {
      let (scalar, length) = ScalarReading.utf8.scalar(in: text, at: at, end: range.upperBound)
      if scalar == ScalarSet.invalid {
        flush()
        result.append(text[at])
      } else {
        decompose(scalar, into: &scalars)
      }
      at += length
    }
    flush()
    return result
  }

  private func decompose(_ scalar: UInt32, into scalars: inout [UInt32]) {
    let syllable = scalar &- Hangul.syllables
    if syllable < Hangul.syllableCount {
      let tail = syllable % Hangul.tailCount
      scalars.append(Hangul.leads + syllable / Hangul.tailCount / Hangul.vowelCount)
      scalars.append(Hangul.vowels + syllable / Hangul.tailCount % Hangul.vowelCount)
      if tail > 0 { scalars.append(Hangul.tails + tail) }
    } else if let decomposition = decompositions[scalar] {
      scalars += decomposition
    } else {
      scalars.append(scalar)
    }
  }

  /// Orders marks by their class and composes.
  private func compose(_ scalars: inout [UInt32]) {
    var marks = scalars.map { classes[$0] ?? 0 }
    var at = 0
    while at < scalars.count {
      var end = at
      while end < scalars.count, marks[end] > 0 { end += 1 }
      if end - at > 1 {
        // By position among marks of the same class.
        let order = (at..<end).sorted { (marks[$0], $0) < (marks[$1], $1) }
        let (ordered, orderedMarks) = (order.map { scalars[$0] }, order.map { marks[$0] })
        scalars.replaceSubrange(at..<end, with: ordered)
        marks.replaceSubrange(at..<end, with: orderedMarks)
      }
      at = end + 1
    }
    var result: [UInt32] = []
    var starter = -1
    var lastClass: UInt8 = 0
    for (at, scalar) in scalars.enumerated() {
      let isAdjacent = starter >= 0 && starter == result.count - 1
      // A mark is blocked by one of the same or a higher class between it and the starter.
      if starter >= 0, isAdjacent || (lastClass != 0 && lastClass < marks[at]),
        let whole = composition(result[starter], scalar)
      {
        result[starter] = whole
        continue
      }
      if marks[at] == 0 { starter = result.count }
      lastClass = marks[at]
      result.append(scalar)
    }
    scalars = result
  }

  private func composition(_ first: UInt32, _ second: UInt32) -> UInt32? {
    let lead = first &- Hangul.leads
    let vowel = second &- Hangul.vowels
    if lead < Hangul.leadCount, vowel < Hangul.vowelCount {
      return Hangul.syllables + (lead * Hangul.vowelCount + vowel) * Hangul.tailCount
    }
    let syllable = first &- Hangul.syllables
    let tail = second &- Hangul.tails
    if syllable < Hangul.syllableCount, syllable % Hangul.tailCount == 0, tail > 0, tail < Hangul.tailCount {
      return first + tail
    }
    return compositions[Self.pair(first, second)]
  }
}

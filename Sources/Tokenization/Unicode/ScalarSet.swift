/// A set of Unicode scalars, as a bitmap of two levels.
///
/// ``invalid`` stands for a byte that is not part of a UTF-8 sequence. The complement of a set that lacks it has it, so
/// that such bytes are split like punctuation.
struct ScalarSet: Sendable {
  /// The number for a byte that begins no valid UTF-8 sequence: one more than the highest scalar.
  static let invalid: UInt32 = 0x110000

  private static let blockSize = 256
  private static let wordsInBlock = 4

  /// For each 256 scalars, the number of their block. Blocks 0 and 1 are the empty and the full one.
  private var blockNumbers: [UInt16]
  private var words: [UInt64]

  init(_ ranges: ScalarRanges) {
    blockNumbers = [UInt16](repeating: 0, count: Int(Self.invalid) / Self.blockSize + 1)
    words = [0, 0, 0, 0, .max, .max, .max, .max]
    for range in ranges.ranges {
      var at = Int(range.lowerBound)
      let end = Int(range.upperBound) + 1
      while at < end {
        let block = at / Self.blockSize
        let blockEnd = min(end, (block + 1) * Self.blockSize)
        if blockEnd - at == Self.blockSize {
          blockNumbers[block] = 1
        } else {
          if blockNumbers[block] == 0 {
            blockNumbers[block] = UInt16(words.count / Self.wordsInBlock)
            words += [0, 0, 0, 0]
          }
          let base = Int(blockNumbers[block]) * Self.wordsInBlock
          for scalar in at..<blockEnd { words[base + scalar % Self.blockSize / 64] |= 1 << UInt64(scalar % 64) }
        }
        at = blockEnd
      }
    }
  }

  @inline(__always)
  func contains(_ scalar: UInt32) -> Bool {
    let at = Int(scalar)
    let word = words[Int(blockNumbers[at / Self.blockSize]) * Self.wordsInBlock + at % Self.blockSize / 64]
    return word >> UInt64(at % 64) & 1 != 0
  }

  /// `\s`
  static let whitespace = ScalarSet(ScalarRanges(pairs: UnicodeClassRanges.whitespace))
  /// `\w`, as added tokens with `single_word` look for it.
  static let wordCharacters = ScalarSet(ScalarRanges(pairs: UnicodeClassRanges.wordCharacters))
  /// The scalars that the pre-tokenizer Punctuation splits off.
  static let punctuation = ScalarSet(ScalarRanges(pairs: UnicodeClassRanges.punctuation))
  /// The scalars that the pre-tokenizer Digits splits off.
  static let digits = ScalarSet(ScalarRanges(pairs: UnicodeClassRanges.digits))
}

/// Ranges of scalars, sorted, with gaps in between: the form in which sets are combined.
struct ScalarRanges: Equatable, Sendable {
  private(set) var ranges: [ClosedRange<UInt32>]

  /// Any ranges, in any order.
  init(_ unsorted: [ClosedRange<UInt32>] = []) {
    ranges = []
    for range in unsorted.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = ranges.last, range.lowerBound <= last.upperBound + 1 {
        ranges[ranges.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        ranges.append(range)
      }
    }
  }

  /// - Parameter pairs: first and last scalar of each range.
  init(pairs: [UInt32]) {
    self.init(stride(from: 0, to: pairs.count, by: 2).map { pairs[$0]...pairs[$0 + 1] })
  }

  init(_ scalar: UInt32) { self.init([scalar...scalar]) }

  func union(_ other: ScalarRanges) -> ScalarRanges { ScalarRanges(ranges + other.ranges) }

  /// All other scalars, and invalid bytes unless this set has them.
  var complement: ScalarRanges {
    var gaps: [ClosedRange<UInt32>] = []
    var next: UInt32 = 0
    for range in ranges {
      if range.lowerBound > next { gaps.append(next...range.lowerBound - 1) }
      next = range.upperBound + 1
    }
    if next <= ScalarSet.invalid { gaps.append(next...ScalarSet.invalid) }
    return ScalarRanges(gaps)
  }

  var count: Int { ranges.reduce(0) { $0 + $1.count } }

  /// The scalars of a general category such as "Lu", or of a group such as "L"; nil if there is no such category.
  static func category(_ name: String) -> ScalarRanges? {
    let numbers = UnicodeCategories.names.indices.filter {
      UnicodeCategories.names[$0] == name || (name.utf8.count == 1 && UnicodeCategories.names[$0].hasPrefix(name))
    }
    if numbers.isEmpty { return nil }
    let runs = UnicodeCategories.runs
    return ScalarRanges(
      runs.indices.filter { numbers.contains(Int(runs[$0] & 31)) }.map { at in
        runs[at] >> 5...(at + 1 < runs.count ? runs[at + 1] >> 5 : ScalarSet.invalid) - 1
      })
  }
}

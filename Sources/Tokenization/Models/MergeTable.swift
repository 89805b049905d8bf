/// Two neighbouring tokens that may be joined.
struct Merge: Equatable, Sendable {
  var left: Int32
  var right: Int32
  /// The token with the bytes of both.
  var result: Int32
}

/// Finds the merge of two neighbouring tokens: an open-addressing hash table over pairs of ids.
struct MergeTable: Sendable {
  private struct Entry {
    /// The ids of both tokens, left in the upper half; all bits set in a free slot (ids are never negative).
    var pair: UInt64
    var rank: UInt32
    var result: Int32
  }

  private var slots: [Entry]
  private let shift: UInt64

  /// - Parameter merges: in the order of their ranks. If a pair is listed twice, its later rank counts, as in Hugging
  ///   Face tokenizers.
  init(_ merges: [Merge]) {
    let capacityBits = max(4, UInt64.bitWidth - (2 * merges.count).leadingZeroBitCount)
    slots = [Entry](repeating: Entry(pair: .max, rank: 0, result: -1), count: 1 << capacityBits)
    shift = UInt64(UInt64.bitWidth - capacityBits)
    for (rank, merge) in merges.enumerated() {
      let pair = Self.pair(merge.left, merge.right)
      var slot = home(of: pair)
      while slots[slot].pair != pair && slots[slot].pair != .max { slot = (slot + 1) & (slots.count - 1) }
      slots[slot] = Entry(pair: pair, rank: UInt32(rank), result: merge.result)
    }
  }

  /// The merge of two neighbouring tokens; its rank is ``MergeRule/never`` if they do not merge.
  @inline(__always)
  func find(_ left: Int32, _ right: Int32) -> (rank: UInt64, result: Int32) {
    let pair = Self.pair(left, right)
    var slot = home(of: pair)
    while true {
      let entry = slots[slot]
      if entry.pair == pair { return (UInt64(entry.rank), entry.result) }
      if entry.pair == .max { return (MergeRule.never, -1) }
      slot = (slot + 1) & (slots.count - 1)
    }
  }

  /// All merges by ascending rank.
  var merges: [Merge] {
    slots.filter { $0.pair != .max }.sorted { $0.rank < $1.rank }.map { entry in
      Merge(
        left: Int32(truncatingIfNeeded: entry.pair >> 32), right: Int32(truncatingIfNeeded: entry.pair),
        result: entry.result)
    }
  }

  @inline(__always)
  private static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  @inline(__always)
  private func home(of pair: UInt64) -> Int {
    Int(truncatingIfNeeded: ((pair ^ (pair >> 32)) &* 0x9E37_79B9_7F4A_7C15) >> shift)
  }
}

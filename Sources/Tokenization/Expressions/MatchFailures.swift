/// The places of an expression and a text from which no match can be reached, whatever came before.
struct MatchFailures: Sendable {
  struct Place: Sendable {
    var instruction: Int
    /// The position in the text.
    var at: Int
  }

  private static let blockBits = 12
  private static let blockMask = 1 << blockBits - 1

  /// One bit for each position of a block, by instruction and block.
  private var blocks: [Block: [UInt64]] = [:]
  /// The run of each set of scalars that was measured last.
  var runs: [Int: Range<Int>] = [:]

  private struct Block: Hashable, Sendable {
    var instruction: Int
    var number: Int
  }

  func contains(_ place: Place) -> Bool {
    guard let block = blocks[Block(instruction: place.instruction, number: place.at >> Self.blockBits)] else {
      return false
    }
    let bit = place.at & Self.blockMask
    return block[bit >> 6] >> UInt64(bit & 63) & 1 != 0
  }

  mutating func insert(_ place: Place) {
    let bit = place.at & Self.blockMask
    let empty = [UInt64](repeating: 0, count: 1 << (Self.blockBits - 6))
    blocks[Block(instruction: place.instruction, number: place.at >> Self.blockBits), default: empty][bit >> 6] |=
      1 << UInt64(bit & 63)
  }

  /// The last position of a range that has not failed; nil if all have.
  func last(_ instruction: Int, in range: Range<Int>) -> Int? {
    var end = range.upperBound
    while end > range.lowerBound {
      let last = end - 1
      guard let block = blocks[Block(instruction: instruction, number: last >> Self.blockBits)] else { return last }
      let bit = last & Self.blockMask
      // The positions of the word up to the last one that have not failed.
      let free = ~block[bit >> 6] & (UInt64.max >> UInt64(63 - bit & 63))
      if free != 0 {
        let found = last - (bit & 63) + (63 - free.leadingZeroBitCount)
        return found >= range.lowerBound ? found : nil
      }
      end = last - (bit & 63)
    }
    return nil
  }
}

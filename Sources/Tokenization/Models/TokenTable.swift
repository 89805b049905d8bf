/// Byte strings by small indices, such as the tokens of a vocabulary by their ids. Not every index has a string.
struct TokenList: Sendable {
  /// The largest length of a string. The longest token in use has 256 bytes; a limit keeps loading linear.
  static let longestToken = 1024

  private(set) var bytes: [UInt8] = []
  /// The start in `bytes` of the string of each index; its length is in `lengths`.
  private(set) var starts: [UInt32] = []
  /// 0 for an index without a string.
  private(set) var lengths: [UInt16] = []
  /// The number of indices with a string.
  private(set) var count = 0

  /// One more than the highest index with a string.
  var indexEnd: Int { lengths.count }

  func hasString(at index: Int) -> Bool { index >= 0 && index < lengths.count && lengths[index] > 0 }

  /// The string at `index`; empty if it has none.
  subscript(index: Int) -> ArraySlice<UInt8> {
    guard hasString(at: index) else { return [] }
    let start = Int(starts[index])
    return bytes[start..<start + Int(lengths[index])]
  }

  /// Adds a string at an index that has none.
  ///
  /// - Precondition: `string` has 1…`longestToken` bytes, and all strings together have fewer than 4 GiB.
  mutating func insert(_ string: some Collection<UInt8>, at index: Int) {
    precondition(!string.isEmpty && string.count <= Self.longestToken && !hasString(at: index))
    if index >= lengths.count {
      let missing = index + 1 - lengths.count
      starts.append(contentsOf: repeatElement(0, count: missing))
      lengths.append(contentsOf: repeatElement(0, count: missing))
    }
    starts[index] = UInt32(bytes.count)
    lengths[index] = UInt16(string.count)
    bytes.append(contentsOf: string)
    count += 1
  }
}

/// Finds the index of a string in a ``TokenList``: an open-addressing hash table over its bytes.
///
/// Strings of up to 7 bytes, which are most lookups, are packed with their length into the 64-bit key, so one
/// comparison suffices. The key of longer strings is a hash with the top bit set; their bytes are compared too.
struct TokenTable: Sendable {
  private struct Slot {
    var key: UInt64
    /// -1 in a free slot.
    var index: Int32
  }

  let list: TokenList
  private var slots: [Slot]
  private let shift: UInt64

  /// Two indices with the same string.
  struct Duplicate: Error {
    let first: Int
    let second: Int
  }

  /// - Parameter hidden: indices whose strings are not found.
  init(_ list: TokenList, hiding hidden: Set<Int> = []) throws(Duplicate) {
    self.list = list
    // At most half full: a miss, the most common result while merging, then takes 1.5 slots on average.
    let capacityBits = max(4, UInt64.bitWidth - (2 * list.count).leadingZeroBitCount)
    slots = [Slot](repeating: Slot(key: 0, index: -1), count: 1 << capacityBits)
    shift = UInt64(UInt64.bitWidth - capacityBits)
    let text = list.bytes.span
    for index in 0..<list.indexEnd where list.lengths[index] > 0 && !hidden.contains(index) {
      let start = Int(list.starts[index])
      let end = start + Int(list.lengths[index])
      let other = find(text, start, end)
      if other >= 0 { throw Duplicate(first: Int(other), second: index) }
      let key = Self.key(text, start, end)
      var slot = home(of: key)
      while slots[slot].index >= 0 { slot = (slot + 1) & (slots.count - 1) }
      slots[slot] = Slot(key: key, index: Int32(index))
    }
  }

  /// The index whose string is `text[start..<end]`, or -1. The range must not be empty.
  func find(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> Int32 {
    find(text, start, end, key: Self.key(text, start, end))
  }

  /// The same for a caller that already has the key.
  @inline(__always)
  func find(_ text: Span<UInt8>, _ start: Int, _ end: Int, key: UInt64) -> Int32 {
    var slot = home(of: key)
    while true {
      let candidate = slots[slot]
      if candidate.index < 0 { return -1 }
      if candidate.key == key, end - start < 8 || isString(at: Int(candidate.index), text, start, end) {
        return candidate.index
      }
      slot = (slot + 1) & (slots.count - 1)
    }
  }

  func find(_ string: [UInt8]) -> Int32 {
    string.isEmpty ? -1 : find(string.span, 0, string.count)
  }

  @inline(__always)
  private func home(of key: UInt64) -> Int {
    Int(truncatingIfNeeded: ((key ^ (key >> 32)) &* 0x9E37_79B9_7F4A_7C15) >> shift)
  }

  private func isString(at index: Int, _ text: Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
    guard Int(list.lengths[index]) == end - start else { return false }
    let candidate = Int(list.starts[index])
    for offset in 0..<end - start where list.bytes[candidate + offset] != text[start + offset] { return false }
    return true
  }

  /// Equal for equal strings, and unequal for unequal strings when one of them has fewer than 8 bytes.
  @inline(__always)
  static func key(_ text: Span<UInt8>, _ start: Int, _ end: Int) -> UInt64 {
    let length = end - start
    if length < 8 {
      var packed: UInt64 = 0
      if start + 8 <= text.count {
        packed = word(text, start) & ((1 << UInt64(8 * length)) - 1)
      } else {
        for offset in 0..<length { packed |= UInt64(text[start + offset]) << UInt64(8 * offset) }
      }
      return packed | UInt64(length) << 56
    }
    var hash = UInt64(truncatingIfNeeded: length)
    var at = start
    while at + 8 < end {
      hash = fold(hash ^ word(text, at))
      at += 8
    }
    // The last eight bytes, which may overlap those before.
    return fold(hash ^ word(text, end - 8)) | 1 << 63
  }

  @inline(__always)
  private static func word(_ text: Span<UInt8>, _ at: Int) -> UInt64 {
    UInt64(littleEndian: text.bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt64.self))
  }

  @inline(__always)
  private static func fold(_ value: UInt64) -> UInt64 {
    let product = (value ^ 0x9E37_79B9_7F4A_7C15).multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
    return product.high ^ product.low
  }
}

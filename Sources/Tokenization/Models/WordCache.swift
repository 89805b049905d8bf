/// The tokens of pieces that have occurred in a text. Most words of a text are repeated, and looking one up takes a
/// tenth of the time that merging takes.
struct WordCache {
  /// The longest text for which a cache is not worth its memory.
  private static let shortestText = 512
  private static let longestPiece = 48
  private static let largestCapacity = 1 << 15

  private struct Slot {
    var key: UInt64 = 0
    /// The piece's bytes, if the key does not hold them.
    var start: Int32 = 0
    var length: UInt16 = 0
    var idCount: UInt16 = 0
    var idStart: Int32 = 0
  }

  private var slots: [Slot] = []
  private var count = 0
  private var bytes: [UInt8] = []
  private var ids: [Int32] = []
  /// The free slot and the key of the last piece that was not known; -1 if it will not be kept.
  private var missed = -1
  private var missedKey: UInt64 = 0

  /// - Parameter byteCount: the size of the text.
  init(byteCount: Int) {
    if byteCount < Self.shortestText { return }
    let wanted = max(64, byteCount / 16)
    let capacity = min(Self.largestCapacity, 1 << (Int.bitWidth - wanted.leadingZeroBitCount))
    slots = [Slot](repeating: Slot(), count: capacity)
  }

  /// The slot of a piece, or the free slot for it.
  @inline(__always)
  private func place(_ text: Span<UInt8>, _ start: Int, _ end: Int, _ key: UInt64) -> Int {
    let length = end - start
    var at = Int(truncatingIfNeeded: ((key ^ key >> 32) &* 0x9E37_79B9_7F4A_7C15) >> 40) & (slots.count - 1)
    while true {
      let slot = slots[at]
      if slot.length == 0 { return at }
      if slot.key == key, slot.length == length, length < 8 || isEqual(Int(slot.start), text, start, end) { return at }
      at = (at + 1) & (slots.count - 1)
    }
  }

  private func isEqual(_ at: Int, _ text: Span<UInt8>, _ start: Int, _ end: Int) -> Bool {
    for offset in 0..<end - start where bytes[at + offset] != text[start + offset] { return false }
    return true
  }

  /// Appends the tokens of `text[start..<end]` if the piece has occurred. If not, ``keep(_:_:_:_:from:)`` may follow.
  @inline(__always)
  mutating func appendKnown(_ text: Span<UInt8>, _ start: Int, _ end: Int, to result: inout [Int32]) -> Bool {
    missed = -1
    if slots.isEmpty || end - start > Self.longestPiece { return false }
    let key = TokenTable.key(text, start, end)
    let at = place(text, start, end, key)
    let slot = slots[at]
    if slot.length == 0 {
      missed = at
      missedKey = key
      return false
    }
    for position in Int(slot.idStart)..<Int(slot.idStart) + Int(slot.idCount) { result.append(ids[position]) }
    return true
  }

  /// Keeps the tokens of the piece that was not known: those of `result` from `first` on.
  mutating func keep(_ text: Span<UInt8>, _ start: Int, _ end: Int, _ result: [Int32], from first: Int) {
    // Some slots stay free, so that every search ends.
    if missed < 0 || count * 4 >= slots.count * 3 { return }
    count += 1
    slots[missed] = Slot(
      key: missedKey, start: Int32(bytes.count), length: UInt16(end - start), idCount: UInt16(result.count - first),
      idStart: Int32(ids.count))
    if end - start >= 8 { for offset in start..<end { bytes.append(text[offset]) } }
    for position in first..<result.count { ids.append(result[position]) }
  }
}

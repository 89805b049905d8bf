package struct SHA1: BlockHash {
  var words: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
  var pending: [UInt8] = []
  var count: UInt64 = 0

  package init() {}

  mutating func compress(_ blocks: UnsafeRawBufferPointer) {
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 80) { schedule in
      for start in stride(from: 0, to: blocks.count, by: 64) {
        for i in 0..<16 {
          schedule[i] = UInt32(bigEndian: blocks.loadUnaligned(fromByteOffset: start + 4 * i, as: UInt32.self))
        }
        for i in 16..<80 {
          schedule[i] = (schedule[i - 3] ^ schedule[i - 8] ^ schedule[i - 14] ^ schedule[i - 16]).rotated(31)
        }
        var (a, b, c, d, e) = (words[0], words[1], words[2], words[3], words[4])
        for i in 0..<80 {
          let (mix, constant): (UInt32, UInt32) =
            switch i {
            case 0..<20: (b & c | ~b & d, 0x5A82_7999)
            case 20..<40: (b ^ c ^ d, 0x6ED9_EBA1)
            case 40..<60: (b & c | b & d | c & d, 0x8F1B_BCDC)
            default: (b ^ c ^ d, 0xCA62_C1D6)
            }
          (e, d, c, b, a) = (d, c, b.rotated(2), a, a.rotated(27) &+ mix &+ e &+ constant &+ schedule[i])
        }
        for (i, value) in [a, b, c, d, e].enumerated() { words[i] &+= value }
      }
    }
  }
}

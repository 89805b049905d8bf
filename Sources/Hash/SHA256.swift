import CBitNetHash

/// A hash of bytes that arrive in pieces.
package protocol HashFunction: Sendable {
  mutating func update(_ bytes: UnsafeRawBufferPointer)
  /// The hash in hexadecimal digits.
  func digits() -> String
}

/// The parts that SHA-1 and SHA-256 share: 64-byte blocks, and the padding at the end (FIPS 180-4).
protocol BlockHash: HashFunction {
  var words: [UInt32] { get }
  var pending: [UInt8] { get set }
  var count: UInt64 { get set }
  /// Takes whole blocks.
  mutating func compress(_ blocks: UnsafeRawBufferPointer)
}

extension BlockHash {
  package mutating func update(_ bytes: UnsafeRawBufferPointer) {
    count += UInt64(bytes.count)
    var rest = bytes[...]
    if !pending.isEmpty {
      let taken = rest.prefix(64 - pending.count)
      pending += taken
      rest = rest.dropFirst(taken.count)
      guard pending.count == 64 else { return }
      let block = pending
      pending.removeAll(keepingCapacity: true)
      block.withUnsafeBytes { compress($0) }
    }
    let whole = rest.count / 64 * 64
    if whole > 0 { compress(UnsafeRawBufferPointer(rebasing: rest.prefix(whole))) }
    pending += rest.dropFirst(whole)
  }

  package func digits() -> String {
    var last = self
    let end = [0x80] + [UInt8](repeating: 0, count: (119 - pending.count) % 64)
    let length = withUnsafeBytes(of: (count * 8).bigEndian) { Array($0) }
    (end + length).withUnsafeBytes { last.update($0) }
    let digits = Array("0123456789abcdef")
    return String(last.words.flatMap { word in (0..<8).map { digits[Int(word >> (28 - 4 * $0) & 15)] } })
  }
}

extension UInt32 {
  func rotated(_ count: UInt32) -> UInt32 { self &>> count | self &<< (32 &- count) }
}

extension HashFunction {
  /// The hash of a text's UTF-8, in hexadecimal digits.
  package func digits(of text: String) -> String {
    var hash = self
    var text = text
    text.withUTF8 { hash.update(UnsafeRawBufferPointer($0)) }
    return hash.digits()
  }
}

package struct SHA256: BlockHash {
  var words: [UInt32] = [
    0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
  ]
  var pending: [UInt8] = []
  var count: UInt64 = 0
  private let native: HashBlocks?

  /// - Parameter usesInstructions: whether to use the processor's instructions for this hash if it has them: 1 GB/s
  ///   and more instead of a third of that.
  package init(usesInstructions: Bool = true) { native = usesInstructions ? hash_sha256_blocks() : nil }

  /// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
  private static let constants: [UInt32] = [
    0x428A_2F98, 0x7137_4491, 0xB5C0_FBCF, 0xE9B5_DBA5, 0x3956_C25B, 0x59F1_11F1, 0x923F_82A4, 0xAB1C_5ED5,
    0xD807_AA98, 0x1283_5B01, 0x2431_85BE, 0x550C_7DC3, 0x72BE_5D74, 0x80DE_B1FE, 0x9BDC_06A7, 0xC19B_F174,
    0xE49B_69C1, 0xEFBE_4786, 0x0FC1_9DC6, 0x240C_A1CC, 0x2DE9_2C6F, 0x4A74_84AA, 0x5CB0_A9DC, 0x76F9_88DA,
    0x983E_5152, 0xA831_C66D, 0xB003_27C8, 0xBF59_7FC7, 0xC6E0_0BF3, 0xD5A7_9147, 0x06CA_6351, 0x1429_2967,
    0x27B7_0A85, 0x2E1B_2138, 0x4D2C_6DFC, 0x5338_0D13, 0x650A_7354, 0x766A_0ABB, 0x81C2_C92E, 0x9272_2C85,
    0xA2BF_E8A1, 0xA81A_664B, 0xC24B_8B70, 0xC76C_51A3, 0xD192_E819, 0xD699_0624, 0xF40E_3585, 0x106A_A070,
    0x19A4_C116, 0x1E37_6C08, 0x2748_774C, 0x34B0_BCB5, 0x391C_0CB3, 0x4ED8_AA4A, 0x5B9C_CA4F, 0x682E_6FF3,
    0x748F_82EE, 0x78A5_636F, 0x84C8_7814, 0x8CC7_0208, 0x90BE_FFFA, 0xA450_6CEB, 0xBEF9_A3F7, 0xC671_78F2,
  ]

  mutating func compress(_ blocks: UnsafeRawBufferPointer) {
    if let native {
      native(&words, blocks.baseAddress!.assumingMemoryBound(to: UInt8.self), blocks.count / 64, Self.constants)
      return
    }
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { schedule in
      Self.constants.withUnsafeBufferPointer { constants in
        words.withUnsafeMutableBufferPointer { words in
          for start in stride(from: 0, to: blocks.count, by: 64) {
            for i in 0..<16 {
              schedule[i] = UInt32(bigEndian: blocks.loadUnaligned(fromByteOffset: start + 4 * i, as: UInt32.self))
            }
            for i in 16..<64 {
              let (a, b) = (schedule[i - 15], schedule[i - 2])
              let low = a.rotated(7) ^ a.rotated(18) ^ a >> 3, high = b.rotated(17) ^ b.rotated(19) ^ b >> 10
              schedule[i] = schedule[i - 16] &+ low &+ schedule[i - 7] &+ high
            }
            var (a, b, c, d) = (words[0], words[1], words[2], words[3])
            var (e, f, g, h) = (words[4], words[5], words[6], words[7])
            for i in 0..<64 {
              let choice = g ^ e & (f ^ g), majority = a & b | c & (a | b)
              let first = h &+ (e.rotated(6) ^ e.rotated(11) ^ e.rotated(25)) &+ choice &+ constants[i] &+ schedule[i]
              let second = (a.rotated(2) ^ a.rotated(13) ^ a.rotated(22)) &+ majority
              (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
            }
            for (i, value) in [a, b, c, d, e, f, g, h].enumerated() { words[i] &+= value }
          }
        }
      }
    }
  }
}

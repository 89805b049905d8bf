import BitNetTernary

/// The quantised types in which GGUF files store embeddings and LM heads, by llama.cpp's definition. All arithmetic is
/// in Float, in the order of that definition, so values are the same bit for bit.
enum QuantisedBlocks {
  /// The types of tables besides float types.
  static let types: [TensorType] = [.q8_0, .q6_K, .q4_0, .q4_K]

  private static func half(_ bytes: UnsafeRawPointer, _ offset: Int) -> Float {
    Float(halfBits: UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
  }

  private static func byte(_ bytes: UnsafeRawPointer, _ offset: Int) -> UInt8 {
    bytes.load(fromByteOffset: offset, as: UInt8.self)
  }

  /// Blocks of 32 in 34 bytes: a 16-bit float scale, then 32 signed bytes.
  static func readQ8_0(_ source: UnsafeRawPointer, count: Int, into values: UnsafeMutablePointer<Float>) {
    for block in 0..<count / 32 {
      let bytes = source + 34 * block
      let scale = half(bytes, 0)
      for index in 0..<32 { values[32 * block + index] = Float(Int8(bitPattern: byte(bytes, 2 + index))) * scale }
    }
  }

  /// Blocks of 32 in 18 bytes: a 16-bit float scale, then 16 bytes, of which byte p holds elements p and p + 16 plus 8
  /// from the low bits up.
  static func readQ4_0(_ source: UnsafeRawPointer, count: Int, into values: UnsafeMutablePointer<Float>) {
    for block in 0..<count / 32 {
      let bytes = source + 18 * block
      let scale = half(bytes, 0)
      for index in 0..<16 {
        let pair = byte(bytes, 2 + index)
        values[32 * block + index] = Float(Int(pair & 15) - 8) * scale
        values[32 * block + index + 16] = Float(Int(pair >> 4) - 8) * scale
      }
    }
  }

  /// Blocks of 256 in 144 bytes: 16-bit float factors of eight scales and of eight minima, these in 6 bits each (12
  /// bytes), then 128 bytes of 4-bit values. Group g of 32 elements is in the low (g even) or high half of the bytes
  /// 32·(g/2)…; an element is scale · value - minimum.
  static func readQ4_K(_ source: UnsafeRawPointer, count: Int, into values: UnsafeMutablePointer<Float>) {
    for block in 0..<count / 256 {
      let bytes = source + 144 * block
      let (factor, minimumFactor) = (half(bytes, 0), half(bytes, 2))
      for group in 0..<8 {
        let scale: UInt8
        let minimum: UInt8
        if group < 4 {
          scale = byte(bytes, 4 + group) & 63
          minimum = byte(bytes, 8 + group) & 63
        } else {
          // The low four bits are in the last bytes, the high two at the top of the first ones.
          scale = byte(bytes, 8 + group) & 15 | (byte(bytes, group) >> 6) << 4
          minimum = byte(bytes, 8 + group) >> 4 | (byte(bytes, 4 + group) >> 6) << 4
        }
        let (own, ownMinimum) = (factor * Float(scale), minimumFactor * Float(minimum))
        let (codes, shift) = (bytes + 16 + 32 * (group / 2), UInt8(4 * (group % 2)))
        for index in 0..<32 {
          values[256 * block + 32 * group + index] = own * Float(byte(codes, index) >> shift & 15) - ownMinimum
        }
      }
    }
  }

  /// Blocks of 256 in 210 bytes: 128 bytes with the low four bits of the elements, 64 with the high two, sixteen signed
  /// scales of 16 elements each, and their 16-bit float factor. In each half of a block, quarter q of 32 elements has
  /// its low bits in the bytes 32·(q%2)…, low half first, and its high bits at bit 2q. Elements are stored plus 32.
  static func readQ6_K(_ source: UnsafeRawPointer, count: Int, into values: UnsafeMutablePointer<Float>) {
    for block in 0..<count / 256 {
      let bytes = source + 210 * block
      let factor = half(bytes, 208)
      for half in 0..<2 {
        let (low, high, scales) = (bytes + 64 * half, bytes + 128 + 32 * half, bytes + 192 + 8 * half)
        for quarter in 0..<4 {
          let (shift, highShift) = (UInt8(4 * (quarter / 2)), UInt8(2 * quarter))
          for index in 0..<32 {
            let scale = Float(Int8(bitPattern: byte(scales, 2 * quarter + index / 16)))
            let code = byte(low, 32 * (quarter % 2) + index) >> shift & 15 | (byte(high, index) >> highShift & 3) << 4
            values[256 * block + 128 * half + 32 * quarter + index] = factor * scale * Float(Int(code) - 32)
          }
        }
      }
    }
  }
}

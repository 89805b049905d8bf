/// Writes rows of ternary codes in the types of GGUF files, the reverse of `TilePacker`.
package enum GGMLPacker {
  /// Writes elements as I2_S in blocks of 128, without the scale.
  ///
  /// - Parameters:
  ///   - biased: codes + 1, a multiple of 128.
  ///   - count: the number of codes.
  ///   - bytes: room for `count / 4` bytes.
  package static func packI2S(_ biased: UnsafePointer<UInt8>, count: Int, into bytes: UnsafeMutablePointer<UInt8>) {
    for block in 0..<count / 128 {
      let (source, target) = (biased + 128 * block, bytes + 32 * block)
      for index in 0..<32 {
        let high = source[index] << 6 | source[index + 32] << 4
        target[index] = high | source[index + 64] << 2 | source[index + 96]
      }
    }
  }

  /// Writes elements as TQ2_0.
  ///
  /// - Parameters:
  ///   - biased: codes + 1, a multiple of 256.
  ///   - count: the number of codes.
  ///   - scale: the scale of every block, as a half-precision float.
  ///   - bytes: room for `count / 256 · 66` bytes.
  package static func packTQ2(
    _ biased: UnsafePointer<UInt8>, count: Int, scale: UInt16, into bytes: UnsafeMutablePointer<UInt8>
  ) {
    for block in 0..<count / 256 {
      let target = bytes + 66 * block
      for half in 0..<2 {
        let source = biased + 256 * block + 128 * half
        for index in 0..<32 {
          let low = source[index] | source[index + 32] << 2
          target[32 * half + index] = low | source[index + 64] << 4 | source[index + 96] << 6
        }
      }
      (target[64], target[65]) = (UInt8(truncatingIfNeeded: scale), UInt8(truncatingIfNeeded: scale >> 8))
    }
  }
}

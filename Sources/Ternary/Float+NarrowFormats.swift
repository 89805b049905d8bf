extension Float {
  /// The value of bfloat16 bits, which are the upper half of a Float.
  @inlinable
  package init(bfloat16Bits bits: UInt16) { self.init(bitPattern: UInt32(bits) << 16) }

  /// The bits of the nearest bfloat16, ties to even. A NaN stays a NaN.
  @inlinable
  package var bfloat16Bits: UInt16 {
    if isNaN { return UInt16(truncatingIfNeeded: bitPattern >> 16) | 0x40 }
    return UInt16(truncatingIfNeeded: (bitPattern &+ 0x7FFF &+ (bitPattern >> 16 & 1)) >> 16)
  }

  /// The value of IEEE half-precision bits, converted by hand because some platforms lack Float16.
  package init(halfBits bits: UInt16) {
    let sign = UInt32(bits & 0x8000) << 16
    let exponent = UInt32(bits >> 10 & 0x1F)
    let fraction = UInt32(bits & 0x3FF)
    switch exponent {
    case 0:  // zero or subnormal: fraction · 2^-24, exact in Float
      self = Float(bitPattern: sign | (Float(fraction) * 0x1p-24).bitPattern)
    case 31: self = Float(bitPattern: sign | 0x7F80_0000 | fraction << 13)
    default: self = Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
    }
  }

  /// The bits of the nearest IEEE half-precision value, ties to even. A NaN stays a NaN.
  package var halfBits: UInt16 {
    let sign = UInt16(truncatingIfNeeded: bitPattern >> 16) & 0x8000
    let size = magnitude
    if isNaN { return sign | 0x7E00 }
    if size >= 0x1p-14 {
      // Overflow of the fraction goes into the exponent, up to infinity.
      let bits = size.bitPattern &- (112 << 23)
      return sign | UInt16(min(0x7C00, (bits &+ 0xFFF &+ (bits >> 13 & 1)) >> 13))
    }
    return sign | UInt16((size * 0x1p24).rounded(.toNearestOrEven))
  }
}

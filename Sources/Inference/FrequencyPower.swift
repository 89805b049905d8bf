/// base^exponent in single precision, for the frequencies of rotary position embeddings.
///
/// A library's power does not serve: the reference implementations take the powers of theta in single precision, where
/// the position magnifies the last bit of a frequency. The float64 oracle of the tests takes them with NumPy, whose
/// array power on x86 with AVX-512 is that of Intel's short-vector math library (SVML, `__svml_powf16`). SVML's power
/// is not correctly rounded: a fifth of its results are the neighbour instead, and the largest error found was 1.01
/// ulp. This function does the same arithmetic and gives the same bits, and because it needs only IEEE single precision
/// and integers, every engine on every platform gets the same table.
///
/// Domain: `base` finite and at least 1, `exponent` in 0...1. Nothing traps outside of it: a power below 1 may differ
/// from the original in the last bit, one beyond 2^±125.5 is infinity or 0, and a base that is not positive and finite
/// or an exponent that is not finite gives NaN.
///
/// Method:
/// 1. base = 2^e · m with m in 0.5..<1. Let c be 1/m rounded to 1/32 and d = m·c − 1, which is small. Then log2(base) =
///    e + 1 − log2(c) + log2(1 + d): a table for c, a polynomial for d, and the sum kept in two floats.
/// 2. Times the exponent, again in two floats, rounded toward zero.
/// 3. 2^s from a table for sixteenths, a cubic for the rest, and the integer part put into the exponent field.
///
/// The numbers in the tables and polynomials are those of SVML as it comes with NumPy 2.4.6 (github.com/numpy/SVML,
/// contributed by Intel, BSD-3-Clause, copyright NumPy Developers).
package func singlePrecisionPower(_ base: Float, _ exponent: Float) -> Float {
  guard base > 0, base.isFinite, exponent.isFinite else { return .nan }

  // The reciprocal's 32nds, less 32. A base just above a power of two has c = 2 and uses c = 1's entry, whose
  // logarithm is then right with one less in the binary exponent; from c = 1.5 on the entries contain the 1.
  let m = base.significand * 0.5
  let cell = reciprocalCell(m)
  let d = (-1 as Float).addingProduct(m, 1 + Float(cell) * 0x1p-5)
  let binaryExponent = Float(base.exponent) + (cell < 16 ? 1 : 0)

  var polynomial = (-0x1.7167dap-2 as Float).addingProduct(d, 0x1.278e0ap-2)
  polynomial = (0x1.ec709ep-2 as Float).addingProduct(d, polynomial)
  polynomial = (-0x1.715476p-1 as Float).addingProduct(d, polynomial)
  polynomial = (0x1.4ae198p-26 as Float).addingProduct(d, polynomial)

  // Two floats whose sum is the logarithm. d/ln 2 is by far the largest part of the polynomial, so its own
  // rounding error goes into the low float too.
  let inverseLn2: Float = 0x1.715476p0
  let whole = binaryExponent + logarithmHigh[cell & 31]
  let leading = whole.addingProduct(d, inverseLn2)
  let leadingError = (-(leading - whole)).addingProduct(d, inverseLn2)
  let rest = logarithmLow[cell & 31].addingProduct(d, polynomial)
  let logHigh = leading + rest
  let logLow = (rest - (logHigh - leading)) + leadingError

  let productHigh = fusedTowardZero(exponent, logHigh, 0)
  let productError = (-productHigh).addingProduct(exponent, logHigh)  // exact
  let productLow = fusedTowardZero(exponent, logLow, productError)
  let power = fusedTowardZero(1, productHigh, productLow)
  let powerError = productLow - (power - productHigh)
  guard power.magnitude <= 125.5 else { return productHigh > 0 ? .infinity : 0 }

  let sixteenths = (power * 16).rounded(.down)
  let r = (power - sixteenths * 0x1p-4) + powerError
  let index = Int(sixteenths)
  let start = exponential[index & 15]
  var cubic = (0x1.ebe2d8p-3 as Float).addingProduct(r, 0x1.d0a996p-5)
  cubic = (0x1.62e444p-1 as Float).addingProduct(r, cubic)
  let fraction = start.addingProduct(cubic, start * r)
  return fraction * Float(sign: .plus, exponent: index >> 4, significand: 1)
}

/// a·b + c rounded toward zero. Swift has only the fused operation that rounds to nearest, so this finds the
/// sign of its error (Boldo and Muller's exact error of a fused multiply-add) and, where the rounding went away
/// from zero, steps one back.
private func fusedTowardZero(_ a: Float, _ b: Float, _ c: Float) -> Float {
  func exactSum(_ x: Float, _ y: Float) -> (sum: Float, error: Float) {
    let sum = x + y
    let part = sum - x
    return (sum, (x - (sum - part)) + (y - part))
  }
  let nearest = c.addingProduct(a, b)
  let product = a * b
  let low = exactSum(c, (-product).addingProduct(a, b))
  let high = exactSum(product, low.sum)
  let error = ((high.sum - nearest) + high.error) + low.error
  let wentAway = nearest > 0 ? error < 0 : nearest < 0 && error > 0
  return wentAway ? Float(bitPattern: nearest.bitPattern - 1) : nearest
}

/// 32·c − 32, where c is 1/m rounded to 1/32, for m in 0.5..<1; from 32 down to 0.
///
/// The original rounds the hardware's approximate reciprocal (`vrcp14ps`), which errs by up to 2^-14, so close
/// to the middle between two cells it does not always take the nearer one. Hence a table of where m enters
/// each next cell, found by running the instruction on every m.
private func reciprocalCell(_ m: Float) -> Int {
  let position = UInt16(truncatingIfNeeded: m.bitPattern >> 7)  // of 0.5..<1: 0...0xffff, without the exponent
  var cell = 32
  for start in cellStarts where position >= start { cell -= 1 }
  return cell
}

/// Where the cells 31, 30, … 0 start: bits 7...22 of m (the lower ones are zero).
private let cellStarts: [UInt16] = [
  0x0206, 0x0627, 0x0a6a, 0x0ed0, 0x135d, 0x180f, 0x1cf2, 0x21fd,
  0x2736, 0x2c9f, 0x3240, 0x3812, 0x3e25, 0x446e, 0x4afe, 0x51d2,
  0x58ef, 0x6057, 0x6817, 0x702d, 0x78a5, 0x8182, 0x8acd, 0x948a,
  0x9ecb, 0xa98f, 0xb4e9, 0xc0e0, 0xcd88, 0xdae6, 0xe915, 0xf823,
]

/// −log2(1 + i/32) for i below 16, 1 − log2(1 + i/32) from there; rounded so that adding an exponent is exact.
private let logarithmHigh: [Float] = [
  0, -0x1.6bap-5, -0x1.664p-4, -0x1.08c8p-3, -0x1.5cp-3, -0x1.acf8p-3, -0x1.fbcp-3, -0x1.244p-2,
  -0x1.49a8p-2, -0x1.6e24p-2, -0x1.91bcp-2, -0x1.b48p-2, -0x1.d674p-2, -0x1.f7a8p-2, -0x1.0c1p-1, -0x1.1bf4p-1,
  0x1.a9p-2, 0x1.8a88p-2, 0x1.6cbp-2, 0x1.4f7p-2, 0x1.32cp-2, 0x1.169cp-2, 0x1.f6p-3, 0x1.bfc8p-3,
  0x1.8a88p-3, 0x1.564p-3, 0x1.22d8p-3, 0x1.e0bp-4, 0x1.7d6p-4, 0x1.1bbp-4, 0x1.774p-5, 0x1.744p-6,
]

/// The rounding errors of `logarithmHigh`.
private let logarithmLow: [Float] = [
  0, -0x1.a6eb1ep-18, 0x1.20a6dep-21, 0x1.3b992cp-18, -0x1.a39fbep-19, 0x1.0e9258p-18,
  -0x1.6b9026p-19, -0x1.eac382p-20, 0x1.ed0cbap-20, 0x1.e3263p-18, 0x1.5db83ap-20, 0x1.408c78p-18,
  -0x1.3e032ep-18, -0x1.5a32c2p-20, -0x1.40358ep-19, 0x1.dc2d46p-18, -0x1.a39fbep-20, 0x1.80abfcp-18,
  0x1.ed0cbap-19, -0x1.134c4ep-20, -0x1.1c8f12p-22, 0x1.4d8fc6p-24, -0x1.3ab7cep-18, -0x1.858p-19,
  0x1.80abfcp-19, -0x1.1eb002p-18, 0x1.6e155ap-18, 0x1.ae8f3p-20, 0x1.25b3eep-22, 0x1.953002p-19,
  -0x1.acd89ap-19, -0x1.179e0cp-22,
]

/// 2^(i/16).
private let exponential: [Float] = [
  1, 0x1.0b5586p0, 0x1.172b84p0, 0x1.2387a6p0, 0x1.306fep0, 0x1.3dea64p0, 0x1.4bfdaep0, 0x1.5ab07ep0,
  0x1.6a09e6p0, 0x1.7a1148p0, 0x1.8ace54p0, 0x1.9c4918p0, 0x1.ae89fap0, 0x1.c199bep0, 0x1.d5818ep0, 0x1.ea4afap0,
]

/// The absmean weight quantiser of BitNet b1.58: `codes = clamp(rint(w / mean|w|), -1, 1)`.
///
/// The mean is accumulated in Double. The codes are computed in Float, as in the reference implementations:
/// `rint(w · (1/m))`, half to even, with `m = max(Float(mean|w|), 1e-5)`.
package struct AbsmeanQuantizer: Sendable {
  /// The weight that code 1 represents: `max(mean|w|, 1e-5)`.
  package let scale: Double
  private let reciprocal: Float

  package static let smallestScale = 1e-5

  /// - Parameters:
  ///   - absoluteSum: the sum of |w| over the tensor, accumulated in Double, finite.
  ///   - count: weights in the tensor, 1 or more.
  package init(absoluteSum: Double, count: Int) {
    let mean = absoluteSum / Double(count)
    scale = max(mean, Self.smallestScale)
    reciprocal = 1 / max(Float(mean), Float(Self.smallestScale))
  }

  /// The code of one weight: -1, 0 or 1.
  @inline(__always)
  package func code(_ weight: Float) -> Int8 {
    // rint(v) is above zero exactly when v is above one half: the tie at one half rounds to zero, which is even.
    let v = weight * reciprocal
    return (v > 0.5 ? 1 : 0) - (v < -0.5 ? 1 : 0)
  }
}

/// The absmax activation quantiser: `s = 127 / max(max|x|, 1e-5)`, `q = clamp(rint(x·s), -128, 127)`, half to even.
package enum AbsmaxQuantizer {
  /// Quantises one token's activations.
  ///
  /// - Parameters:
  ///   - x: the activations. A NaN does not raise the maximum, and its code is -128.
  ///   - codes: room for at least `x.count` codes; the first `x.count` are written.
  /// - Returns: the scale s; `code / s` approximates the activation.
  package static func quantize<Scalar: BinaryFloatingPoint>(
    _ x: UnsafeBufferPointer<Scalar>, into codes: UnsafeMutableBufferPointer<Int8>
  ) -> Scalar {
    var largest: Scalar = 0
    for value in x where abs(value) > largest { largest = abs(value) }
    let smallest = Scalar(1e-5)
    let scale = 127 / (largest > smallest ? largest : smallest)
    for index in x.indices {
      let rounded = (x[index] * scale).rounded(.toNearestOrEven)
      codes[index] = rounded >= -128 ? (rounded < 127 ? Int8(rounded) : 127) : -128
    }
    return scale
  }
}

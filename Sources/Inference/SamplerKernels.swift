/// The sampler's loops over a vocabulary, which the CPU engine has for each instruction set. All give the same results.
package struct SamplerKernels: Sendable {
  /// Computes the weights of logits, `trunc(e^(l - largest) · 2^40)`, 0 for a NaN, and returns their sum.
  ///
  /// - Parameters:
  ///   - logits: one or more.
  ///   - largest: the largest of them.
  ///   - weights: as many as there are logits; nil if only the sum is wanted.
  package let weights:
    @Sendable (_ logits: UnsafeBufferPointer<Float>, _ largest: Float, _ weights: UnsafeMutablePointer<UInt64>?)
      -> UInt64

  /// Finds the logits that are `least` or more, and returns how many they are.
  ///
  /// - Parameters:
  ///   - logits: any number.
  ///   - least: the least logit to find; a NaN is never found.
  ///   - indices: receives their indices, ascending. Has room for the number of logits, rounded up to a multiple of 16.
  package let indices:
    @Sendable (_ logits: UnsafeBufferPointer<Float>, _ least: Float, _ indices: UnsafeMutablePointer<Int32>) -> Int

  /// Creates kernels; see the properties.
  package init(
    weights: @escaping @Sendable (UnsafeBufferPointer<Float>, Float, UnsafeMutablePointer<UInt64>?) -> UInt64,
    indices: @escaping @Sendable (UnsafeBufferPointer<Float>, Float, UnsafeMutablePointer<Int32>) -> Int
  ) {
    self.weights = weights
    self.indices = indices
  }

  /// The specification.
  package static let scalar = SamplerKernels(
    weights: { logits, largest, weights in
      var total: UInt64 = 0
      for index in logits.indices {
        let value = canonicalExponential(logits[index] - largest)
        let weight = value > 0 ? UInt64(value * 0x1p40) : 0  // a NaN has weight 0
        weights?[index] = weight
        total += weight
      }
      return total
    },
    indices: { logits, least, indices in
      var count = 0
      for index in logits.indices where logits[index] >= least {
        indices[count] = Int32(index)
        count += 1
      }
      return count
    })
}

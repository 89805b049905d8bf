/// Softmax-weighted sums over chunks of positions, taken in ascending order; each chunk brings its own maximum.
package struct SoftmaxSum<Scalar: ReferenceScalar> {
  @usableFromInline var largest: Scalar = 0
  @usableFromInline var total: Scalar = 0
  @usableFromInline var weighted: [Scalar]
  @usableFromInline var isEmpty = true

  /// - Parameter size: elements of a value.
  @inlinable package init(size: Int) { weighted = Array(repeating: 0, count: size) }

  /// Adds a chunk.
  ///
  /// - Parameters:
  ///   - largest: the chunk's largest score m.
  ///   - total: Σ e^(score - m) over the chunk.
  ///   - weighted: Σ e^(score - m) · value over the chunk.
  @inlinable package mutating func add(largest m: Scalar, total chunkTotal: Scalar, weighted chunk: [Scalar]) {
    guard !isEmpty else {
      (largest, total, weighted, isEmpty) = (m, chunkTotal, chunk, false)
      return
    }
    let next = m > largest ? m : largest
    let before = Scalar.exponential(largest - next)
    let now = Scalar.exponential(m - next)
    total = (total * before).addingProduct(chunkTotal, now)
    for i in weighted.indices { weighted[i] = (weighted[i] * before).addingProduct(chunk[i], now) }
    largest = next
  }

  /// The weighted mean of the values of all chunks, of which there must be one.
  @inlinable package var result: [Scalar] {
    let reciprocal = 1 / total
    return weighted.map { $0 * reciprocal }
  }
}

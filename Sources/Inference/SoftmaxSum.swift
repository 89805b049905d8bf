/// Softmax-weighted sums over chunks of positions, taken in ascending order; each chunk brings its own maximum.
struct SoftmaxSum<Scalar: ReferenceScalar> {
  private var largest: Scalar = 0
  private var total: Scalar = 0
  private var weighted: [Scalar]
  private var isEmpty = true

  init(size: Int) { weighted = Array(repeating: 0, count: size) }

  /// - Parameters:
  ///   - largest: the chunk's largest score m.
  ///   - total: Σ e^(score - m) over the chunk.
  ///   - weighted: Σ e^(score - m) · value over the chunk.
  mutating func add(largest m: Scalar, total chunkTotal: Scalar, weighted chunk: [Scalar]) {
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

  var result: [Scalar] {
    let reciprocal = 1 / total
    return weighted.map { $0 * reciprocal }
  }
}

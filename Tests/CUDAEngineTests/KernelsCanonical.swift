import Inference
import Ternary

/// The formulas of Documentation/numerics.md in scalar Float: what the kernels are held against.
enum Canonical {
  /// Σ a·b: term i in lane (i / run) mod lanes, lanes combined by halving.
  static func sum(_ count: Int, lanes: Int, run: Int = 1, _ term: (Int) -> (Float, Float)) -> Float {
    var lane = [Float](repeating: 0, count: lanes)
    for index in 0..<count {
      let (a, b) = term(index)
      lane[index / run % lanes].addProduct(a, b)
    }
    var half = lanes / 2
    while half > 0 {
      for place in 0..<half { lane[place] += lane[place + half] }
      half /= 2
    }
    return lane[0]
  }

  /// RMSNorm; without a norm the row as it is.
  static func normalized(_ x: ArraySlice<Float>, _ norm: [Float]?, epsilon: Float) -> [Float] {
    guard let norm else { return Array(x) }
    let squares = sum(x.count, lanes: 256) { (x[x.startIndex + $0], x[x.startIndex + $0]) }
    let r = 1 / (squares / Float(x.count) + epsilon).squareRoot()
    return zip(x, norm).map { $0 * r * $1 }
  }

  /// A quantised row: the product of a ternary row with `codes`, times the ternary scale / `scale`, is the result.
  struct Codes {
    /// Whole tiles; zeros behind the row.
    var codes: [Int8]
    var scale: Float
    var sum: Int32 { codes.reduce(0) { $0 + Int32($1) } }
  }

  static func quantized(_ x: [Float], padded: Int) -> Codes {
    var codes = [Int8](repeating: 0, count: padded)
    let scale = x.withUnsafeBufferPointer { x in codes.withUnsafeMutableBufferPointer { AbsmaxQuantizer.quantize(x, into: $0) } }
    return Codes(codes: codes, scale: scale)
  }

  static func gated(isSquaredReLU: Bool, gate: Float, up: Float) -> Float {
    if isSquaredReLU {
      let positive = gate > 0 ? gate : 0
      return positive * positive * up
    }
    return gate / (1 + canonicalExponential(-gate)) * up
  }

  /// Rotary embedding of one head.
  static func rotated(_ x: ArraySlice<Float>, cosines: ArraySlice<Float>, sines: ArraySlice<Float>) -> [Float] {
    let half = x.count / 2
    let (x, cosines, sines) = (Array(x), Array(cosines), Array(sines))
    var y = x
    for i in 0..<half {
      y[i] = (-(x[half + i] * sines[i])).addingProduct(x[i], cosines[i])
      y[half + i] = (x[i] * sines[i]).addingProduct(x[half + i], cosines[i])
    }
    return y
  }

  /// One query head over the positions so far, 64 at a time.
  ///
  /// - Parameters:
  ///   - count: positions, the query's own included.
  ///   - key, value: element i of a position's key and value.
  static func attention(
    _ query: ArraySlice<Float>, count: Int, scale: Float, key: (_ position: Int, _ i: Int) -> Float,
    value: (_ position: Int, _ i: Int) -> Float
  ) -> [Float] {
    let query = Array(query)
    var (largest, total, weighted): (Float, Float, [Float]) = (0, 0, [])
    for start in stride(from: 0, to: count, by: attentionChunkLength) {
      let positions = start..<min(count, start + attentionChunkLength)
      let scores = positions.map { position in sum(query.count, lanes: 4, run: 8) { (query[$0], key(position, $0)) } * scale }
      var most = scores[0]
      for score in scores where score > most { most = score }
      let shares = scores.map { canonicalExponential($0 - most) }
      let chunkTotal = sum(shares.count, lanes: 32) { (shares[$0], 1) }
      var chunk = [Float](repeating: 0, count: query.count)
      for (position, share) in zip(positions, shares) {
        for i in chunk.indices { chunk[i].addProduct(share, value(position, i)) }
      }
      if start == 0 {
        (largest, total, weighted) = (most, chunkTotal, chunk)
        continue
      }
      let next = most > largest ? most : largest
      let (before, now) = (canonicalExponential(largest - next), canonicalExponential(most - next))
      total = (total * before).addingProduct(chunkTotal, now)
      for i in weighted.indices { weighted[i] = (weighted[i] * before).addingProduct(chunk[i], now) }
      largest = next
    }
    let reciprocal = 1 / total
    return weighted.map { $0 * reciprocal }
  }

  /// Logits of one row: the norm, then the dot product with every row of the table.
  static func logits(_ x: ArraySlice<Float>, norm: [Float], epsilon: Float, table: [UInt16]) -> [Float] {
    let x = normalized(x, norm, epsilon: epsilon)
    return (0..<table.count / x.count).map { id in
      sum(x.count, lanes: 256) { (Float(bfloat16Bits: table[id * x.count + $0]), x[$0]) }
    }
  }

  /// What a kernel orders logits by: descending logit, then ascending id; a NaN counts as minus infinity.
  static func key(_ logit: Float, _ id: Int) -> UInt64 {
    let bits = (logit.isNaN ? -Float.infinity : logit + 0).bitPattern
    let ordered = bits & 0x8000_0000 != 0 ? ~bits : bits | 0x8000_0000
    return UInt64(ordered) << 32 | UInt64(~UInt32(id))
  }

  static func bestKey(_ logits: some Collection<Float>) -> UInt64 {
    logits.enumerated().reduce(0) { max($0, key($1.element, $1.offset)) }
  }
}

import BitNetInference
import BitNetTernary

/// Scalar counterparts of kernels, from the canonical arithmetic of BitNetInference (Documentation/numerics.md).
package enum ScalarArithmetic {
  /// RMSNorm, or the unchanged row without a norm.
  static func normalized(_ x: ArraySlice<Float>, _ norm: [Float]?, epsilon: Float) -> [Float] {
    guard let norm else { return Array(x) }
    return rmsNorm(Array(x), weight: norm, epsilon: Double(epsilon))
  }

  /// A quantised row. The product of a ternary row with `codes`, times the ternary scale / `scale`, is the result.
  struct Codes {
    /// The codes, padded with zeros to whole tiles.
    var codes: [Int8]
    var scale: Float
    var sum: Int32 { codes.reduce(0) { $0 + Int32($1) } }
  }

  static func quantized(_ x: [Float], padded: Int) -> Codes {
    var codes = [Int8](repeating: 0, count: padded)
    let scale = x.withUnsafeBufferPointer { x in
      codes.withUnsafeMutableBufferPointer { AbsmaxQuantizer.quantize(x, into: $0) }
    }
    return Codes(codes: codes, scale: scale)
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

  /// The attention of one query head to a range of positions, a chunk of 64 at a time.
  ///
  /// - Parameters:
  ///   - seen: the positions, of which there are some.
  ///   - keys: `[positions][size]` for at least the positions up to the end of `seen`; the values likewise.
  static func attention(
    _ query: ArraySlice<Float>, seen: Range<Int>, scale: Float, keys: [Float], values: [Float]
  ) -> [Float] {
    let query = Array(query), size = query.count
    var sum = SoftmaxSum<Float>(size: size)
    let firstStart = seen.lowerBound / attentionChunkLength * attentionChunkLength
    for start in stride(from: firstStart, to: seen.upperBound, by: attentionChunkLength) {
      let positions = max(seen.lowerBound, start)..<min(seen.upperBound, start + attentionChunkLength)
      let scores = positions.map { position in
        LaneOrder.head.sum(size) { (query[$0], keys[position * size + $0]) } * scale
      }
      var largest = scores[0]
      for score in scores where score > largest { largest = score }
      let shares = scores.map { canonicalExponential($0 - largest) }
      var weighted = [Float](repeating: 0, count: size)
      for (position, share) in zip(positions, shares) {
        for i in 0..<size { weighted[i].addProduct(share, values[position * size + i]) }
      }
      let weights = [Float](repeating: 0, count: positions.lowerBound - start) + shares
      sum.add(largest: largest, total: LaneOrder.chunk.sum(weights.count) { (weights[$0], 1) }, weighted: weighted)
    }
    return sum.result
  }

  /// The logits of normalised rows, `[rows][vocabulary]`.
  static func logits(_ rows: [[Float]], table: [UInt16]) -> [[Float]] {
    let hidden = rows[0].count
    var logits = rows.map { _ in [Float]() }
    for start in stride(from: 0, to: table.count, by: hidden) {
      let weights = table[start..<start + hidden].map { Float(bfloat16Bits: $0) }
      for (place, x) in rows.enumerated() { logits[place].append(LaneOrder.row.sum(hidden) { (weights[$0], x[$0]) }) }
    }
    return logits
  }

  /// The key by which kernels order logits: descending logit, then ascending id. A NaN counts as minus infinity.
  static func key(_ logit: Float, _ id: Int) -> UInt64 {
    let bits = (logit.isNaN ? -Float.infinity : logit + 0).bitPattern
    let ordered = bits & 0x8000_0000 != 0 ? ~bits : bits | 0x8000_0000
    return UInt64(ordered) << 32 | UInt64(~UInt32(id))
  }

  static func logit(ofKey key: UInt64) -> Float {
    let ordered = UInt32(key >> 32)
    return Float(bitPattern: ordered & 0x8000_0000 != 0 ? ordered & 0x7FFF_FFFF : ~ordered)
  }

  static func bestKey(_ logits: some Collection<Float>) -> UInt64 {
    logits.enumerated().reduce(0) { max($0, key($1.element, $1.offset)) }
  }

  /// The int8 copy of a head's table: codes `[rows][stride]`, and for each row the step, the bounds of |ŵ| and |w - ŵ|,
  /// and 0.
  static func screen(table: [UInt16], hidden: Int, stride: Int) -> (codes: [Int8], norms: [Float]) {
    let upward: Float = 1.00001
    var codes = [Int8](repeating: 0, count: table.count / hidden * stride)
    var norms: [Float] = []
    for row in 0..<table.count / hidden {
      let weights = table[row * hidden..<(row + 1) * hidden].map { Float(bfloat16Bits: $0) }
      var absmax: Float = 0
      for weight in weights where weight.magnitude > absmax { absmax = weight.magnitude }
      let step = (absmax > 1e-30 ? absmax : 1e-30) / 127
      let inverse = 1 / step
      var errors = [Float](repeating: 0, count: hidden)
      for (place, weight) in weights.enumerated() {
        let rounded = (weight * inverse).rounded(.toNearestOrEven)
        let code: Float = rounded.magnitude <= 127 ? rounded : rounded > 0 ? 127 : rounded < 0 ? -127 : 0
        codes[row * stride + place] = Int8(code)
        errors[place] = weight.addingProduct(-code, step) * inverse
      }
      let squares = LaneOrder.chunk.sum(hidden) { place in
        let code = Float(codes[row * stride + place])
        return (code, code)
      }
      let squaredErrors = LaneOrder.chunk.sum(hidden) { (errors[$0], errors[$0]) }
      norms += [step, step * (squares.squareRoot() * upward), step * (squaredErrors.squareRoot() * upward), 0]
    }
    return (codes, norms)
  }
}

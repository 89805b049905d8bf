import BitNetTernary

/// Canonical arithmetic: the one order in which every float sum of the forward pass is taken.
///
/// Engines on any hardware produce exactly these bits, so they are compared by equality. Three rules:
/// an fma happens where it is written and nowhere else; sums use a fixed number of lanes (`LaneOrder`); division,
/// square root and fma are the correctly rounded IEEE operations.

/// The number type of a reference computation: Float is the canonical arithmetic, Double checks it.
package protocol ReferenceScalar: BinaryFloatingPoint, Sendable {
  /// e^x.
  static func exponential(_ x: Self) -> Self
  /// A value as the KV cache stores it.
  static func cached(_ x: Self) -> Self
}

extension Double: ReferenceScalar {
  package static func exponential(_ x: Double) -> Double { doubleExponential(x) }
  package static func cached(_ x: Double) -> Double { x }
}

extension Float: ReferenceScalar {
  package static func exponential(_ x: Float) -> Float { canonicalExponential(x) }
  /// Rounded to bfloat16, to nearest even.
  package static func cached(_ x: Float) -> Float { Float(bfloat16Bits: x.bfloat16Bits) }
}

/// e^x in Float, from fused multiply-adds only, so that every platform gives the same bits; at most 0.9 units in the
/// last place off.
///
/// 0 below -87 (the results would be subnormal), e^88 above 88; a NaN gives a NaN.
/// With k = rint(x / ln 2), r = x - k ln 2 in two steps, e^x = 2^k (1 + r + r² q(r)), q a minimax polynomial of degree
/// 4 for r of magnitude ln 2 / 2 at most (found by iteratively reweighted least squares).
package func canonicalExponential(_ x: Float) -> Float {
  if x < -87 { return 0 }
  // The integer addition below would turn some NaNs into numbers.
  if x.isNaN { return x }
  let x = x > 88 ? 88 : x
  // Adding 1.5·2^23 rounds to an integer, half to even, and leaves it in the low bits.
  let shifted = Float(12_582_912).addingProduct(x, 1.442_695_04)
  let k = shifted - 12_582_912
  let r = x.addingProduct(k, -0.693_359_375).addingProduct(k, 2.121_944_4e-4)
  var p: Float = 0x1.6a225ap-10
  p = Float(0x1.123b02p-7).addingProduct(p, r)
  p = Float(0x1.5558f8p-5).addingProduct(p, r)
  p = Float(0x1.555490p-3).addingProduct(p, r)
  p = Float(0x1.fffffcp-2).addingProduct(p, r)
  p = Float(1).addingProduct(p, r)
  p = Float(1).addingProduct(p, r)
  return Float(bitPattern: p.bitPattern &+ shifted.bitPattern << 23)
}

/// How the terms of a sum are spread over lanes: term i goes to lane (i / run) mod lanes; each lane is a chain of fused
/// multiply-adds in ascending order starting from zero; lanes are combined by halving: lane l takes lane l + n/2 for n
/// = lanes, lanes/2 … 2.
package struct LaneOrder: Sendable {
  @usableFromInline let run: Int
  @usableFromInline let lanes: Int

  @inlinable init(run: Int, lanes: Int) { (self.run, self.lanes) = (run, lanes) }

  /// Sums over a hidden row (RMSNorm, LM head). 256 lanes: sixteen AVX-512 accumulators, or a warp in which each
  /// thread keeps the eight elements of one 16-byte bfloat16 load.
  @inlinable package static var row: LaneOrder { LaneOrder(run: 1, lanes: 256) }
  /// Attention scores over a head. Four lanes of 8-element runs: on a GPU four threads share a key through 16-byte
  /// loads; on a CPU vectors run across keys and a lane is just an accumulator.
  @inlinable package static var head: LaneOrder { LaneOrder(run: 8, lanes: 4) }
  /// Sums of attention weights over a chunk of positions: a warp, or two AVX-512 registers.
  @inlinable package static var chunk: LaneOrder { LaneOrder(run: 1, lanes: 32) }

  /// Σ a(i)·b(i) in this order.
  ///
  /// - Parameter term: a(i) and b(i) for i in 0..<count, called in ascending order.
  @inlinable @inline(__always)
  package func sum<Scalar: ReferenceScalar>(_ count: Int, _ term: (Int) -> (Scalar, Scalar)) -> Scalar {
    withUnsafeTemporaryAllocation(of: Scalar.self, capacity: lanes) { lane in
      lane.initialize(repeating: 0)
      var index = 0
      while index < count {
        for place in 0..<lanes {
          for _ in 0..<min(run, count - index) {
            let (a, b) = term(index)
            lane[place] = lane[place].addingProduct(a, b)
            index += 1
          }
        }
      }
      var half = lanes / 2
      while half > 0 {
        for place in 0..<half { lane[place] += lane[place + half] }
        half /= 2
      }
      return lane[0]
    }
  }
}

/// Positions of one attention chunk, and of one page of a key/value cache. Chunks start at multiples of it.
package let attentionChunkLength = 64

/// The version of the arithmetic: of everything that turns weights, tokens and sampling parameters into tokens. It goes
/// up by one with every change that can alter a bit of a logit or a choice of the sampler, so that an answer is
/// repeated by every build of the version that gave it. The digests in Tests/EngineTests/FrozenOutputsTests.swift tell
/// whether bits have changed.
package let arithmeticVersion = 1

/// y = x / sqrt(mean(x²) + ε) · w, as (x · r) · w with r = 1 / sqrt(Σx² / n + ε); the sum in `LaneOrder.row`.
package func rmsNorm<Scalar: ReferenceScalar>(_ x: [Scalar], weight: [Float], epsilon: Double) -> [Scalar] {
  let squares: Scalar = LaneOrder.row.sum(x.count) { (x[$0], x[$0]) }
  let r = 1 / (squares / Scalar(x.count) + Scalar(epsilon)).squareRoot()
  return x.indices.map { x[$0] * r * Scalar(weight[$0]) }
}

/// The gated activation: max(gate, 0)² · up, gate / (1 + e^-gate) · up, or gate / (1 + e^-t) · up with t = gate ·
/// fma(gate², c₃, c₁).
///
/// The last is gelu with the tanh approximation, gate/2 · (1 + tanh(u)) with u = √(2/π)·(gate + 0.044715·gate³),
/// because (1 + tanh(u))/2 = 1 / (1 + e^-2u): c₁ = 2·√(2/π), c₃ = 0.044715·c₁, each rounded once to the number type.
package func gated<Scalar: ReferenceScalar>(
  _ activation: ModelConfiguration.Activation, gate: Scalar, up: Scalar
) -> Scalar {
  switch activation {
  case .squaredReLU:
    let positive = gate > 0 ? gate : 0
    return positive * positive * up
  case .silu: return gate / (1 + Scalar.exponential(-gate)) * up
  case .geluTanh:
    let t = gate * Scalar(1.5957691216057308).addingProduct(gate * gate, Scalar(0.07135481627260025))
    return gate / (1 + Scalar.exponential(-t)) * up
  }
}

import Foundation
import TestSupport

/// Compares logits with the float32 logits of transformers, and the difference with transformers' own spreads.
///
/// A small tolerance does not work for float engines, because a single flipped activation code changes logits by a
/// percent or two. Instead, they must be no further from float32 than transformers' bfloat16 run is.
struct LogitsCheck: CustomStringConvertible {
  struct Spread: Decodable {
    let rel_l2: Double
    let rel_l2_row_max: Double
    let kl_mean: Double
  }
  private struct Expected: Decodable {
    let spread: [String: Spread]
  }

  let relative: Double
  let largestRow: Double
  let meanDivergence: Double
  let limit: Spread

  init(_ fixture: Fixture, length: Int, logits: [Double], vocabulary: Int) throws {
    let json = try Data(contentsOf: URL(fileURLWithPath: fixture.path + "/expected.json"))
    limit = try JSONDecoder().decode(Expected.self, from: json).spread["f32_vs_bf16"]!
    let reference = try fixture.float32Logits(length).map(Double.init)
    var (difference, norm, worst, divergence) = (0.0, 0.0, 0.0, 0.0)
    for row in 0..<length {
      let range = row * vocabulary..<(row + 1) * vocabulary
      let rowDifference = zip(logits[range], reference[range]).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
      let rowNorm = reference[range].reduce(0) { $0 + $1 * $1 }
      difference += rowDifference
      norm += rowNorm
      worst = max(worst, (rowDifference / rowNorm).squareRoot())
      let p = Self.logSoftmax(reference[range])
      let q = Self.logSoftmax(logits[range])
      divergence += zip(p, q).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
    }
    relative = (difference / norm).squareRoot()
    largestRow = worst
    meanDivergence = divergence / Double(length)
  }

  var isInside: Bool {
    relative <= limit.rel_l2 && largestRow <= 1.25 * limit.rel_l2_row_max && meanDivergence <= 1.25 * limit.kl_mean
  }

  var description: String {
    "relative L2 \(relative) of \(limit.rel_l2), worst row \(largestRow) of \(limit.rel_l2_row_max), "
      + "KL \(meanDivergence) of \(limit.kl_mean)"
  }

  private static func logSoftmax(_ x: ArraySlice<Double>) -> [Double] {
    let largest = x.max()!
    let normalizer = largest + log(x.reduce(0) { $0 + exp($1 - largest) })
    return x.map { $0 - normalizer }
  }
}

import BitNetInference
import CBitNetTernary

/// Which rows of the screened head are computed for a token.
///
/// With top-p, a token is mostly chosen among a few, but the weight of all others counts: it decides how many are kept.
/// That weight need not be known exactly. Rows below a cut are left out if their upper bounds show that together they
/// weigh next to nothing; the sampler then knows whether that little can matter.
struct ScreenedCut {
  /// Rows whose upper bound is below this are left out.
  var threshold: Float
  /// At most the largest logit; not finite if there is no bound.
  var largest: Float
  /// What the rows that are left out may weigh; nil if they cannot matter.
  var unseen: Sampler.Unseen?

  /// A token is chosen in so many attempts at most, each with more rows than the one before it, the last with all that
  /// can matter.
  static let attempts = 3

  /// How far below the largest logit, in units of the temperature, rows are cut. The weight of a row there is a
  /// 55th to a nine-millionth of the largest.
  private static let depths: [Float] = [4, 5.5, 7, 8.5, 10.5, 13, 16]

  /// The cuts to try, of which the last is this one.
  func tried(_ sampling: SamplingParameters) -> [Float] {
    Self.depths.map { max(largest - $0 * sampling.temperature, threshold) } + [threshold]
  }

  /// The cuts of the first and the second attempt: the one with the least expected work, and the deepest.
  ///
  /// - Parameters:
  ///   - sampling: parameters whose `usesTopPAlone` is true.
  ///   - above: how many rows are above each tried cut, `[blocks][CTERNARY_CUTS]`.
  ///   - below: what the rows below each tried cut weigh, as a share of the largest logit's weight, in the same order.
  func chosen(_ sampling: SamplingParameters, above: UnsafeBufferPointer<Int32>, below: UnsafeBufferPointer<Float>)
    -> (first: ScreenedCut, second: ScreenedCut)
  {
    guard largest.isFinite, threshold.isFinite else { return (self, self) }
    let depths = Self.depths.count
    var rows = [Double](repeating: 0, count: depths + 1)
    var weights = [Double](repeating: 0, count: depths + 1)
    for (place, (number, weight)) in zip(above, below).enumerated() {
      rows[place % (depths + 1)] += Double(number)
      weights[place % (depths + 1)] += Double(weight)
    }
    // The weight of the last token that top-p keeps, by estimate: what is below it weighs as much as top-p leaves out.
    // Rows above the first depth are taken to lie at half of it.
    let half = doubleExponential(Double(-Self.depths[0] / 2))
    let left = Double(1 - sampling.topP) * (weights[0] + max(1, rows[0] * half))
    let end = weights.prefix(depths).firstIndex { $0 < left } ?? depths
    let last = end == 0 ? half : doubleExponential(Double(-Self.depths[end - 1]))
    let tried = tried(sampling)
    func cut(_ index: Int) -> ScreenedCut {
      var cut = self
      cut.threshold = tried[index]
      // Above the roundings of the kernel, of the logits' division by the temperature and of their weights.
      cut.unseen = .init(weight: UInt64((weights[index] * 1.01 + 1e-6) * 0x1p40), below: tried[index])
      return cut
    }
    // An attempt fails if the unseen rows weigh enough to move the end of top-p over a token.
    func work(_ index: Int) -> Double {
      rows[index] + min(1, weights[index] / last) * (rows[depths - 1] - rows[index])
    }
    let first = (0..<depths).min { work($0) < work($1) }!
    guard weights[first] < 1 else { return (self, self) }
    return (cut(first), cut(depths - 1))
  }
}

extension SamplingParameters {
  /// The cut below which logits cannot be chosen and do not change the choice.
  ///
  /// - Parameter lowerBounds: for each block of the vocabulary the largest lower bound of a logit.
  func cut(lowerBounds: UnsafeBufferPointer<Float>) -> ScreenedCut {
    let largest = lowerBounds.max() ?? -.infinity
    var threshold = largest - window
    // As many logits as there are blocks above it are at least the k-th largest of them.
    if temperature > 0, topK > 0, topK <= lowerBounds.count {
      threshold = max(threshold, lowerBounds.sorted(by: >)[topK - 1])
    }
    // Room for the roundings of the division by the temperature and of the difference to the largest.
    let room = 1e-5 * max(abs(largest), abs(threshold))
    threshold -= room
    // Where the division overflows, the first token is chosen among all whose quotients are equal, however far their
    // logits are apart.
    if temperature > 0, !(threshold / temperature).isFinite { threshold = -.infinity }
    return ScreenedCut(threshold: threshold, largest: largest - room)
  }
}

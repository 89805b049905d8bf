/// How to choose a token from logits. The parameters apply in this order: presence and frequency penalties, repetition
/// penalty, temperature, top-k, top-p, min-p.
public struct SamplingParameters: Sendable, Equatable, Codable {
  /// Divides the logits; 0 takes the most likely token. 0, or 0.000001 to 100: smaller divisors could make logits
  /// overflow.
  public var temperature: Float
  /// Keeps only the k most likely tokens; 0 keeps all.
  public var topK: Int
  /// Keeps the smallest set of most likely tokens whose probabilities add up to at least p; 1 keeps all. Above 0, up
  /// to 1.
  public var topP: Float
  /// Keeps only tokens at least this many times as likely as the most likely one; 0 keeps all. 0 to 1.
  public var minP: Float
  /// Divides the positive logits, and multiplies the negative ones, of tokens that the sequence already holds; 1
  /// changes none. Above 0, up to 100. This is the rule of CTRL (Keskar et al. 2019).
  public var repetitionPenalty: Float
  /// Subtracted from the logits of tokens that were generated before; the prompt's do not count. -2 to 2; 0 changes
  /// none.
  public var presencePenalty: Float
  /// Subtracted from the logits of tokens that were generated before, once for each time; the prompt's do not count. -2
  /// to 2; 0 changes none.
  public var frequencyPenalty: Float
  /// The random generator's key: the same prompt, parameters and seed give the same tokens on every machine.
  public var seed: UInt64

  /// Creates parameters; see the properties.
  public init(
    temperature: Float = 0, topK: Int = 0, topP: Float = 1, minP: Float = 0, repetitionPenalty: Float = 1,
    presencePenalty: Float = 0, frequencyPenalty: Float = 0, seed: UInt64 = 0
  ) {
    self.temperature = temperature
    self.topK = topK
    self.topP = topP
    self.minP = minP
    self.repetitionPenalty = repetitionPenalty
    self.presencePenalty = presencePenalty
    self.frequencyPenalty = frequencyPenalty
    self.seed = seed
  }

  /// Takes the most likely token; among equal logits, the one with the smallest id.
  public static let greedy = SamplingParameters()

  /// How far below the largest logit a token can be and still matter. Beyond 27.73 · temperature its weight is zero,
  /// because e^-27.73 · 2^40 < 1; with min-p and without top-p, tokens below min-p do not matter either.
  package var window: Float {
    let logarithm = minP > 0 && topP == 1 ? Float(-naturalLogarithm(Double(minP))) : 28
    return temperature * (min(logarithm, 27.9) + 0.1)
  }

  /// Whether top-p alone decides which tokens are kept.
  package var usesTopPAlone: Bool { temperature > 0 && topP < 1 && topK == 0 && minP == 0 && repetitionPenalty == 1 }

  /// - Throws: `EngineError.parameter` naming the first value out of range.
  package func validate() throws(EngineError) {
    func check(_ name: String, _ found: Float, _ valid: Bool, _ expected: String) throws(EngineError) {
      guard valid else { throw .parameter(name: name, found: "\(found)", expected: expected) }
    }
    try check(
      "temperature", temperature, temperature == 0 || (1e-6...100).contains(temperature), "0, or 0.000001 to 100")
    guard topK >= 0 else { throw .parameter(name: "top-k", found: "\(topK)", expected: "0 (all) or more") }
    try check("top-p", topP, topP > 0 && topP <= 1, "above 0, up to 1")
    try check("min-p", minP, (0...1).contains(minP), "0 to 1")
    try check(
      "repetition penalty", repetitionPenalty, repetitionPenalty > 0 && repetitionPenalty <= 100, "above 0, up to 100")
    for (name, penalty) in [("presence penalty", presencePenalty), ("frequency penalty", frequencyPenalty)] {
      try check(name, penalty, (-2...2).contains(penalty), "-2 to 2")
    }
  }

  /// The parameters as engines take them: they know no prompt's end, so `TokenPenalties` gives them these two penalties
  /// as biases.
  package var ofStep: SamplingParameters {
    var parameters = self
    (parameters.presencePenalty, parameters.frequencyPenalty) = (0, 0)
    return parameters
  }

  /// - Throws: as `validate()`, and for penalties that `ofStep` leaves out.
  func validateOfStep() throws(EngineError) {
    try validate()
    for (name, penalty) in [("presence", presencePenalty), ("frequency", frequencyPenalty)] where penalty != 0 {
      throw .parameter(name: "the \(name) penalty of a step", found: "\(penalty)", expected: "0, and biases")
    }
  }
}

extension SamplingParameters {
  private enum CodingKeys: CodingKey {
    case temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed
  }

  /// Reads what ``encode(to:)`` writes; presence and frequency penalties may be missing.
  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    self.init(
      temperature: try values.decode(Float.self, forKey: .temperature),
      topK: try values.decode(Int.self, forKey: .topK), topP: try values.decode(Float.self, forKey: .topP),
      minP: try values.decode(Float.self, forKey: .minP),
      repetitionPenalty: try values.decode(Float.self, forKey: .repetitionPenalty),
      presencePenalty: try values.decodeIfPresent(Float.self, forKey: .presencePenalty) ?? 0,
      frequencyPenalty: try values.decodeIfPresent(Float.self, forKey: .frequencyPenalty) ?? 0,
      seed: try values.decode(UInt64.self, forKey: .seed))
  }
}

/// Chooses tokens. The choice is a pure function of logits, parameters, the sequence's tokens and the position, and the
/// same on every device.
///
/// Probabilities are integers, `weight = trunc(e^(l - max) · 2^40)`. Their sums do not depend on the order of addition,
/// so a filter keeps the same tokens on every device. Filters keep a prefix of the tokens ordered by descending logit,
/// with ties by ascending id. The choice walks the kept tokens in ascending id until the running sum of weights exceeds
/// a 64-bit random fraction of their total.
package enum Sampler {
  private static let one: Float = 0x1p40

  /// - Parameters:
  ///   - logits: one for each token of the vocabulary; NaN counts as minus infinity.
  ///   - parameters: as `SamplingParameters.ofStep` gives them.
  ///   - history: the sequence's tokens, which the repetition penalty applies to.
  ///   - position: the position that the chosen token will have, which is the counter of the random generator.
  ///   - logProbabilities: how many of the most likely tokens to report log probabilities for, besides the chosen
  ///     token's; nil reports none.
  ///   - adjustment: changes to the logits before the token is chosen, which log probabilities do not see. Biases are
  ///     added first, before the repetition penalty; then the token is chosen among those that the mask allows, as if
  ///     the vocabulary had no others.
  ///   - kernels: the loops over the vocabulary.
  package static func sample(
    _ logits: UnsafeBufferPointer<Float>, parameters: SamplingParameters, history: [Int32], position: Int,
    logProbabilities: Int? = nil, adjustment: RowAdjustment? = nil, kernels: SamplerKernels = .scalar
  ) -> SampledToken {
    let chosen: Int
    if let adjustment {
      chosen = choose(
        logits, parameters: parameters, history: history, position: position, adjustment: adjustment, kernels: kernels)
    } else if parameters.temperature == 0 && parameters.repetitionPenalty == 1 {
      chosen = mostLikely(logits)
    } else {
      chosen = withUnsafeTemporaryAllocation(of: Float.self, capacity: logits.count) { adjusted in
        var unscaled = logits
        if parameters.repetitionPenalty != 1 {
          _ = adjusted.initialize(from: logits)
          penalize(adjusted, history: history, penalty: parameters.repetitionPenalty)
          unscaled = UnsafeBufferPointer(adjusted)
        }
        if parameters.temperature == 0 { return mostLikely(unscaled) }
        divide(unscaled, by: parameters.temperature, into: adjusted)
        return draw(UnsafeBufferPointer(adjusted), parameters: parameters, position: position, kernels)
      }
    }
    guard let logProbabilities else { return SampledToken(token: Int32(chosen), logProbability: nil, alternatives: []) }
    return describe(logits, chosen: chosen, alternatives: logProbabilities, kernels: kernels)
  }

  /// Chooses a token from changed logits.
  private static func choose(
    _ logits: UnsafeBufferPointer<Float>, parameters: SamplingParameters, history: [Int32], position: Int,
    adjustment: RowAdjustment, kernels: SamplerKernels
  ) -> Int {
    var parameters = parameters
    var adjusted = Array(logits)
    for bias in adjustment.biases { adjusted[Int(bias.token)] += bias.value }
    adjusted.withUnsafeMutableBufferPointer { penalize($0, history: history, penalty: parameters.repetitionPenalty) }
    parameters.repetitionPenalty = 1
    guard let ids = adjustment.mask?.tokens else {
      return adjusted.withUnsafeBufferPointer {
        Int(sample($0, parameters: parameters, history: [], position: position, kernels: kernels).token)
      }
    }
    let allowed = ids.map { adjusted[Int($0)] }
    return allowed.withUnsafeBufferPointer { allowed in
      ids.withUnsafeBufferPointer {
        Int(choose(allowed, ids: $0, parameters: parameters, position: position, kernels: kernels))
      }
    }
  }

  /// Chooses among candidates. Every omitted token must be outside the parameters' `window` or, with top-k, not among
  /// the k largest.
  ///
  /// - Parameters:
  ///   - ids: the candidates' ids, ascending, one for each logit.
  ///   - parameters: parameters without a repetition penalty.
  ///   - kernels: the loops over the vocabulary.
  /// - Returns: the same token as `sample` with all logits.
  package static func choose(
    _ logits: UnsafeBufferPointer<Float>, ids: UnsafeBufferPointer<Int32>, parameters: SamplingParameters,
    position: Int, kernels: SamplerKernels = .scalar
  ) -> Int32 {
    ids[Int(sample(logits, parameters: parameters, history: [], position: position, kernels: kernels).token)]
  }

  /// What is known of the tokens that are not among the candidates.
  package struct Unseen {
    /// At least the sum of their weights.
    package var weight: UInt64
    /// Their logits are below this.
    package var below: Float

    /// Creates bounds; see the properties.
    package init(weight: UInt64, below: Float) {
      self.weight = weight
      self.below = below
    }
  }

  /// Chooses among candidates of which top-p may keep only a part, without the other tokens' logits.
  ///
  /// These count for the weight that top-p asks for. If it asks for the same tokens whether they have no weight or all
  /// that they can have, and each of these tokens is a candidate, then the choice does not depend on them.
  ///
  /// - Parameters:
  ///   - ids: the candidates' ids, ascending, one for each logit.
  ///   - parameters: parameters whose `usesTopPAlone` is true.
  ///   - unseen: bounds of the other tokens.
  ///   - kernels: the loops over the vocabulary.
  /// - Returns: the same token as `sample` with all logits; nil if it depends on the other tokens' logits.
  package static func choose(
    _ logits: UnsafeBufferPointer<Float>, ids: UnsafeBufferPointer<Int32>, parameters: SamplingParameters,
    position: Int, unseen: Unseen, kernels: SamplerKernels = .scalar
  ) -> Int32? {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: logits.count) { scaled in
      divide(logits, by: parameters.temperature, into: scaled)
      let scaled = UnsafeBufferPointer(scaled)
      guard !scaled.isEmpty else { return nil }
      let best = mostLikely(scaled)
      guard scaled[best].isFinite else { return nil }
      return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: logits.count) { weights in
        let total = kernels.weights(scaled, scaled[best], weights.baseAddress!)
        var order = TokenOrder(scaled, UnsafeBufferPointer(weights), best: best, kernels)
        let kept = order.filter(parameters, total: total + unseen.weight)
        guard kept.suffices, scaled[TokenOrder.token(kept.last)] > unseen.below / parameters.temperature,
          order.filter(parameters, total: total).last == kept.last
        else { return nil }
        return ids[order.token(at: target(parameters, position: position, of: kept.weight), of: kept)]
      }
    }
  }

  /// The negative log probability of a token, in nats.
  static func surprise(at token: Int32, _ logits: UnsafeBufferPointer<Float>) -> Double {
    let largest = Double(logits.max() ?? 0)
    let total = logits.reduce(0.0) { $0 + doubleExponential(Double($1) - largest) }
    return largest + naturalLogarithm(total) - Double(logits[Int(token)])
  }

  private typealias Lanes = SIMD16<Float>

  @inline(__always)
  private static func vector(_ logits: UnsafeBufferPointer<Float>, at start: Int) -> Lanes {
    UnsafeRawBufferPointer(logits).loadUnaligned(fromByteOffset: start * MemoryLayout<Float>.size, as: Lanes.self)
  }

  /// The index of the largest logit; among equal logits, the smallest index.
  static func mostLikely(_ logits: UnsafeBufferPointer<Float>) -> Int {
    var lanes = Lanes(repeating: -.infinity)
    let whole = logits.count / Lanes.scalarCount * Lanes.scalarCount
    for start in stride(from: 0, to: whole, by: Lanes.scalarCount) {
      let next = vector(logits, at: start)
      lanes.replace(with: next, where: next .> lanes)
    }
    var largest = lanes.max()
    for logit in logits[whole...] where logit > largest { largest = logit }
    return largest > -.infinity ? logits.firstIndex(of: largest)! : 0
  }

  /// Initialises `quotients`, which may be the same memory.
  private static func divide(
    _ logits: UnsafeBufferPointer<Float>, by temperature: Float, into quotients: UnsafeMutableBufferPointer<Float>
  ) {
    let divisor = Lanes(repeating: temperature)
    let whole = logits.count / Lanes.scalarCount * Lanes.scalarCount
    let bytes = UnsafeMutableRawBufferPointer(quotients)
    for start in stride(from: 0, to: whole, by: Lanes.scalarCount) {
      bytes.storeBytes(
        of: vector(logits, at: start) / divisor, toByteOffset: start * MemoryLayout<Float>.size, as: Lanes.self)
    }
    for index in whole..<logits.count { quotients.initializeElement(at: index, to: logits[index] / temperature) }
  }

  private static func penalize(_ logits: UnsafeMutableBufferPointer<Float>, history: [Int32], penalty: Float) {
    guard penalty != 1 else { return }
    for token in Set(history) where logits.indices.contains(Int(token)) {
      logits[Int(token)] = penalized(logits[Int(token)], by: penalty)
    }
  }

  /// The logit of a token that the sequence holds.
  package static func penalized(_ logit: Float, by penalty: Float) -> Float {
    logit > 0 ? logit / penalty : logit * penalty
  }

  /// Draws one of the tokens kept by the filters.
  private static func draw(
    _ logits: UnsafeBufferPointer<Float>, parameters: SamplingParameters, position: Int, _ kernels: SamplerKernels
  ) -> Int {
    let best = mostLikely(logits)
    let largest = logits[best]
    guard largest.isFinite else { return best }
    return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: logits.count) { weights in
      let total = kernels.weights(logits, largest, weights.baseAddress!)
      guard parameters.topK > 0 || parameters.topP < 1 || parameters.minP > 0 else {
        let target = target(parameters, position: position, of: total)
        var sum: UInt64 = 0
        return logits.indices.first { index in
          sum += weights[index]
          return sum > target
        } ?? best
      }
      var order = TokenOrder(logits, UnsafeBufferPointer(weights), best: best, kernels)
      let kept = order.filter(parameters, total: total)
      return order.token(at: target(parameters, position: position, of: kept.weight), of: kept)
    }
  }

  /// A random fraction of a weight.
  private static func target(_ parameters: SamplingParameters, position: Int, of weight: UInt64) -> UInt64 {
    Philox.random64(key: parameters.seed, counter: UInt64(position)).multipliedFullWidth(by: weight).high
  }

  /// Reports the log probabilities of the chosen and the most likely tokens under the unchanged logits.
  ///
  /// - Parameters:
  ///   - chosen: a token's id, whether or not sampling would choose it.
  ///   - alternatives: how many of the most likely tokens to report.
  ///   - kernels: the loops over the vocabulary.
  package static func describe(
    _ logits: UnsafeBufferPointer<Float>, chosen: Int, alternatives: Int, kernels: SamplerKernels = .scalar
  ) -> SampledToken {
    let largest = logits[mostLikely(logits)]
    let total = kernels.weights(logits, largest, nil)
    var top: [Int] = []
    if alternatives > 0 {
      for index in logits.indices where !logits[index].isNaN {
        if top.count == alternatives, logits[index] <= logits[top[alternatives - 1]] { continue }
        let place = top.firstIndex { logits[$0] < logits[index] } ?? top.count
        top.insert(index, at: place)
        if top.count > alternatives { top.removeLast() }
      }
    }
    return describe(
      Int32(chosen), logit: logits[chosen], largest: largest, total: total,
      top: top.map { (token: Int32($0), logit: logits[$0]) })
  }

  /// Reports log probabilities.
  ///
  /// - Parameters:
  ///   - chosen: a token's id.
  ///   - logit: its logit.
  ///   - largest: the largest logit.
  ///   - total: the sum of all weights relative to it.
  ///   - top: the most likely tokens, to be reported too.
  package static func describe(
    _ chosen: Int32, logit: Float, largest: Float, total: UInt64, top: some Sequence<(token: Int32, logit: Float)>
  ) -> SampledToken {
    let normalizer = Double(largest) + naturalLogarithm(Double(total) / Double(one))
    func logProbability(_ logit: Float) -> Float { Float(Double(logit) - normalizer) }
    return SampledToken(
      token: chosen, logProbability: logProbability(logit),
      alternatives: top.map { .init(token: $0.token, logProbability: logProbability($0.logit)) })
  }
}

/// The counter-based random generator Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
/// 2011).
package enum Philox {
  /// The four 32-bit words for a counter and a key.
  package static func block(counter: (UInt32, UInt32, UInt32, UInt32), key: (UInt32, UInt32)) -> (
    UInt32, UInt32, UInt32, UInt32
  ) {
    var (c, k) = (counter, key)
    for _ in 0..<10 {
      let a = UInt64(0xD251_1F53) * UInt64(c.0)
      let b = UInt64(0xCD9E_8D57) * UInt64(c.2)
      c = (
        UInt32(b >> 32) ^ c.1 ^ k.0, UInt32(truncatingIfNeeded: b), UInt32(a >> 32) ^ c.3 ^ k.1,
        UInt32(truncatingIfNeeded: a)
      )
      k = (k.0 &+ 0x9E37_79B9, k.1 &+ 0xBB67_AE85)
    }
    return c
  }

  /// 64 random bits, made of the first two words with the first as the low half.
  package static func random64(key: UInt64, counter: UInt64) -> UInt64 {
    let words = block(
      counter: (UInt32(truncatingIfNeeded: counter), UInt32(counter >> 32), 0, 0),
      key: (UInt32(truncatingIfNeeded: key), UInt32(key >> 32)))
    return UInt64(words.0) | UInt64(words.1) << 32
  }
}

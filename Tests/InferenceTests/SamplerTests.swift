import Foundation
import BitNetInference
import BitNetRandomModels
import TestSupport
import Testing

/// The tokens that the filters keep, computed the simple way: sort all tokens, then cut.
private func kept(_ logits: [Float], _ parameters: SamplingParameters) -> [Int] {
  let largest = logits.filter { !$0.isNaN }.max()!
  let scaled = logits.map { $0 / parameters.temperature }
  let top = largest / parameters.temperature
  let weights = scaled.map { logit -> UInt64 in
    let value = canonicalExponential(logit - top)
    return value > 0 ? UInt64(value * 0x1p40) : 0
  }
  var order = logits.indices.filter { weights[$0] > 0 }.sorted {
    scaled[$0] > scaled[$1] || (scaled[$0] == scaled[$1] && $0 < $1)
  }
  if parameters.topK > 0 { order = Array(order.prefix(parameters.topK)) }
  if parameters.topP < 1 {
    let goal = (Double(parameters.topP) * Double(order.reduce(0) { $0 + weights[$1] })).rounded(.up)
    var sum: UInt64 = 0
    var count = 0
    while count < order.count, Double(sum) < goal {
      sum += weights[order[count]]
      count += 1
    }
    order = Array(order.prefix(count))
  }
  return order.filter { Float(weights[$0]) >= parameters.minP * 0x1p40 || $0 == order[0] }
}

private func draw(_ logits: [Float], _ parameters: SamplingParameters, history: [Int32] = [], position: Int)
  -> SampledToken
{
  logits.withUnsafeBufferPointer { Sampler.sample($0, parameters: parameters, history: history, position: position) }
}

@Suite("The sampler")
struct SamplerTests {
  @Test("filters logits so large that their differences vanish in rounding")
  func enormousLogits() {
    for (logits, temperature) in [([2e8, 0, 2e8], 1), ([10, 0, 10], 1e-8), ([3e38, -3e38, 3e38], 1)]
      as [([Float], Float)]
    {
      for (topK, topP) in [(1, 1), (2, 1), (0, 0.9)] as [(Int, Float)] {
        let token = draw(logits, .init(temperature: temperature, topK: topK, topP: topP, seed: 1), position: 4).token
        #expect(token == 0 || (token == 2 && topK != 1), "\(logits), top-k \(topK), top-p \(topP)")
      }
    }
  }

  @Test("draws only tokens that the filters keep, and draws every likely one", arguments: 1...40)
  func filters(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    let count = Int.random(in: 1...60, using: &generator)
    // Take logits from a coarse grid, so that some tie.
    var logits = (0..<count).map { _ in Float(Int.random(in: -12...12, using: &generator)) / 4 }
    if seed % 5 == 0 { logits[count / 2] = .nan }
    if seed % 7 == 0 { logits[count / 3] = -.infinity }
    let hasFinite = logits.contains(where: \.isFinite)
    try #require(hasFinite, "seed \(seed)")
    let parameters = SamplingParameters(
      temperature: Float.random(in: 0.3...2, using: &generator), topK: Int.random(in: 0...20, using: &generator),
      topP: Bool.random(using: &generator) ? 1 : Float.random(in: 0.1...1, using: &generator),
      minP: Bool.random(using: &generator) ? 0 : Float.random(in: 0...0.5, using: &generator), seed: UInt64(seed))
    let expected = Set(kept(logits, parameters))
    var seen: Set<Int> = []
    for position in 0..<4000 { seen.insert(Int(draw(logits, parameters, position: position).token)) }
    #expect(seen.isSubset(of: expected), "seed \(seed)")
    // Only likely tokens must appear: 4000 draws miss a token of probability 0.001 once in 50 times.
    let likely = expected.filter {
      logits[$0] / parameters.temperature > logits.filter { !$0.isNaN }.max()! / parameters.temperature - 3
    }
    #expect(likely.isSubset(of: seen), "seed \(seed)")
  }

  @Test("draws tokens as often as their probabilities predict")
  func frequencies() {
    let logits: [Float] = [0, 1, 2, 3, -1, 0.5]
    let parameters = SamplingParameters(temperature: 1.3, seed: 99)
    let weights = logits.map { exp(Double($0) / 1.3) }
    let total = weights.reduce(0, +)
    let draws = 40000
    var counts = [Double](repeating: 0, count: logits.count)
    for position in 0..<draws { counts[Int(draw(logits, parameters, position: position).token)] += 1 }
    let chiSquare = zip(counts, weights).reduce(0) { sum, pair in
      let expected = Double(draws) * pair.1 / total
      return sum + (pair.0 - expected) * (pair.0 - expected) / expected
    }
    #expect(chiSquare < 20.5, "5 degrees of freedom: above 20.5 once in a thousand")
  }

  @Test("chooses among candidates what it chooses among all, or says that the others matter")
  func unseen() {
    var chosen = 0
    var refused = 0
    for seed in 1...60 {
      var generator = SeededGenerator(seed: UInt64(seed))
      let count = Int.random(in: 1...400, using: &generator)
      // Every third time from a coarse grid, so that some tie.
      let spread = Float.random(in: 0.5...20, using: &generator)
      var logits = (0..<count).map { _ in Float.random(in: -spread...spread, using: &generator) }
      if seed % 3 == 0 { logits = logits.map { $0.rounded() } }
      let parameters = SamplingParameters(
        temperature: Float.random(in: 0.1...3, using: &generator), topP: Float.random(in: 0.05..<1, using: &generator),
        seed: UInt64(seed))
      let largest = logits.max()!
      for position in 0..<200 {
        let below = largest - parameters.temperature * Float.random(in: 0...16, using: &generator)
        let seen = logits.indices.filter { logits[$0] >= below || Bool.random(using: &generator) && position % 2 == 0 }
        let rest = Set(logits.indices).subtracting(seen)
        let weight = rest.reduce(0.0) { $0 + exp(Double(logits[$1] - largest) / Double(parameters.temperature)) }
        // A bound, at times much too high.
        let bound = UInt64((weight * (position % 3 == 0 ? 1.001 : 4) + 1e-6) * 0x1p40)
        let found = seen.map { logits[$0] }.withUnsafeBufferPointer { logits in
          seen.map { Int32($0) }.withUnsafeBufferPointer { ids in
            Sampler.choose(
              logits, ids: ids, parameters: parameters, position: position, unseen: .init(weight: bound, below: below))
          }
        }
        if let found {
          #expect(found == draw(logits, parameters, position: position).token, "seed \(seed), position \(position)")
          chosen += 1
        } else {
          refused += 1
        }
      }
    }
    #expect(chosen > 1000 && refused > 1000, "\(chosen) chosen, \(refused) refused")
  }

  @Test("takes the smallest id among equal logits when greedy, and ignores NaN")
  func greedyTies() {
    #expect(draw([1, 3, 3, 2], .greedy, position: 0).token == 1)
    #expect(draw([.nan, 1, .nan, 1], .greedy, position: 0).token == 1)
    #expect(draw([.nan, .nan], .greedy, position: 0).token == 0)
    #expect(draw([.nan, .nan], SamplingParameters(temperature: 1), position: 0).token == 0)
  }

  @Test("takes the first of the largest logits of any number when greedy", arguments: 1...200)
  func greedy(count: Int) {
    var generator = SeededGenerator(seed: UInt64(count))
    let values: [Float] = [.nan, -.infinity, -2, -0.0, 0, 1, 1.5, .infinity]
    let logits = (0..<count).map { _ in values[Int.random(in: 0..<values.count, using: &generator)] }
    let largest = logits.filter { !$0.isNaN }.max() ?? -.infinity
    let first = largest > -.infinity ? logits.firstIndex(of: largest)! : 0
    #expect(draw(logits, .greedy, position: 0).token == Int32(first))
  }

  @Test("penalises tokens that the sequence holds")
  func repetition() {
    var parameters = SamplingParameters.greedy
    parameters.repetitionPenalty = 2
    #expect(draw([4, 3, -1], parameters, history: [0, 0], position: 0).token == 1)
    #expect(draw([-1, -1.5], parameters, history: [0], position: 0).token == 1)
  }

  @Test("draws the same token for the same seed and position")
  func counterBased() {
    let logits = [Float](repeating: 0, count: 1000)
    let parameters = SamplingParameters(temperature: 1, seed: 5)
    let first = (0..<20).map { draw(logits, parameters, position: $0).token }
    let again = (0..<20).reversed().map { draw(logits, parameters, position: $0).token }
    #expect(first == again.reversed())
    #expect(Set(first).count > 15)
    #expect(first != (0..<20).map { draw(logits, SamplingParameters(temperature: 1, seed: 6), position: $0).token })
  }

  @Test("reports log probabilities of the unchanged logits")
  func logProbabilities() {
    let logits: [Float] = [1, 2, 0.5, 2]
    let normalizer = log(logits.reduce(0) { $0 + exp(Double($1)) })
    let sampled = logits.withUnsafeBufferPointer {
      Sampler.sample(
        $0, parameters: SamplingParameters(temperature: 0.1, topK: 1), history: [], position: 0, logProbabilities: 3)
    }
    #expect(sampled.token == 1)
    #expect(abs(Double(sampled.logProbability!) - (2 - normalizer)) < 1e-6)
    #expect(sampled.alternatives.map(\.token) == [1, 3, 0])
    #expect(abs(Double(sampled.alternatives[2].logProbability) - (1 - normalizer)) < 1e-6)
  }

  @Test(
    "refuses parameters out of range",
    arguments: [
      SamplingParameters(temperature: -1), SamplingParameters(temperature: .nan),
      SamplingParameters(temperature: .infinity),
      SamplingParameters(topK: -1), SamplingParameters(topP: 0), SamplingParameters(topP: 1.1),
      SamplingParameters(topP: .nan),
      SamplingParameters(minP: -0.1), SamplingParameters(minP: 2), SamplingParameters(repetitionPenalty: 0),
    ])
  func badParameters(parameters: SamplingParameters) {
    #expect(throws: EngineError.self) { try parameters.validate() }
  }

  @Test("uses Philox 4x32-10, which gives its authors' known answers")
  func philox() {
    let zero = Philox.block(counter: (0, 0, 0, 0), key: (0, 0))
    #expect(zero == (0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
    let ones = Philox.block(counter: (.max, .max, .max, .max), key: (.max, .max))
    #expect(ones == (0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
    let pi = Philox.block(
      counter: (0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), key: (0xa409_3822, 0x299f_31d0))
    #expect(pi == (0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
  }
}

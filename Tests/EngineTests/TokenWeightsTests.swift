import BitNetCPUEngine
import BitNetInference
import BitNetRandomModels
import TestSupport
import Testing

@Suite("The kernels' weights of tokens")
struct TokenWeightsTests {
  @Test("are the sampler's, for every instruction set", arguments: [1, 16, 1000, 4099])
  func weights(count: Int) {
    var generator = SeededGenerator(seed: UInt64(count))
    var logits = (0..<count).map { _ in Float.random(in: -40...20, using: &generator) }
    logits[0] = 20.5
    for index in stride(from: 3, to: count, by: 50) { logits[index] = index % 100 < 50 ? .nan : -.infinity }
    func weights(_ compute: Sampler.Weights) -> (each: [UInt64], sum: UInt64, onlySum: UInt64) {
      var each = [UInt64](repeating: 1, count: count)
      let sums = logits.withUnsafeBufferPointer { logits in
        (compute(logits, 20.5, &each), compute(logits, 20.5, nil))
      }
      return (each, sums.0, sums.1)
    }
    let expected = weights(Sampler.scalarWeights)
    #expect(expected.each[0] == 1 << 40)
    #expect(expected.sum == expected.each.reduce(0, +) && expected.onlySum == expected.sum)
    for set in InstructionSet.available {
      #expect(weights(set.kernels.weights) == expected, "\(set.rawValue), \(count) logits")
    }
  }
}

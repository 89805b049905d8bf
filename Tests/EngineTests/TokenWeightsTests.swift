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
    func weights(_ kernels: SamplerKernels) -> (each: [UInt64], sum: UInt64, onlySum: UInt64) {
      var each = [UInt64](repeating: 1, count: count)
      let sums = logits.withUnsafeBufferPointer { logits in
        (kernels.weights(logits, 20.5, &each), kernels.weights(logits, 20.5, nil))
      }
      return (each, sums.0, sums.1)
    }
    let expected = weights(.scalar)
    #expect(expected.each[0] == 1 << 40)
    #expect(expected.sum == expected.each.reduce(0, +) && expected.onlySum == expected.sum)
    for set in InstructionSet.available {
      #expect(weights(set.kernels.sampler) == expected, "\(set.rawValue), \(count) logits")
    }
  }

  @Test("find the same logits for every instruction set", arguments: [1, 16, 17, 1000, 4099])
  func indices(count: Int) {
    var generator = SeededGenerator(seed: UInt64(count))
    var logits = (0..<count).map { _ in Float(Int.random(in: -40...20, using: &generator)) }
    for index in stride(from: 3, to: count, by: 50) { logits[index] = index % 100 < 50 ? .nan : .infinity }
    for least in [-.infinity, -40, -3, 20, 21, .infinity, .nan] as [Float] {
      func indices(_ kernels: SamplerKernels) -> [Int32] {
        [Int32](unsafeUninitializedCapacity: (count + 15) / 16 * 16) { found, initialized in
          initialized = logits.withUnsafeBufferPointer { kernels.indices($0, least, found.baseAddress!) }
        }
      }
      let expected = logits.indices.filter { logits[$0] >= least }.map { Int32($0) }
      #expect(indices(.scalar) == expected)
      for set in InstructionSet.available {
        #expect(indices(set.kernels.sampler) == expected, "\(set.rawValue), \(count) logits from \(least)")
      }
    }
  }
}

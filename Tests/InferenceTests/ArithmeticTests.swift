import BitNetRandomModels
import Foundation
import BitNetInference
import TestSupport
import Testing

@Suite("Canonical arithmetic")
struct ArithmeticTests {
  @Test("has an exponential within one unit in the last place, which is 0 below -87 and never traps")
  func exponential() {
    var generator = SeededGenerator(seed: 3)
    for _ in 0..<200_000 {
      let x = Float.random(in: -87...88, using: &generator)
      let exact = exp(Double(x))
      #expect(abs(Double(canonicalExponential(x)) - exact) <= Double(Float(exact).ulp))
    }
    #expect(canonicalExponential(0) == 1)
    #expect(canonicalExponential(-87.01) == 0)
    #expect(canonicalExponential(-.infinity) == 0)
    #expect(canonicalExponential(.infinity) == canonicalExponential(88))
    #expect(canonicalExponential(.nan).isNaN)
  }

  @Test("computes theta^x in single precision to about one unit in the last place, and never traps")
  func power() {
    var generator = SeededGenerator(seed: 4)
    for _ in 0..<100_000 {
      let theta = exp(Float.random(in: 0...20, using: &generator))
      let exponent = Float.random(in: 0...1, using: &generator)
      let exact = pow(Double(theta), Double(exponent))
      #expect(abs(Double(singlePrecisionPower(theta, exponent)) - exact) <= 1.05 * Double(Float(exact).ulp))
    }
    // NumPy's power is not correctly rounded here, and the oracle's frequencies depend on these values.
    #expect(singlePrecisionPower(500_000, 0.03125) != Float(pow(500_000.0, 0.03125)))
    #expect(singlePrecisionPower(10_000, 0.15625) != Float(pow(10_000.0, 0.15625)))
    for wild in [Float.nan, .infinity, -1, 0, .leastNonzeroMagnitude] { _ = singlePrecisionPower(wild, 0.5) }
  }

  @Test("keeps short rotary wavelengths, stretches long ones and blends in between")
  func rotaryScaling() {
    var configuration = ModelConfiguration(
      architecture: "test", vocabularySize: 8, hiddenSize: 64, feedForwardSize: 64, layerCount: 1, headCount: 1,
      keyValueHeadCount: 1, headSize: 64, contextLength: 512, normEpsilon: 1e-5, ropeTheta: 500_000, activation: .silu,
      tiedEmbedding: true)
    func angles() -> [Double] {
      var table = RotaryTable(configuration)
      table.extend(to: 2)
      return table.sines[32...].map { asin($0) }
    }
    let plain = angles()
    configuration.ropeScaling = .init(
      factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContextLength: 128)
    let scaled = angles()
    for (plain, scaled) in zip(plain, scaled).dropFirst() {
      let wavelength = 2 * Double.pi / plain
      if wavelength < 31.9 { #expect(scaled == plain) }
      if wavelength > 128.1 { #expect(abs(scaled / plain - 0.125) < 1e-5) }
      #expect(scaled <= plain && scaled >= plain / 8.001)
    }
  }
}

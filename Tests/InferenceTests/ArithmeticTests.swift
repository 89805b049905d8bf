import BitNetRandomModels
import Foundation
import BitNetInference
import TestSupport
import Testing

@Suite("Canonical arithmetic")
struct ArithmeticTests {
  @Test("The exponential is within a unit in the last place, 0 below -87, and never traps")
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

  @Test("The rotary power is single precision theta^x to about one unit in the last place, and never traps")
  func power() {
    var generator = SeededGenerator(seed: 4)
    for _ in 0..<100_000 {
      let theta = exp(Float.random(in: 0...20, using: &generator))
      let exponent = Float.random(in: 0...1, using: &generator)
      let exact = pow(Double(theta), Double(exponent))
      #expect(abs(Double(singlePrecisionPower(theta, exponent)) - exact) <= 1.05 * Double(Float(exact).ulp))
    }
    // Values where NumPy's power is not the correctly rounded one: the oracle's frequencies depend on them.
    #expect(singlePrecisionPower(500_000, 0.03125) != Float(pow(500_000.0, 0.03125)))
    #expect(singlePrecisionPower(10_000, 0.15625) != Float(pow(10_000.0, 0.15625)))
    for wild in [Float.nan, .infinity, -1, 0, .leastNonzeroMagnitude] { _ = singlePrecisionPower(wild, 0.5) }
  }

  @Test("Rotary scaling keeps short wavelengths, stretches long ones and blends between")
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

  @Test("A configuration out of range is refused by the field's name")
  func configurationRanges() {
    let good = ModelConfiguration(
      architecture: "test", vocabularySize: 8, hiddenSize: 64, feedForwardSize: 64, layerCount: 1, headCount: 4,
      keyValueHeadCount: 2, headSize: 16, contextLength: 512, normEpsilon: 1e-5, ropeTheta: 500_000, activation: .silu,
      tiedEmbedding: true, beginToken: 1, endTokens: [2])
    #expect(throws: Never.self) { try good.validate() }
    let changes: [(String, (inout ModelConfiguration) -> Void)] = [
      ("vocab_size", { $0.vocabularySize = 0 }), ("hidden_size", { $0.hiddenSize = -1 }),
      ("intermediate_size", { $0.feedForwardSize = .max }), ("num_hidden_layers", { $0.layerCount = 1 << 40 }),
      ("num_attention_heads", { $0.headCount = 0 }), ("num_key_value_heads", { $0.keyValueHeadCount = 3 }),
      ("num_key_value_heads", { $0.keyValueHeadCount = 0 }), ("head_dim", { $0.headSize = 15 }),
      ("head_dim", { $0.headSize = 0 }),
      ("max_position_embeddings", { $0.contextLength = 0 }), ("rms_norm_eps", { $0.normEpsilon = .nan }),
      ("rope_theta", { $0.ropeTheta = 0 }), ("rope_theta", { $0.ropeTheta = .infinity }),
      ("bos_token_id or eos_token_id", { $0.endTokens = [8] }),
      ("bos_token_id or eos_token_id", { $0.beginToken = -1 }),
      (
        "rope_scaling.factor",
        { $0.ropeScaling = .init(factor: 0, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContextLength: 8) }
      ),
    ]
    for (field, change) in changes {
      var bad = good
      change(&bad)
      do {
        try bad.validate()
        Issue.record("\(field) was accepted")
      } catch {
        #expect(error.field == field)
      }
    }
  }
}

import BitNetModelFiles
import BitNetInference
import TestSupport
import Testing

@Suite("The reference engine against the oracle")
struct ReferenceTests {
  @Test("Double is within 1e-9 relative L2 of float64 on every row", arguments: Fixture.all, [1, 7, 64])
  func doubleMatchesOracle(fixture: Fixture, length: Int) throws {
    let weights = try fixture.load().weights
    let logits = try ReferenceEngine(weights: weights, precision: .double).logits(fixture.prompt(length))
    let expected = try fixture.float64Logits(length)
    let vocabulary = weights.configuration.vocabularySize
    #expect(logits.count == expected.count)
    for row in 0..<length {
      let range = row * vocabulary..<(row + 1) * vocabulary
      let difference = zip(logits[range], expected[range]).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
      let norm = expected[range].reduce(0) { $0 + $1 * $1 }
      #expect((difference / norm).squareRoot() < 1e-9, "row \(row)")
    }
  }

  @Test(
    "Float stays inside the spread between float32 and bfloat16", arguments: Fixture.withTransformers, [1, 7, 64, 200])
  func floatIsInsideSpread(fixture: Fixture, length: Int) throws {
    let weights = try fixture.load().weights
    let engine = ReferenceEngine(weights: weights, precision: .float)
    let logits = try engine.logits(fixture.prompt(length))
    let verdict = try LogitsCheck(
      fixture, length: length, logits: logits, vocabulary: weights.configuration.vocabularySize)
    #expect(verdict.isInside, "\(verdict)")
  }
}

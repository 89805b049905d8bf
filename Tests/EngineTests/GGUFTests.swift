import BitNetCPUEngine
import BitNetInference
import BitNetModelFiles
import Foundation
import TestSupport
import Testing

@Suite("Models of GGUF files")
struct GGUFTests {
  @Test(
    "Double is within 1e-9 of float64, and the CPU engine gives the Float reference's bits",
    arguments: Fixture.all, GGUFTernaryType.allCases)
  func engines(fixture: Fixture, type: GGUFTernaryType) throws {
    let path = NSTemporaryDirectory() + "gguf-\(UUID().uuidString).gguf"
    defer { try? FileManager.default.removeItem(atPath: path) }
    let columns = try fixture.load().weights.configuration.hiddenSize
    // Rows of TQ2_0 are whole blocks of 256.
    guard type == .i2_S || columns % 256 == 0 else { return }
    try ModelConverter.convert(from: fixture.path, to: path, type: type)
    let weights = try ModelLoader.load(path: path).weights
    let vocabulary = weights.configuration.vocabularySize
    for length in [1, 7, 64] {
      let prompt = try fixture.prompt(length)
      let logits = try ReferenceEngine(weights: weights, precision: .double).logits(prompt)
      let expected = try fixture.float64Logits(length)
      for row in 0..<length {
        let range = row * vocabulary..<(row + 1) * vocabulary
        let difference = zip(logits[range], expected[range]).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        let norm = expected[range].reduce(0) { $0 + $1 * $1 }
        #expect((difference / norm).squareRoot() < 1e-9, "row \(row)")
      }
    }
    let prompt = try fixture.prompt(64)
    let reference = try TestSupport.logits(
      ReferenceEngine(weights: weights, precision: .float), prompt, chunks: [64])
    let found = try TestSupport.logits(CPUEngine(weights: weights, threads: 2), prompt, chunks: [64])
    let same = identical(found, reference)
    #expect(same)
  }
}

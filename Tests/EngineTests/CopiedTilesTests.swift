import BitNetCPUEngine
import Foundation
import BitNetInference
import BitNetRandomModels
import BitNetModelFiles
import BitNetTernary
import TestSupport
import Testing

/// Continues a sequence with tokens and returns their logits.
private func row(_ engine: some Engine, _ id: SequenceID, _ tokens: [Int32]) throws -> [Float] {
  try engine.step(Batch([.init(sequence: id, tokens: tokens, rows: .all)]))[0].values
}

@Suite("Tiles copied out of the file")
struct CopiedTilesTests {
  @Test(
    "Logits are the same before, while and after layers are copied", arguments: [(1, 1), (3, 2), (20, 3), (40, 8)])
  func copying(layers: Int, threads: Int) throws {
    var generator = SeededGenerator(seed: UInt64(layers))
    var configuration = ModelConfiguration.random(using: &generator)
    configuration.layerCount = layers
    let weights = try ModelWeights(random: configuration, seed: 1)
    let copied = try CPUEngine(weights: weights, threads: threads, copiesTiles: true)
    let plain = try CPUEngine(weights: weights, threads: threads, copiesTiles: false)
    let ids = (copied.makeSequence(), plain.makeSequence())
    var amounts: [Int] = []
    for step in 0..<70 {
      let token = Int32.random(in: 0..<Int32(configuration.vocabularySize), using: &generator)
      let same = identical(try row(copied, ids.0, [token]), try row(plain, ids.1, [token]))
      #expect(same, "\(layers) layers, \(threads) threads, step \(step), \(configuration)")
      amounts.append(copied.copiedByteCount)
    }
    // The first step does not wait for a copy, layers are copied over several steps, and the last step has all of them.
    #expect(amounts[0] == 0 && amounts == amounts.sorted() && amounts.last == weights.tileByteCount)
    #expect(Set(amounts).count > min(layers, 3))
    #expect(plain.copiedByteCount == 0)
  }

  @Test("Layers of a mapped file are copied while its pages are released", arguments: Fixture.withTransformers)
  func mapped(fixture: Fixture) throws {
    let path = NSTemporaryDirectory() + "copied-tiles-\(UUID().uuidString).safetensors"
    defer { try? FileManager.default.removeItem(atPath: path) }
    try ModelConverter.convert(from: fixture.path, to: path)
    let weights = try ModelLoader.load(path: path).weights
    let prompt = try fixture.prompt(64)
    let reference = ReferenceEngine(weights: try fixture.load().weights, precision: .float)
    let engine = try CPUEngine(weights: weights, threads: 2, copiesTiles: true)
    let id = (engine.makeSequence(), reference.makeSequence())
    for start in stride(from: 0, to: 40, by: 2) {
      if start == 20 { engine.finishCopying() }
      if start == 0 || start >= 20 { #expect(engine.copiedByteCount == (start < 20 ? 0 : weights.tileByteCount)) }
      let tokens = Array(prompt[start..<start + 2])
      let same = identical(try row(engine, id.0, tokens), try row(reference, id.1, tokens))
      #expect(same, "\(fixture), from token \(start)")
    }
    // By default, an engine leaves such a small model in its file.
    let unasked = try CPUEngine(weights: weights, threads: 1)
    unasked.finishCopying()
    #expect(unasked.copiedByteCount == 0)
  }

  @Test("Models without a file are not copied")
  func leftAlone() throws {
    var generator = SeededGenerator(seed: 5)
    let engine = try CPUEngine(weights: ModelWeights(random: .random(using: &generator), seed: 1), threads: 2)
    let id = engine.makeSequence()
    for _ in 0..<40 { _ = try engine.step(Batch([.init(sequence: id, tokens: [0], rows: .none)])) }
    engine.finishCopying()
    #expect(engine.copiedByteCount == 0)
  }
}

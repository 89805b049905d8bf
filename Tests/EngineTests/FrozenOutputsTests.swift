import BitNetCPUEngine
import BitNetHash
import BitNetInference
import BitNetModelFiles
import BitNetRandomModels
import BitNetTernary
import Foundation
import TestSupport
import Testing

/// Digests of logits and of sampled tokens, committed with the version of the arithmetic that gives them. If one
/// differs, bits have changed: `arithmeticVersion` must then go up by one, and frozen-outputs.json get the digests that
/// the failure names.
@Suite("Frozen outputs")
struct FrozenOutputsTests {
  private struct Frozen: Decodable {
    let arithmetic: Int
    let digests: [String: String]
  }

  private func frozen() throws -> Frozen {
    try JSONDecoder().decode(
      Frozen.self, from: Data(contentsOf: URL(filePath: Repository.path("Tests/Fixtures/frozen-outputs.json"))))
  }

  private func check(_ name: String, _ weights: ModelWeights, length: Int, tokens: Int) throws {
    let found = try Self.digest(weights, length: length, tokens: tokens)
    let frozen = try frozen()
    #expect(
      found == frozen.digests[name],
      """
      \(name) gives other bits than version \(frozen.arithmetic) of the arithmetic; found \(found). If that is \
      intended, raise arithmeticVersion and write the found digests into frozen-outputs.json.
      """)
  }

  /// The hash of the logits after each token of a prompt, and of the tokens that several samplings choose after it.
  private static func digest(_ weights: ModelWeights, length: Int, tokens: Int) throws -> String {
    let engine = try CPUEngine(weights: weights, contextLength: length + tokens + 1)
    let vocabulary = weights.configuration.vocabularySize
    var generator = SeededGenerator(seed: 15)
    let prompt = (0..<length).map { _ in Int32.random(in: 0..<Int32(vocabulary), using: &generator) }
    var hash = SHA256()
    let logits = try logits(engine, prompt, chunks: [1, 1, 1, 1, length - 4])
    logits.withUnsafeBytes { hash.update($0) }
    let samplings: [SamplingParameters] = [
      .greedy, .init(temperature: 0.8, seed: 1), .init(temperature: 1.3, topK: 20, topP: 0.9, minP: 0.01, seed: 2),
      .init(temperature: 0.6, repetitionPenalty: 1.3, seed: .max),
    ]
    for sampling in samplings {
      let sequence = engine.makeSequence(startingWith: prompt)
      let entry = Batch.Entry(
        sequence: sequence.id, tokens: Array(prompt[sequence.cached...]), want: .token(sampling, logProbabilities: 1))
      try engine.generate(Batch([entry]), limit: tokens) { chosen in
        withUnsafeBytes(of: chosen[0].token.littleEndian) { hash.update($0) }
        withUnsafeBytes(of: chosen[0].logProbability!.bitPattern.littleEndian) { hash.update($0) }
        return true
      }
      engine.removeSequence(sequence.id)
    }
    return hash.digits()
  }

  @Test("are of the version of the arithmetic that this build states")
  func version() throws { #expect(try frozen().arithmetic == arithmeticVersion) }

  @Test("of the fixtures are the committed ones", arguments: Fixture.all)
  func fixtures(_ fixture: Fixture) throws {
    try check(fixture.name, fixture.load().weights, length: 200, tokens: 24)
  }

  @Test("of the demo model are the committed ones")
  func demo() throws {
    let weights = try ModelLoader.load(path: Repository.path("Sources/DemoModel/demo.safetensors")).weights
    try check("demo", weights, length: 100, tokens: 32)
  }

  @Test("of random weights with 2B-4T's proportions are the committed ones")
  func small2B() throws {
    var c = ModelConfiguration.bitNet2B4T
    (c.vocabularySize, c.hiddenSize, c.feedForwardSize, c.layerCount) = (8016, 320, 864, 3)
    (c.headCount, c.keyValueHeadCount, c.headSize) = (4, 1, 80)
    try check("small-2b", ModelWeights(random: c, seed: 15), length: 150, tokens: 24)
  }

  @Test(
    "of random weights in the shape of 2B-4T are the committed ones",
    .enabled(
      if: ProcessInfo.processInfo.environment["BITNET_SLOW_TESTS"] != nil,
      "it takes 2 GB and a minute: Scripts/nightly sets BITNET_SLOW_TESTS"))
  func full2B() throws {
    try check("random-2b", ModelWeights(random: .bitNet2B4T, seed: 15), length: 40, tokens: 4)
  }
}

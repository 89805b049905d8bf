import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetRandomModels
import BitNetServing
import CUDATestSupport
import TestSupport
import Testing

@Suite("Speculation")
struct SpeculationTests {
  /// Compares the generations of some random requests with and without speculation, and audits all of them.
  ///
  /// - Returns: how many guessed tokens came true.
  private func compare(
    _ seed: UInt64, requests count: Int, longest: Int, plain: LanguageModel, speculating: LanguageModel
  ) async throws -> Int {
    var generator = SeededGenerator(seed: seed)
    let requests = try (0..<count).map { _ in try Proof.request(longest: longest, using: &generator) }
    let expected = try await Proof.run(requests, on: plain)
    let found = try await Proof.run(requests, on: speculating)
    var accepted = 0
    for index in requests.indices {
      let (plainly, guessing) = (expected[index], found[index])
      let same =
        plainly.text == guessing.text && plainly.tokens == guessing.tokens && plainly.finish == guessing.finish
      #expect(same, "seed \(seed), request \(index): \(requests[index])")
      #expect(plainly.statistics.draftedTokens == 0)
      #expect(guessing.statistics.acceptedTokens <= guessing.statistics.draftedTokens)
      let receipt = try #require(guessing.receipt)
      #expect(receipt == plainly.receipt)
      try await plain.audit(receipt)
      accepted += guessing.statistics.acceptedTokens
    }
    return accepted
  }

  @Test("gives 900 random generations the same texts and receipts that pass, on the CPU", arguments: 0..<45)
  func cpu(round: Int) async throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    let weights = try Proof.weights(seed: UInt64(round))
    let plain = try Proof.model(weights, engine: Proof.cpu(weights), speculation: .off)
    let option = round % 4 == 0 ? Speculation.automatic : .always(Int.random(in: 1...7, using: &generator))
    // With few pages, requests give way to others in the middle of a guess.
    let pages = round % 3 == 0 ? Int.random(in: 7...14, using: &generator) : nil
    let speculating = try Proof.model(
      weights, engine: Proof.cpu(weights, threads: 1 + round % 2, pages: pages), speculation: option)
    _ = try await compare(seed, requests: 20, longest: 40, plain: plain, speculating: speculating)
  }

  @Test("gives 100 random generations the same texts and receipts that pass, on a GPU", .timeLimit(.minutes(10)))
  func gpu() async throws {
    let standIn = try StandIn(copy: "speculation-tests")
    let device = try standIn.driver { $0.multiprocessorCount = 1 }.device(0)
    var accepted = 0
    for round in 0..<5 {
      let weights = try Proof.weights(seed: 1000 + UInt64(round))
      let plain = try Proof.model(weights, engine: Proof.cpu(weights), speculation: .off)
      let gpu = try CUDAEngine(
        weights: weights, device: device, options: .init(contextLength: 300, cacheBytes: round % 2 == 0 ? 0 : 8 << 20))
      let option = round == 0 ? Speculation.automatic : .always(1 + round % 7)
      let speculating = try Proof.model(weights, engine: gpu, speculation: option)
      accepted += try await compare(
        UInt64(round), requests: 20, longest: 8, plain: plain, speculating: speculating)
    }
    #expect(accepted > 0)
  }

  @Test("is reported")
  func statistics() async throws {
    let weights = try Proof.weights(seed: 4)
    let model = try Proof.model(weights, engine: Proof.cpu(weights), speculation: .always(4))
    let phrase: [Int32] = [300, 301, 302, 303, 304, 305]
    let response = try await model.generate(
      tokens: phrase + phrase + phrase, options: .init(maximumTokens: 60, ignoresEndTokens: true)
    ).response()
    #expect(response.statistics.acceptedTokens > 0)
    #expect(response.statistics.generatedTokens == 60 && response.tokens.count == 60)
  }
}

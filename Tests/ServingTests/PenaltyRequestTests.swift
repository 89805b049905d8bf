import BitNetCPUEngine
import BitNetInference
import BitNetModelFiles
import BitNetRandomModels
import BitNetServing
import TestSupport
import Testing

@Suite("Requests with presence and frequency penalties")
struct PenaltyRequestTests {
  private static func tokens(_ stream: TokenStream) async throws -> [SampledToken] {
    var tokens: [SampledToken] = []
    while let token = try await stream.next() { tokens.append(token) }
    return tokens
  }

  /// The tokens by the definition: from all logits of the reference, changed one by one.
  private static func defined(_ request: Request, _ weights: ModelWeights) throws -> [Int32] {
    let engine = ReferenceEngine(weights: weights, precision: .float)
    let id = engine.makeSequence()
    let sampling = request.sampling
    var (tokens, next) = (request.prompt, request.prompt)
    var counts: [Int32: Int] = [:]
    while tokens.count < request.prompt.count + request.limit {
      var logits = try engine.step(Batch([.init(sequence: id, tokens: next)]))[0].values
      for token in logits.indices {
        let own = request.biases.first { $0.token == token }?.value
        guard let count = counts[Int32(token)] else {
          logits[token] += own ?? 0
          continue
        }
        logits[token] += (own ?? 0) - (sampling.presencePenalty + sampling.frequencyPenalty * Float(count))
      }
      var rest = sampling
      (rest.presencePenalty, rest.frequencyPenalty) = (0, 0)
      let token = logits.withUnsafeBufferPointer {
        Sampler.sample($0, parameters: rest, history: tokens, position: tokens.count).token
      }
      counts[token, default: 0] += 1
      tokens.append(token)
      next = [token]
    }
    return Array(tokens.dropFirst(request.prompt.count))
  }

  /// Requests of which all have penalties or the first four none, whose prompts repeat themselves.
  private static func requests(_ weights: ModelWeights, seed: UInt64, limit: Int) -> [Request] {
    var generator = SeededGenerator(seed: seed)
    let vocabulary = Int32(weights.configuration.vocabularySize)
    return (0..<9).map { index in
      let phrase = (0..<Int.random(in: 2...5, using: &generator)).map { _ in
        Int32.random(in: 0..<vocabulary, using: &generator)
      }
      var sampling = SamplingParameters(temperature: index % 2 == 0 ? 0 : 0.7, seed: generator.next())
      if index > 3 {
        sampling.presencePenalty = Float.random(in: -2...2, using: &generator)
        sampling.frequencyPenalty = Float.random(in: index == 5 ? -2...(-1.5) : -0.5...2, using: &generator)
      }
      if index % 3 == 0 { sampling.repetitionPenalty = 1.2 }
      if index % 4 == 1 { sampling.topK = 7 }
      let biased = Set([phrase[0], Int32.random(in: 0..<vocabulary, using: &generator)]).sorted()
      return Request(
        prompt: phrase + phrase + phrase, sampling: sampling,
        biases: index % 5 < 2
          ? biased.map { .init(token: $0, value: Float.random(in: -2...2, using: &generator)) } : [],
        limit: limit)
    }
  }

  private static func run(_ requests: [Request], on scheduler: Scheduler) async throws -> [[Int32]] {
    try await withThrowingTaskGroup(of: (Int, [Int32]).self) { group in
      for (index, request) in requests.enumerated() {
        group.addTask { (index, try await Self.tokens(scheduler.start(request)).map(\.token)) }
      }
      return try await group.reduce(into: [[Int32]](repeating: [], count: requests.count)) { $0[$1.0] = $1.1 }
    }
  }

  @Test("give the tokens of the definition on every engine, beside others, with guesses and without", arguments: 0..<6)
  func definition(round: Int) async throws {
    let weights = try Fixture.all[round % Fixture.all.count].load().weights
    let requests = Self.requests(weights, seed: UInt64(round), limit: 24)
    let expected = try requests.map { try Self.defined($0, weights) }
    for policy in [Scheduler.Policy(), .init(speculation: .always(1 + round)), .init(running: 2)] {
      let cpu = Scheduler(
        try CPUEngine(weights: weights, threads: 1 + round % 2, screensHead: round % 2 == 0), policy: policy)
      #expect(try await Self.run(requests, on: cpu) == expected, "round \(round)")
      if policy.speculation != .off { #expect(await cpu.speculation.drafted > 0) }
    }
    let reference = Scheduler(
      ReferenceEngine(weights: weights, precision: .float), policy: .init(speculation: .always(3)))
    #expect(try await Self.run(requests, on: reference) == expected)
    // The penalties decide something.
    let plain = requests.map { request in
      var request = request
      request.sampling = request.sampling.ofStep
      return request
    }
    let without = try await Self.run(plain, on: Scheduler(try CPUEngine(weights: weights, threads: 1)))
    #expect(without.prefix(4) == expected.prefix(4) && without != expected)
  }
}

import BitNetCPUEngine
import BitNetInference
import BitNetModelFiles
import BitNetServing
import TestSupport
import Testing

/// Allows two tokens that depend on the last one; the end tokens after `length` tokens, and then nothing else.
private struct Chain: TokenConstraint {
  let vocabulary: Int
  let length: Int

  func begin(ends: Set<Int32>) -> any TokenConstraintState {
    State(vocabulary: vocabulary, left: length, ends: ends, last: 0)
  }

  struct State: TokenConstraintState {
    let vocabulary: Int
    var left: Int
    let ends: Set<Int32>
    var last: Int

    var mask: TokenMask {
      var mask = TokenMask(vocabulary: vocabulary)
      if left == 0 {
        for end in ends { mask[Int(end)] = true }
      } else if left > 0 {
        mask[(last * 7 + 3) % vocabulary] = true
        mask[(last * 5 + 11) % vocabulary] = true
        for end in ends { mask[Int(end)] = false }
      }
      return mask
    }

    mutating func append(_ token: Int32) {
      left -= 1
      last = Int(token)
    }
  }
}

@Suite("Requests with a constraint")
struct ConstraintTests {
  private static func tokens(_ stream: TokenStream) async throws -> [SampledToken] {
    var tokens: [SampledToken] = []
    while let token = try await stream.next() { tokens.append(token) }
    return tokens
  }

  /// The tokens that an engine gives one by one.
  private static func alone(_ request: Request, _ weights: ModelWeights) throws -> [SampledToken] {
    let engine = try CPUEngine(weights: weights, threads: 1)
    let id = engine.makeSequence()
    var state = request.constraint?.begin(ends: request.stops)
    var tokens: [SampledToken] = []
    while tokens.count < request.limit, !request.stops.contains(tokens.last?.token ?? -1) {
      let token = try engine.step(
        Batch([
          .init(
            sequence: id, input: tokens.isEmpty ? .tokens(request.prompt) : .sampled,
            want: .token(
              request.sampling, logProbabilities: request.logProbabilities,
              adjustment: TokenAdjustment(mask: state?.mask, biases: request.biases)))
        ]))[0].tokens[0]
      state?.append(token.token)
      tokens.append(token)
    }
    return tokens
  }

  @Test("give the tokens that they give alone, beside others, and end with an end token or at the limit")
  func besideOthers() async throws {
    let weights = try Fixture.all[0].load().weights
    let vocabulary = weights.configuration.vocabularySize
    let scheduler = Scheduler(try CPUEngine(weights: weights, threads: 1))
    let requests = (0..<12).map { index in
      Request(
        prompt: [Int32](repeating: Int32(index % 5), count: 1 + 9 * index),
        sampling: index % 2 == 0 ? .greedy : .init(temperature: 1, seed: UInt64(index)),
        logProbabilities: index == 5 ? 1 : nil,
        biases: index % 3 == 1 ? [.init(token: 4, value: 3), .init(token: 9, value: -50)] : [],
        constraint: index % 3 == 0 ? nil : Chain(vocabulary: vocabulary, length: index == 4 ? 50 : 9), limit: 20,
        stops: [2, 8])
    }
    let expected = try requests.map { try Self.alone($0, weights) }
    let found = try await withThrowingTaskGroup(of: (Int, [SampledToken]).self) { group in
      for (index, request) in requests.enumerated() {
        group.addTask { (index, try await Self.tokens(scheduler.start(request))) }
      }
      return try await group.reduce(into: [Int: [SampledToken]]()) { $0[$1.0] = $1.1 }
    }
    for index in requests.indices { #expect(found[index] == expected[index], "request \(index)") }
    #expect(expected[1].count == 10 && requests[1].stops.contains(expected[1].last!.token))
    #expect(expected[4].count == 20)
  }

  @Test("fail alone when the constraint leaves no token, and need an end token")
  func refused() async throws {
    let weights = try Fixture.all[0].load().weights
    let vocabulary = weights.configuration.vocabularySize
    let scheduler = Scheduler(try CPUEngine(weights: weights, threads: 1))
    /// Allows three tokens, and then not even the end.
    struct Dead: TokenConstraint {
      let vocabulary: Int
      func begin(ends: Set<Int32>) -> any TokenConstraintState {
        Chain(vocabulary: vocabulary, length: 3).begin(ends: [])
      }
    }
    let healthy = try await scheduler.start(Request(prompt: [1, 2], limit: 30))
    for readsInGroups in [false, true] {
      let dead = try await scheduler.start(
        Request(
          prompt: [1], constraint: Dead(vocabulary: vocabulary), limit: 30, stops: [2], readsInGroups: readsInGroups))
      var tokens = 0
      await #expect(throws: SchedulerError.nothingAllowed) { while try await dead.next() != nil { tokens += 1 } }
      #expect(tokens == 3, "those before the error, in groups \(readsInGroups)")
    }
    #expect(try await Self.tokens(healthy).count == 30)
    await #expect(
      throws: EngineError.parameter(
        name: "the number of stop tokens", found: "0", expected: "1 or more with a response format")
    ) {
      _ = try await scheduler.start(
        Request(prompt: [1], constraint: Chain(vocabulary: vocabulary, length: 1), limit: 1))
    }
    await #expect(throws: EngineError.self) {
      _ = try await scheduler.start(Request(prompt: [1], biases: [.init(token: 1, value: 101)], limit: 1))
    }
  }
}

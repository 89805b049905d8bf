import BitNetCUDADriver
import BitNetRandomModels
import BitNetCPUEngine
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles
import BitNetServing
import CUDATestSupport
import TestSupport
import Testing

@Suite("The scheduler on a GPU", .serialized)
struct SchedulerTests {
  private static func tokens(_ stream: TokenStream) async throws -> [Int32] {
    var tokens: [Int32] = []
    while let token = try await stream.next() { tokens.append(token.token) }
    return tokens
  }

  private static func alone(_ request: Request, _ engine: CPUEngine) throws -> [Int32] {
    let id = engine.makeSequence()
    defer { engine.removeSequence(id) }
    var tokens: [Int32] = []
    try engine.generate(
      Batch([.init(sequence: id, tokens: request.prompt, want: .token(request.sampling))]), limit: request.limit
    ) {
      tokens.append($0[0].token)
      return true
    }
    return tokens
  }

  @Test(
    "runs eight requests in the decode step for few sequences, ahead of the host, while requests join and leave",
    arguments: [false, true])
  func eight(isShort: Bool) async throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    let weights = try Fixture.all[0].load().weights
    let cpu = try CPUEngine(weights: weights, threads: 1)
    // A scheduler may still be putting its engine away when its test has ended, so each case has its own driver.
    let standIn = try StandIn(copy: isShort ? "short-scheduler-tests" : "scheduler-tests")
    let device = try standIn.driver { $0.multiprocessorCount = 1 }.device(0)
    // With too few pages, requests are preempted and recomputed from their tokens.
    let gpu = try CUDAEngine(
      weights: weights, device: device, options: .init(contextLength: 150, cacheBytes: isShort ? 0 : nil))
    let common = try Fixture.all[0].prompt(200)
    let requests = (0..<8).map { index in
      Request(
        prompt: Array(common.prefix(Int.random(in: 1...100, using: &generator))) + [Int32(index)],
        sampling: index % 2 == 0 ? .greedy : .init(temperature: 0.8, topK: 20, seed: UInt64(index)),
        limit: Int.random(in: 4...16, using: &generator))
    }
    let expected = try requests.map { try Self.alone($0, cpu) }
    try standIn.resetCounters()
    let scheduler = Scheduler(gpu)
    try await withThrowingTaskGroup(of: (Int, [Int32]).self) { group in
      for index in requests.indices {
        group.addTask { (index, try await Self.tokens(scheduler.start(requests[index]))) }
      }
      for try await (index, found) in group { #expect(found == expected[index], "seed \(seed), request \(index)") }
    }
    let counters = try standIn.counters()
    #expect(counters.graphLaunches > 0 && counters.gridBarriers > 0, "seed \(seed)")
  }
}

import BitNetRandomModels
import BitNetCPUEngine
import BitNetInference
import BitNetModelFiles
import BitNetServing
import Synchronization
import TestSupport
import Testing

@Suite("The scheduler")
struct SchedulerTests {
  private static let context = 400

  /// An engine whose cache holds few pages and that runs one step at a time.
  private static func engine(pages: Int, _ weights: ModelWeights) throws -> CPUEngine {
    let c = weights.configuration
    let page = c.layerCount * 2 * c.keyValueHeadCount * attentionChunkLength * max(c.headSize, 32) * 2
    return try CPUEngine(weights: weights, contextLength: context, threads: 1, cacheBytes: pages * page)
  }

  private static func tokens(_ stream: TokenStream, atMost: Int = .max) async throws -> [SampledToken] {
    var tokens: [SampledToken] = []
    while tokens.count < atMost, let token = try await stream.next() { tokens.append(token) }
    return tokens
  }

  private static func alone(_ request: Request, _ weights: ModelWeights) throws -> [SampledToken] {
    let engine = try CPUEngine(weights: weights, contextLength: context, threads: 1)
    var tokens: [SampledToken] = []
    let entry = Batch.Entry(
      sequence: engine.makeSequence(), tokens: request.prompt,
      want: .token(request.sampling, logProbabilities: request.logProbabilities))
    try engine.generate(Batch([entry]), limit: request.limit) {
      tokens += $0
      return !request.stops.contains($0[0].token)
    }
    return tokens
  }

  /// Requests with a common prefix, random lengths and random sampling.
  private static func requests(_ count: Int, vocabulary: Int, using generator: inout SeededGenerator) -> [Request] {
    func tokens(_ count: Int) -> [Int32] {
      (0..<count).map { _ in Int32.random(in: 0..<Int32(vocabulary), using: &generator) }
    }
    let common = tokens(150)
    return (0..<count).map { _ in
      let prompt =
        common.prefix(Int.random(in: 0...150, using: &generator)) + tokens(Int.random(in: 1...40, using: &generator))
      var sampling = SamplingParameters.greedy
      if Bool.random(using: &generator) { sampling = .init(temperature: 0.9, topP: 0.95, seed: generator.next()) }
      if Int.random(in: 0...3, using: &generator) == 0 { sampling.repetitionPenalty = 1.2 }
      return Request(
        prompt: Array(prompt), sampling: sampling,
        logProbabilities: Int.random(in: 0...4, using: &generator) == 0 ? 2 : nil,
        limit: Int.random(in: 1...80, using: &generator), stops: Set(tokens(2)),
        readsInGroups: Bool.random(using: &generator))
    }
  }

  @Test("pauses a request whose reader is behind until the reader wakes the scheduler, however often it looks")
  func readerBehind() async throws {
    let wakes = Mutex(0)
    let feed = TokenFeed(readsInGroups: false) { wakes.withLock { $0 += 1 } }
    for token in 0..<TokenFeed.capacity { feed.add(SampledToken(token: Int32(token))) }
    #expect(feed.rests(underWay: 0))
    for token in 0..<TokenFeed.capacity {
      #expect(try await feed.next()?.token == Int32(token))
      #expect(feed.rests(underWay: 0) == (wakes.withLock { $0 } == 0), "after \(token + 1) tokens")
    }
    #expect(wakes.withLock { $0 } == 1)
  }

  @Test("goes on while a stream is read, although nobody else holds it")
  func releasedScheduler() async throws {
    let weights = try Fixture.all[0].load().weights
    let request = Request(prompt: [1, 2, 3], sampling: .greedy, limit: 100, stops: [])
    func start() async throws -> (stream: TokenStream, scheduler: () -> Scheduler?) {
      let scheduler = Scheduler(try Self.engine(pages: 10, weights))
      return (try await scheduler.start(request), { [weak scheduler] in scheduler })
    }
    let (stream, scheduler) = try await start()
    // The request pauses when its reader is far behind, and with it the scheduler.
    try await Task.sleep(for: .milliseconds(200))
    try #require(scheduler() != nil, "the stream would never end")
    #expect(try await Self.tokens(stream) == Self.alone(request, weights))
  }

  @Test(
    "gives each request the tokens that it gets alone, with random arrivals, cancellations and too few pages for all",
    arguments: [7, 9, 12, 40])
  func random(pages: Int) async throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    let weights = try Fixture.all[pages % 2].load().weights
    let requests = Self.requests(14, vocabulary: weights.configuration.vocabularySize, using: &generator)
    let expected = try requests.map { try Self.alone($0, weights) }
    let policy = Scheduler.Policy(
      running: Int.random(in: 2...14, using: &generator), stepTokens: Int.random(in: 1...30, using: &generator))
    let scheduler = Scheduler(try Self.engine(pages: pages, weights), policy: policy)
    let plans = requests.indices.map { index in
      (
        pause: Int.random(in: 0...3000, using: &generator),
        // A quarter of the readers leave before the end.
        leaves: Int.random(in: 0...3, using: &generator) == 0
          ? Int.random(in: 0...expected[index].count, using: &generator) : Int.max
      )
    }
    try await withThrowingTaskGroup(of: (Int, [SampledToken]).self) { group in
      for index in requests.indices {
        group.addTask {
          try await Task.sleep(for: .microseconds(plans[index].pause))
          let stream = try await scheduler.start(requests[index])
          return (index, try await Self.tokens(stream, atMost: plans[index].leaves))
        }
      }
      for try await (index, found) in group {
        #expect(
          found == Array(expected[index].prefix(plans[index].leaves)), "seed \(seed), \(pages) pages, request \(index)")
      }
    }
    let (held, limit) = await scheduler.perform { (($0 as! CPUEngine).cachedPageCount, $0.capacity.cachePages) }
    #expect(held <= limit && limit < 100, "seed \(seed): the cache has \(held) pages of \(limit)")
  }

  @Test("runs only the part of a second prompt that differs from the first")
  func sharedPrefix() async throws {
    let weights = try Fixture.all[0].load().weights
    let scheduler = Scheduler(try Self.engine(pages: 40, weights))
    let system = try Fixture.all[0].prompt(200)
    let first = try await scheduler.start(Request(prompt: system + [1, 2, 3], limit: 4))
    _ = try await Self.tokens(first)
    #expect(first.cachedTokens == 0)
    let second = try await scheduler.start(Request(prompt: system + [3, 2, 1], limit: 4))
    let found = try await Self.tokens(second)
    #expect(second.cachedTokens == system.count)
    #expect(try found == Self.alone(Request(prompt: system + [3, 2, 1], limit: 4), weights))
  }

  @Test(
    "serves two requests whose readers wait for each other, with a cache that holds only one of them",
    arguments: [7, 40])
  func lockstep(pages: Int) async throws {
    let weights = try Fixture.all[0].load().weights
    // With seven pages the cache is too small for both; with one place there is room for one to run.
    let policy = Scheduler.Policy(running: pages == 40 ? 1 : 256)
    let scheduler = Scheduler(try Self.engine(pages: pages, weights), policy: policy)
    let requests = [
      Request(prompt: try Fixture.all[0].prompt(200), limit: 190), Request(prompt: [3, 2, 1], limit: 300),
    ]
    var streams: [TokenStream] = []
    for request in requests { streams.append(try await scheduler.start(request)) }
    var found: [[SampledToken]] = [[], []]
    var open = [0, 1]
    while !open.isEmpty {
      for index in open {
        if let token = try await streams[index].next() {
          found[index].append(token)
        } else {
          open.removeAll { $0 == index }
        }
      }
    }
    for (request, tokens) in zip(requests, found) { #expect(try tokens == Self.alone(request, weights)) }
  }

  @Test("waits with requests while a loan holds the pages they need")
  func loans() async throws {
    let weights = try Fixture.all[0].load().weights
    let scheduler = Scheduler(try Self.engine(pages: 7, weights))
    await scheduler.beginLoan()
    let text = (0..<380).map { Int32($0 % 50) }
    let lent = try await scheduler.perform { engine in
      let sequence = engine.makeSequence()
      _ = try engine.step(Batch([.init(sequence: sequence, tokens: text, rows: .none)]))
      return sequence
    }
    let request = Request(prompt: Array(try Fixture.all[0].prompt(200).prefix(100)), limit: 100)
    let stream = try await scheduler.start(request)
    let reading = Task { try await Self.tokens(stream) }
    try await Task.sleep(for: .milliseconds(50))
    await scheduler.perform { $0.removeSequence(lent) }
    await scheduler.endLoan()
    #expect(try await reading.value == Self.alone(request, weights))
  }

  @Test("refuses requests that its engine cannot run or its queue cannot hold")
  func refusals() async throws {
    let weights = try Fixture.all[0].load().weights
    let scheduler = Scheduler(try Self.engine(pages: 40, weights), policy: .init(running: 1, waiting: 1))
    let vocabulary = weights.configuration.vocabularySize
    await #expect(throws: EngineError.tokenOutOfRange(Int32(vocabulary), vocabulary: vocabulary)) {
      _ = try await scheduler.start(Request(prompt: [Int32(vocabulary)], limit: 1))
    }
    await #expect(throws: EngineError.self) { _ = try await scheduler.start(Request(prompt: [], limit: 1)) }
    await #expect(throws: EngineError.contextFull(length: 3, adding: 398, limit: 400)) {
      _ = try await scheduler.start(Request(prompt: [1, 2, 3], limit: 398))
    }
    // The first request runs and pauses, because it has no reader. The second waits. The third is refused.
    let running = try await scheduler.start(Request(prompt: [1], limit: 300))
    _ = try await running.next()
    let waiting = try await scheduler.start(Request(prompt: [2], limit: 2))
    await #expect(throws: SchedulerError.queueFull(waiting: 1)) {
      _ = try await scheduler.start(Request(prompt: [3], limit: 2))
    }
    await #expect(throws: SchedulerError.deadline) {
      _ = try await Self.tokens(
        Scheduler(Self.engine(pages: 40, weights)).start(Request(prompt: [1], limit: 9, deadline: .now)))
    }
    // A request whose reader is far behind has a deadline too.
    let slow = Scheduler(try Self.engine(pages: 40, weights))
    let unread = try await slow.start(Request(prompt: [1], limit: 200, deadline: .now + .milliseconds(200)))
    try await Task.sleep(for: .milliseconds(600))
    var count = 0
    await #expect(throws: SchedulerError.deadline) { while try await unread.next() != nil { count += 1 } }
    #expect(count <= 16, "only the tokens that were there at the deadline")
    let rest = Task { try await Self.tokens(running).count }
    #expect(try await rest.value == 299)
    #expect(try await Self.tokens(waiting).count == 2)
  }
}

package import BitNetInference
import Synchronization

/// Makes the batches of one engine. Every step takes a token of each generating request and, within its budget, prompt
/// tokens of the others. Requests join and leave between steps. Arithmetic is canonical, so scheduling changes no
/// answer.
///
/// The scheduler runs on its own thread and is the engine's only caller.
package actor Scheduler {
  package struct Policy: Sendable {
    /// The most requests that run together.
    package var running: Int
    /// The most requests that wait for their turn; further ones are refused.
    package var waiting: Int
    /// The most tokens of a step while requests are generating; nil uses the engine's own number.
    package var stepTokens: Int?

    package init(running: Int = 256, waiting: Int = .max, stepTokens: Int? = nil) {
      self.running = running
      self.waiting = waiting
      self.stepTokens = stepTokens
    }
  }

  /// What a scheduler does and did.
  package struct Load: Sendable {
    package var running = 0
    package var waiting = 0
    /// The share of the cache's pages that running requests fill, 0 to 1. A page that several share counts for each.
    package var cacheUse = 0.0
    /// The most pages of the cache.
    package var cachePages = 0
    /// Positions of a page.
    package var pageTokens = attentionChunkLength
    /// Prompt tokens that were looked up in the cache.
    package var prefixQueries = 0
    /// Prompt tokens that the cache held.
    package var prefixHits = 0
    /// How often a request gave up its pages.
    package var preemptions = 0
  }

  /// A waiting or running request.
  fileprivate final class Job {
    let request: Request
    let feed: TokenFeed
    /// The request's sequence; nil while it waits.
    var sequence: SequenceID?
    /// The prompt and the generated tokens.
    var tokens: [Int32]
    /// How many of the tokens the engine has.
    var given = 0
    /// How many running steps choose a token for the request.
    var underWay = 0
    /// Whether the engine has the whole prompt, so that each step continues from the last chosen token.
    var isDecoding = false
    var generated = 0
    var isDone = false
    /// Wakes the scheduler at the request's deadline.
    var timer: Task<Void, Never>?

    init(_ request: Request, _ feed: TokenFeed) {
      self.request = request
      self.feed = feed
      tokens = request.prompt
    }

    var promptLeft: Int { tokens.count - given }
  }

  private struct Flight {
    let ticket: StepTicket
    /// For each entry, the request whose token the step chooses; nil for a chunk before a prompt's last.
    let jobs: [Job?]
  }

  private let thread = EngineThread()
  package nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  private let sharedLoad = Mutex(Load())
  /// The load after the latest step. Reading it waits for no step.
  package nonisolated var load: Load { sharedLoad.withLock { $0 } }

  private let engine: any Engine
  private let policy: Policy
  private let capacity: Capacity
  private var waiting: [Job] = []
  private var running: [Job] = []
  private var flights: [Flight] = []
  private var isStepping = false
  /// Callers that hold sequences beside those of the requests.
  private var loans = 0
  /// Whether a request had to give up its pages and none has ended since. Until one ends, further requests would have
  /// to do the same, so none is admitted.
  private var isShortOfPages = false
  /// The most prompt tokens of a step while no request is generating.
  private let promptTokens: Int

  package init(_ engine: sending any Engine, policy: Policy = .init()) {
    capacity = engine.capacity
    promptTokens = max(256, 4 * capacity.stepTokens)
    self.engine = engine
    self.policy = policy
    let pages = capacity.cachePages
    sharedLoad.withLock { $0.cachePages = pages }
  }

  /// Starts a request.
  ///
  /// - Throws: `EngineError` when this engine cannot serve the request; `SchedulerError.queueFull`.
  package func start(_ request: Request) throws -> TokenStream {
    try check(request)
    guard waiting.count < policy.waiting else { throw SchedulerError.queueFull(waiting: waiting.count) }
    let feed = TokenFeed { [weak self] in
      guard let self else { return }
      Task { await self.step() }
    }
    let job = Job(request, feed)
    if let deadline = request.deadline {
      // Steps may rest until then: readers of the running requests can be slow.
      job.timer = Task { [weak self] in
        try? await Task.sleep(until: deadline, clock: .continuous)
        await self?.step()
      }
    }
    waiting.append(job)
    noteLoad()
    if !isStepping { Task { await step() } }
    return TokenStream(feed)
  }

  private func noteLoad() {
    let pages = running.reduce(0) { $0 + ($1.given + attentionChunkLength - 1) / attentionChunkLength }
    let (runningCount, waitingCount, total) = (running.count, waiting.count, capacity.cachePages)
    sharedLoad.withLock { load in
      (load.running, load.waiting) = (runningCount, waitingCount)
      load.cacheUse = total > 0 ? min(1, Double(pages) / Double(total)) : 0
    }
  }

  /// Calls `body` with the engine between two steps.
  package func perform<Result: Sendable>(_ body: @Sendable (any Engine) throws -> Result) rethrows -> Result {
    try body(engine)
  }

  /// Says that the caller takes sequences of the engine in calls of `perform`, until `endLoan`: requests that their pages
  /// leave no room for wait instead of failing.
  package func beginLoan() { loans += 1 }

  /// Ends a loan, after its sequences have been removed.
  package func endLoan() {
    loans -= 1
    isShortOfPages = false
    if !isStepping { Task { await step() } }
  }

  /// Takes the pages of requests whose readers are far behind, for a loan that found no room.
  ///
  /// - Returns: whether pages are free now or may become free.
  package func freePages() -> Bool {
    let others = !running.isEmpty || loans > 1
    while let index = running.lastIndex(where: { $0.underWay == 0 && $0.feed.rests(underWay: 0) }) { preempt(index) }
    return others
  }

  private func check(_ request: Request) throws {
    try request.sampling.validate()
    let vocabulary = engine.configuration.vocabularySize
    if let count = request.logProbabilities, !(0...vocabulary ~= count) {
      throw EngineError.parameter(
        name: "the number of log probabilities", found: "\(count)", expected: "0 to \(vocabulary)")
    }
    guard !request.prompt.isEmpty else {
      throw EngineError.parameter(name: "the prompt", found: "empty", expected: "at least one token")
    }
    guard request.limit > 0 else {
      throw EngineError.parameter(
        name: "the maximum number of tokens", found: "\(request.limit)", expected: "1 or more")
    }
    for token in request.prompt where token < 0 || token >= vocabulary {
      throw EngineError.tokenOutOfRange(token, vocabulary: vocabulary)
    }
    guard request.prompt.count <= engine.contextLength else {
      throw EngineError.contextFull(length: 0, adding: request.prompt.count, limit: engine.contextLength)
    }
    guard request.limit <= engine.contextLength - request.prompt.count else {
      throw EngineError.contextFull(length: request.prompt.count, adding: request.limit, limit: engine.contextLength)
    }
  }

  // MARK: Steps

  /// Runs steps until no request has anything to run.
  private func step() async {
    guard !isStepping else { return }
    isStepping = true
    defer { isStepping = false }
    // Let requests that other tasks start at the same moment join the first step.
    for _ in 0..<4 { await Task.yield() }
    while true {
      endGivenUp()
      admit()
      do {
        while flights.count < capacity.stepsAhead, try submit() {}
        if flights.isEmpty {
          guard makeWay() else { break }
        } else {
          try collect()
        }
      } catch {
        fail(error)
      }
      noteLoad()
      // Let new requests and calls of `perform` in.
      await Task.yield()
    }
    noteLoad()
  }

  /// Ends requests that were cancelled or whose deadline has passed.
  private func endGivenUp() {
    let now = ContinuousClock.now
    for job in waiting + running where !job.isDone {
      if job.feed.isCancelled {
        end(job, .failure(CancellationError()))
      } else if let deadline = job.request.deadline, deadline <= now {
        end(job, .failure(SchedulerError.deadline))
      }
    }
  }

  private func end(_ job: Job, _ result: Result<Void, any Error>) {
    job.isDone = true
    job.timer?.cancel()
    isShortOfPages = false
    if let sequence = job.sequence { engine.removeSequence(sequence) }
    job.sequence = nil
    waiting.removeAll { $0 === job }
    running.removeAll { $0 === job }
    job.feed.finish(result)
  }

  private func fail(_ error: any Error) {
    flights = []
    for job in running { end(job, .failure(error)) }
  }

  private func admit() {
    // A request whose reader is far behind has nothing to run, and would hold pages.
    while (running.isEmpty && loans == 0) || !isShortOfPages, running.count < policy.running,
      let next = waiting.firstIndex(where: { !$0.feed.rests(underWay: 0) })
    {
      let job = waiting.remove(at: next)
      let (sequence, cached) = engine.makeSequence(startingWith: job.tokens)
      job.sequence = sequence
      job.given = cached
      if job.generated == 0 {
        job.feed.admit(cachedTokens: cached)
        let count = job.tokens.count
        sharedLoad.withLock { load in
          load.prefixQueries += count
          load.prefixHits += cached
        }
      }
      running.append(job)
    }
  }

  /// Starts a step; returns false if none can start now.
  private func submit() throws -> Bool {
    let decoding = running.filter {
      $0.isDecoding && $0.generated + $0.underWay < $0.request.limit && !$0.feed.rests(underWay: $0.underWay)
    }
    let prompts = running.filter { !$0.isDecoding && $0.underWay == 0 }
    // A step with prompt tokens waits for all earlier steps, so that no work goes to requests that these end.
    guard flights.isEmpty || prompts.isEmpty else { return false }
    var entries: [Batch.Entry] = []
    var jobs: [Job?] = []
    for job in decoding {
      entries.append(.init(sequence: job.sequence!, input: .sampled, want: job.want))
      jobs.append(job)
    }
    var budget = decoding.isEmpty ? promptTokens : max(1, (policy.stepTokens ?? capacity.stepTokens) - decoding.count)
    var chunks: [(job: Job, count: Int)] = []
    for (index, job) in prompts.enumerated() where budget > 0 {
      // Divide the budget, so that a short prompt does not wait for the end of a long one before it.
      let count = min(job.promptLeft, max(1, budget / (prompts.count - index)))
      budget -= count
      chunks.append((job, count))
      let isLast = count == job.promptLeft
      let tokens = Array(job.tokens[job.given..<job.given + count])
      entries.append(.init(sequence: job.sequence!, tokens: tokens, rows: isLast ? .last : .none, want: job.want))
      jobs.append(isLast ? job : nil)
    }
    guard !entries.isEmpty else { return false }
    guard let ticket = try ticket(for: Batch(entries)) else { return flights.isEmpty }
    flights.append(Flight(ticket: ticket, jobs: jobs))
    for job in decoding { job.given += 1 }
    for (job, count) in chunks {
      job.given += count
      job.isDecoding = job.promptLeft == 0
    }
    for job in jobs { job?.underWay += 1 }
    return true
  }

  /// Submits a batch; returns nil if the cache has no room for it yet.
  private func ticket(for batch: Batch) throws -> StepTicket? {
    do throws(EngineError) {
      return try engine.submit(batch)
    } catch {
      guard error.isCacheFull, flights.count + running.count + loans > 1 else { throw error }
    }
    // Running steps may end requests and make room. Without any, a request must give up its pages.
    if flights.isEmpty { preempt(lastToRun) }
    return nil
  }

  /// Takes the place and the cache pages of a request whose reader is far behind, for one that waits, when there is
  /// nothing else to run: the reader may be waiting for that one.
  private func makeWay() -> Bool {
    guard running.contains(where: { $0.feed.rests(underWay: 0) }),
      waiting.contains(where: { !$0.feed.rests(underWay: 0) })
    else { return false }
    preempt(lastToRun)
    isShortOfPages = false
    return true
  }

  /// The request that gives way to others: one whose reader is far behind, otherwise the one that was admitted last.
  private var lastToRun: Int { running.lastIndex { $0.feed.rests(underWay: 0) } ?? running.count - 1 }

  /// Takes the cache pages of a request that no step is running for. It runs again, from its tokens, when there is room.
  private func preempt(_ index: Int) {
    let job = running.remove(at: index)
    engine.removeSequence(job.sequence!)
    job.sequence = nil
    (job.given, job.isDecoding) = (0, false)
    isShortOfPages = true
    sharedLoad.withLock { $0.preemptions += 1 }
    waiting.insert(job, at: 0)
  }

  /// Waits for the oldest step and passes its tokens to the readers.
  private func collect() throws {
    let flight = flights[0]
    let results = try engine.wait(for: flight.ticket)
    flights.removeFirst()
    for case (let job?, let result) in zip(flight.jobs, results) {
      job.underWay -= 1
      guard !job.isDone else { continue }
      let token = result.tokens[0]
      job.tokens.append(token.token)
      job.generated += 1
      job.feed.add(token)
      if job.generated == job.request.limit || job.request.stops.contains(token.token) { end(job, .success(())) }
    }
  }
}

extension Scheduler.Job {
  fileprivate var want: Batch.Want { .token(request.sampling, logProbabilities: request.logProbabilities) }
}

extension EngineError {
  /// Whether a step was refused because its pages found no room.
  package var isCacheFull: Bool {
    switch self {
    case .cacheFull, .outOfMemory: true
    default: false
    }
  }
}

package import BitNetInference

/// Makes the batches of one engine: every step takes a token of each request that is generating, and prompt tokens of
/// others as far as its budget goes. Requests join and leave between steps. Arithmetic is canonical, so what is decided
/// here changes no answer.
///
/// Runs on a thread of its own, where it is the engine's one caller.
package actor Scheduler {
  package struct Policy: Sendable {
    /// Requests that are run together at most.
    package var running: Int
    /// Requests that wait for their turn at most; more are refused.
    package var waiting: Int
    /// Tokens of a step while requests are generating; the engine's own number when nil.
    package var stepTokens: Int?

    package init(running: Int = 256, waiting: Int = .max, stepTokens: Int? = nil) {
      self.running = running
      self.waiting = waiting
      self.stepTokens = stepTokens
    }
  }

  /// A request on its way.
  fileprivate final class Job {
    let request: Request
    let feed: TokenFeed
    /// Nil while it waits.
    var sequence: SequenceID?
    /// The prompt and what has been generated.
    var tokens: [Int32]
    /// How many of these have been given to the engine.
    var given = 0
    /// Steps under way that choose a token.
    var underWay = 0
    /// Whether its step chooses the next token from the last one chosen, because all tokens before have been given.
    var isDecoding = false
    var generated = 0
    var isDone = false

    init(_ request: Request, _ feed: TokenFeed) {
      self.request = request
      self.feed = feed
      tokens = request.prompt
    }

    var promptLeft: Int { tokens.count - given }
  }

  private struct Flight {
    let ticket: StepTicket
    /// The requests whose tokens the step chooses, by entry; nil for a chunk in the middle of a prompt.
    let jobs: [Job?]
  }

  private let thread = EngineThread()
  package nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  private let engine: any Engine
  private let policy: Policy
  private let capacity: Capacity
  private var waiting: [Job] = []
  private var running: [Job] = []
  private var flights: [Flight] = []
  private var isStepping = false
  /// Whether a request had to give way and none has ended since: until then others would only have to do so as well.
  private var isShortOfPages = false
  /// Prompts go in steps of this many tokens when nobody else waits for the engine.
  private let promptTokens: Int

  package init(_ engine: sending any Engine, policy: Policy = .init()) {
    capacity = engine.capacity
    promptTokens = max(256, 4 * capacity.stepTokens)
    self.engine = engine
    self.policy = policy
  }

  /// Starts a request.
  ///
  /// - Throws: `EngineError` when the request cannot be served by this engine; `SchedulerError.queueFull`.
  package func start(_ request: Request) throws -> TokenStream {
    try check(request)
    guard waiting.count < policy.waiting else { throw SchedulerError.queueFull(waiting: waiting.count) }
    let feed = TokenFeed { [weak self] in
      guard let self else { return }
      Task { await self.step() }
    }
    waiting.append(Job(request, feed))
    if !isStepping { Task { await step() } }
    return TokenStream(feed)
  }

  /// Lends the engine to `body` between two steps.
  package func perform<Result: Sendable>(_ body: @Sendable (any Engine) throws -> Result) rethrows -> Result {
    try body(engine)
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
    guard request.prompt.count < engine.contextLength else {
      throw EngineError.contextFull(length: 0, adding: request.prompt.count, limit: engine.contextLength)
    }
    guard request.limit <= engine.contextLength - request.prompt.count else {
      throw EngineError.contextFull(length: request.prompt.count, adding: request.limit, limit: engine.contextLength)
    }
  }

  // MARK: Steps

  /// Runs steps until there is nothing to do.
  private func step() async {
    guard !isStepping else { return }
    isStepping = true
    defer { isStepping = false }
    // Requests of other tasks that come at the same moment join the first step instead of waiting for its end.
    for _ in 0..<4 { await Task.yield() }
    while true {
      endGivenUp()
      admit()
      do {
        while flights.count < capacity.stepsAhead, try submit() {}
        guard !flights.isEmpty else { break }
        try collect()
      } catch {
        fail(error)
      }
      // Requests that have come, and calls of `perform`, have their turn.
      await Task.yield()
    }
  }

  /// Ends requests that nobody waits for any more.
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
    while running.isEmpty || !isShortOfPages, running.count < policy.running, !waiting.isEmpty {
      let job = waiting.removeFirst()
      let (sequence, cached) = engine.makeSequence(startingWith: job.tokens)
      job.sequence = sequence
      job.given = cached
      if job.generated == 0 { job.feed.setCachedTokens(cached) }
      running.append(job)
    }
  }

  /// Starts a step; false when there is nothing to start now.
  private func submit() throws -> Bool {
    let decoding = running.filter {
      $0.isDecoding && $0.generated + $0.underWay < $0.request.limit && !$0.feed.rests(underWay: $0.underWay)
    }
    let prompts = running.filter { !$0.isDecoding && $0.underWay == 0 }
    // Steps with prompts wait for those before them, so that requests are seen to end before more is spent on them.
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
      // A short prompt does not wait for the end of a long one before it.
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

  /// Gives a batch to the engine; nil when the cache has no room for it yet.
  private func ticket(for batch: Batch) throws -> StepTicket? {
    do throws(EngineError) {
      return try engine.submit(batch)
    } catch {
      guard error.isCacheFull, flights.count + running.count > 1 else { throw error }
    }
    // Steps under way may end requests and so make room; without any, a request must give way.
    if flights.isEmpty { preempt() }
    return nil
  }

  /// Takes the cache from the request that came last. It is run again when there is room, from its tokens.
  private func preempt() {
    let job = running.removeLast()
    engine.removeSequence(job.sequence!)
    job.sequence = nil
    (job.given, job.isDecoding) = (0, false)
    isShortOfPages = true
    waiting.insert(job, at: 0)
  }

  /// Waits for the oldest step and hands out its tokens.
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
  fileprivate var isCacheFull: Bool { if case .cacheFull = self { true } else { false } }
}

package import BitNetInference
import Synchronization

/// Makes the batches of one engine. Every step takes a token of each generating request and, within its budget, prompt
/// tokens of the others. Requests join and leave between steps. Arithmetic is canonical, so scheduling changes no
/// answer.
///
/// The scheduler runs on its own thread and is the engine's only caller.
package actor Scheduler {
  private struct Flight {
    let ticket: StepTicket
    /// For each entry, the request whose token the step chooses, and the guess that it verifies if there is one; nil
    /// for a chunk before a prompt's last.
    let jobs: [(job: Job, draft: Draft?)?]
    /// Texts whose entries come after these.
    let texts: [TextJob]
    /// Tokens of prompts, those before which nothing is chosen included.
    let promptTokens: Int
    /// Rows of a step without prompt tokens and texts; nil with some.
    let decodeRows: Int?
    let start: ContinuousClock.Instant

    var hasDraft: Bool { jobs.contains { $0?.draft != nil } }
  }

  private let thread = EngineThread()
  package nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  private let sharedLoad = Mutex(Load())
  /// The load after the latest step. Reading it waits for no step.
  package nonisolated var load: Load { sharedLoad.withLock { $0 } }

  private let engine: any Engine
  private var policy: Policy
  private let capacity: Capacity
  private var waiting: [Job] = []
  private var running: [Job] = []
  private var flights: [Flight] = []
  /// Texts whose hidden states are wanted and that no step runs yet.
  private var texts: [TextJob] = []
  private var isStepping = false
  /// Callers that hold sequences beside those of the requests.
  private var loans = 0
  /// Whether a request had to give up its pages and none has ended since. Until one ends, further requests would have
  /// to do the same, so none is admitted.
  private var isShortOfPages = false
  /// Whether the only request has given up its pages to start again, and no step has been submitted since.
  private var hasStartedAlone = false
  /// The most prompt tokens of a step while no request is generating.
  private let promptTokens: Int
  private var stepTimes = StepTimes()
  /// The end of the last step.
  private var lastEnd = ContinuousClock.now
  /// How well guesses have come true for all requests: what a new one starts with.
  private var acceptance = Acceptance()
  /// What speculation has done for all requests.
  package private(set) var speculation = SpeculationCounts()

  package init(_ engine: sending any Engine, policy: Policy = .init()) {
    capacity = engine.capacity
    promptTokens = max(256, 4 * capacity.stepTokens)
    self.engine = engine
    self.policy = policy
    let pages = capacity.cachePages
    sharedLoad.withLock { $0.cachePages = pages }
  }

  /// The most requests that can be there at the same time, running or waiting.
  package var room: Int {
    let (sum, overflows) = policy.running.addingReportingOverflow(policy.waiting)
    return overflows ? .max : sum
  }

  /// Starts a request.
  ///
  /// - Throws: `EngineError` when this engine cannot serve the request; `SchedulerError.queueFull`.
  package func start(_ request: Request) throws -> TokenStream {
    try check(request)
    guard waiting.count < policy.waiting else { throw SchedulerError.queueFull(waiting: waiting.count) }
    let feed = TokenFeed(readsInGroups: request.readsInGroups) { [weak self] in
      guard let self else { return }
      Task { await self.step() }
    }
    let job = Job(request, feed)
    guard job.mask?.count != 0 else { throw SchedulerError.nothingAllowed }
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
    return TokenStream(feed, from: self)
  }

  private func noteLoad() {
    let pages = running.reduce(0) { $0 + ($1.given + attentionChunkLength - 1) / attentionChunkLength }
    let (runningCount, waitingCount, total) = (running.count, waiting.count, capacity.cachePages)
    sharedLoad.withLock { load in
      (load.running, load.waiting) = (runningCount, waitingCount)
      load.cacheUse = total > 0 ? min(1, Double(pages) / Double(total)) : 0
    }
  }

  /// Lets texts take part in the next steps.
  func add(_ new: [TextJob]) {
    texts += new
    if !isStepping { Task { await step() } }
  }

  /// Calls `body` with the engine between two steps.
  package func perform<Result: Sendable>(_ body: @Sendable (any Engine) throws -> Result) rethrows -> Result {
    try body(engine)
  }

  /// Changes how requests that start from now on speculate.
  package func speculate(_ option: Speculation, drafter: any Drafter) {
    policy.speculation = option
    policy.drafter = drafter
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
    try TokenAdjustment(biases: request.biases).validate(rows: 1, vocabulary: vocabulary)
    guard request.constraint == nil || !request.stops.isEmpty else {
      throw EngineError.parameter(
        name: "the number of stop tokens", found: "0", expected: "1 or more with a response format")
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

  /// Checks texts whose hidden states are wanted.
  func check(_ new: [[Int32]]) throws {
    guard texts.count < policy.waiting else { throw SchedulerError.queueFull(waiting: texts.count) }
    let vocabulary = engine.configuration.vocabularySize
    for tokens in new {
      guard !tokens.isEmpty else {
        throw EngineError.parameter(name: "the text", found: "empty", expected: "at least one token")
      }
      for token in tokens where token < 0 || token >= vocabulary {
        throw EngineError.tokenOutOfRange(token, vocabulary: vocabulary)
      }
      guard tokens.count <= engine.contextLength else {
        throw EngineError.contextFull(length: 0, adding: tokens.count, limit: engine.contextLength)
      }
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
      await thread.yield()
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
    if let sequence = job.sequence {
      engine.removeSequence(sequence, keeping: policy.answersAreContinued ? .max : job.request.prompt.count)
    }
    job.sequence = nil
    waiting.removeAll { $0 === job }
    running.removeAll { $0 === job }
    job.feed.finish(result)
  }

  private func fail(_ error: any Error) {
    let texts = flights.flatMap(\.texts)
    flights = []
    end(texts) { $0.group.finish(.failure(error)) }
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
    // Constraints and penalties depend on the last token. Steps without its request would make the others no faster and
    // this one slower, because a step takes equally long for one more token: so all of them wait.
    guard !running.contains(where: { $0.needsLast && $0.underWay > 0 }) else { return false }
    let decoding = running.filter {
      $0.isDecoding && $0.generated + $0.underWay < $0.request.limit && !$0.feed.rests(underWay: $0.underWay)
    }
    let prompts = running.filter { !$0.isDecoding && $0.underWay == 0 }
    // A step with prompt tokens waits for all earlier steps, so that no work goes to requests that these end.
    guard flights.isEmpty || (prompts.isEmpty && texts.isEmpty) else { return false }
    // So does one with guesses, which continue the last token; and what follows it depends on which come true.
    guard flights.isEmpty || !(flights.contains(where: \.hasDraft) || suggestsDraft(decoding)) else { return false }
    var entries: [Batch.Entry] = []
    var jobs: [(job: Job, draft: Draft?)?] = []
    var step = SequenceSpeculation.Step(tokens: Double(decoding.count), rows: decoding.count)
    for job in decoding {
      if job.speculation == nil, policy.speculation != .off {
        job.speculation = SequenceSpeculation(policy.drafter.begin(with: job.tokens), acceptance)
      }
      // What prompt tokens in a step cost depends on their number, so what a guess costs there is not known.
      let guess = prompts.isEmpty && job.underWay == 0 ? draft(for: job, joining: &step) : nil
      var entry = Batch.Entry(
        sequence: job.sequence!, input: .sampled, want: job.want(guess?.masks ?? job.nextMask, after: guess?.draft))
      if job.mustGiveLast || guess != nil {
        entry.input = .tokens([job.tokens[job.given]] + (guess?.draft.tokens ?? []))
      }
      if guess != nil { entry.rows = .all }
      entries.append(entry)
      jobs.append((job, guess?.draft))
    }
    let decodeRows = step.rows
    var budget = decoding.isEmpty ? promptTokens : max(1, (policy.stepTokens ?? capacity.stepTokens) - decoding.count)
    var chunks: [(job: Job, count: Int)] = []
    for (index, job) in prompts.enumerated() where budget > 0 {
      // Divide the budget, so that a short prompt does not wait for the end of a long one before it.
      let count = min(job.promptLeft, max(1, budget / (prompts.count - index)))
      budget -= count
      chunks.append((job, count))
      let isLast = count == job.promptLeft
      let tokens = Array(job.tokens[job.given..<job.given + count])
      let want = job.want(isLast ? job.nextMask : nil)
      entries.append(.init(sequence: job.sequence!, tokens: tokens, rows: isLast ? .last : .none, want: want))
      jobs.append(isLast ? (job, nil) : nil)
    }
    let taken = takeTexts(budget, &entries)
    guard !entries.isEmpty else { return false }
    let start = ContinuousClock.now
    let started: StepTicket?
    do {
      started = try ticket(for: Batch(entries), hasTexts: !taken.isEmpty)
    } catch {
      guard !taken.isEmpty else { throw error }
      // Without the texts the others may go on.
      if (error as? EngineError)?.isCacheFull == true, !running.isEmpty {
        putBack(taken)
      } else {
        end(taken) { $0.group.finish(.failure(error)) }
      }
      return flights.isEmpty
    }
    guard let ticket = started else {
      putBack(taken)
      return flights.isEmpty
    }
    flights.append(
      Flight(
        ticket: ticket, jobs: jobs, texts: taken, promptTokens: chunks.reduce(0) { $0 + $1.count },
        decodeRows: chunks.isEmpty && taken.isEmpty ? decodeRows : nil, start: start))
    for (job, entry) in zip(decoding, entries) {
      job.given += entry.input.count
      job.mustGiveLast = false
    }
    for (job, count) in chunks {
      job.given += count
      job.isDecoding = job.promptLeft == 0
    }
    for case let entry? in jobs { entry.job.underWay += 1 }
    return true
  }

  /// The guess for a request in a step and the masks of its rows, if there is a guess that pays.
  private func draft(
    for job: Job, joining step: inout SequenceSpeculation.Step
  ) -> (draft: Draft, masks: [TokenMask])? {
    let before = step
    guard
      var draft = job.speculation?.draft(atMost: job.longestDraft, policy.speculation, stepTimes, joining: &step)
    else { return nil }
    let length = draft.tokens.count
    let masks = job.cut(&draft)
    step.rows -= length - draft.tokens.count
    guard draft.tokens.isEmpty else { return (draft, masks) }
    step = before
    return nil
  }

  /// Whether the known tokens of a request suggest a guess that pays, so that steps should end before the next starts.
  private func suggestsDraft(_ decoding: [Job]) -> Bool {
    let step = SequenceSpeculation.Step(tokens: Double(decoding.count), rows: decoding.count)
    return decoding.contains { job in
      job.mustGiveLast
        || job.speculation?.hasDraft(atMost: job.longestDraft, policy.speculation, stepTimes, joining: step) == true
    }
  }

  /// Takes waiting texts, whole ones, until the budget or the cache is used up, and appends their entries.
  private func takeTexts(_ budget: Int, _ entries: inout [Batch.Entry]) -> [TextJob] {
    texts.removeAll { $0.group.isDone }
    guard running.isEmpty || !isShortOfPages else { return [] }
    var (taken, left, pages) = ([TextJob](), budget, capacity.cachePages)
    while left > 0, taken.count < texts.count {
      let text = texts[taken.count]
      pages -= (text.tokens.count + attentionChunkLength - 1) / attentionChunkLength
      guard taken.isEmpty || pages >= 0 else { break }
      let isLast = if case .last = text.rows { true } else { false }
      let (sequence, cached) = engine.makeSequence(startingWith: isLast ? text.tokens : [])
      text.sequence = sequence
      entries.append(
        .init(sequence: sequence, tokens: Array(text.tokens[cached...]), rows: text.rows, want: .hidden))
      left -= text.tokens.count - cached
      taken.append(text)
    }
    texts.removeFirst(taken.count)
    return taken
  }

  /// Lets texts wait until a request ends, whose pages they need.
  private func putBack(_ taken: [TextJob]) {
    guard !taken.isEmpty else { return }
    end(taken) { _ in }
    texts.insert(contentsOf: taken, at: 0)
    isShortOfPages = true
  }

  /// Ends the sequences of texts.
  private func end(_ texts: [TextJob], _ body: (TextJob) -> Void) {
    for text in texts {
      if let sequence = text.sequence { engine.removeSequence(sequence) }
      text.sequence = nil
      body(text)
    }
  }

  /// Submits a batch; returns nil if the cache has no room for it yet.
  private func ticket(for batch: Batch, hasTexts: Bool) throws -> StepTicket? {
    do throws(EngineError) {
      let ticket = try engine.submit(batch)
      hasStartedAlone = false
      return ticket
    } catch {
      guard error.isCacheFull else { throw error }
      if flights.count + running.count + loans < 2 {
        // There is room for a whole context. What takes it are pages that the request filled with the same tokens as
        // another one before it: starting from its tokens, it gets that one's.
        guard running.count == 1, !hasTexts, !hasStartedAlone else { throw error }
        hasStartedAlone = true
        preempt(0)
        admit()
        return nil
      }
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
    (job.given, job.isDecoding, job.mustGiveLast) = (0, false, false)
    isShortOfPages = true
    sharedLoad.withLock { $0.preemptions += 1 }
    waiting.insert(job, at: 0)
  }

  /// Waits for the oldest step and passes its tokens to the readers.
  private func collect() throws {
    let flight = flights[0]
    let results = try engine.wait(for: flight.ticket)
    flights.removeFirst()
    let now = ContinuousClock.now
    if let rows = flight.decodeRows {
      // Steps that run ahead are timed by the distance of their ends.
      stepTimes.add(rows: rows, seconds: max(flight.start, lastEnd).duration(to: now) / .seconds(1))
    }
    lastEnd = now
    let vectors = results.dropFirst(flight.jobs.count)
    end(flight.texts) { _ in }
    for (text, result) in zip(flight.texts, vectors) { text.group.add(result.values, at: text.index) }
    var stepTokens = flight.promptTokens
    for case (let (job, draft)?, let result) in zip(flight.jobs, results) {
      job.underWay -= 1
      guard !job.isDone else { continue }
      let tokens = job.valid(result.tokens, after: draft)
      stepTokens += tokens.count
      if let draft { learn(draft, of: job, tokens) }
      for token in tokens {
        job.append(token.token)
        job.feed.add(token)
      }
      if job.isComplete {
        end(job, .success(()))
      } else if job.mask?.count == 0 {
        end(job, .failure(SchedulerError.nothingAllowed))
      } else if let draft, tokens.count <= draft.tokens.count {
        try dropGuess(of: job)
      }
    }
    if stepTokens > 0 { sharedLoad.withLock { $0.stepTokens.add(stepTokens) } }
  }

  private func learn(_ draft: Draft, of job: Job, _ tokens: [SampledToken]) {
    let accepted = zip(draft.tokens, tokens).prefix { $0 == $1.token }.count
    speculation.add(drafted: draft.tokens.count, accepted: accepted)
    sharedLoad.withLock { [speculation] in $0.speculation = speculation }
    acceptance.add(match: draft.match, drafted: draft.tokens.count, accepted: accepted, weight: 0.02)
    job.speculation?.learn(draft, accepted: accepted)
    job.feed.setSpeculation(job.speculation?.counts ?? .init())
  }

  /// Drops the tokens of a guess that did not come true.
  private func dropGuess(of job: Job) throws {
    job.given = job.tokens.count - 1
    job.mustGiveLast = true
    do throws(EngineError) {
      try engine.truncate(job.sequence!, to: job.given)
    } catch {
      // A shared page has no room for a copy: the request runs again from its tokens.
      guard error.isCacheFull, let index = running.firstIndex(where: { $0 === job }) else { throw error }
      preempt(index)
    }
  }
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

package import BitNetInference
import Synchronization

/// The tokens of one request, as they are generated. Releasing the last reference to the stream ends the request.
package final class TokenStream: Sendable {
  let feed: TokenFeed
  /// Kept while tokens are read: without it none would come.
  private let scheduler: Scheduler

  init(_ feed: TokenFeed, from scheduler: Scheduler) { (self.feed, self.scheduler) = (feed, scheduler) }

  deinit { feed.cancel() }

  /// Ends the request; `next` then throws `CancellationError`.
  package func cancel() { feed.cancel() }

  /// The next token; nil after the last one.
  ///
  /// - Throws: `CancellationError` when the task is cancelled, otherwise the error that ended the request.
  package func next() async throws -> SampledToken? {
    let feed = feed
    return try await withTaskCancellationHandler {
      try await feed.next()
    } onCancel: {
      feed.cancel()
    }
  }

  /// How many of the prompt's tokens the cache held when the request first ran; 0 until then.
  package var cachedTokens: Int { feed.cachedTokens }

  /// What speculation has done for the request so far.
  package var speculation: SpeculationCounts { feed.speculation }
  /// When the request's turn came; nil until then.
  package var admission: ContinuousClock.Instant? { feed.admission }
}

/// A queue of tokens from the scheduler to one reader.
package final class TokenFeed: Sendable {
  /// A request pauses when its reader is this many tokens behind, until it is half as many behind.
  package static let capacity = 16
  /// How many tokens a reader that reads in groups is woken for. Waking one takes as long as computing a small model's
  /// token.
  private static let group = 8

  private struct State {
    var unread: [SampledToken] = []
    var reader: CheckedContinuation<SampledToken?, any Error>?
    var end: Result<Void, any Error>?
    var isCancelled = false
    var isResting = false
    var cachedTokens = 0
    var speculation = SpeculationCounts()
    var admission: ContinuousClock.Instant?
    /// How many unread tokens wake the reader.
    var wanted = 1
  }

  private let readsInGroups: Bool
  private let state = Mutex(State())
  /// Called when the scheduler can continue with this request.
  private let wake: @Sendable () -> Void

  package init(readsInGroups: Bool, wake: @escaping @Sendable () -> Void) {
    self.readsInGroups = readsInGroups
    self.wake = wake
  }

  var cachedTokens: Int { state.withLock { $0.cachedTokens } }
  var speculation: SpeculationCounts { state.withLock { $0.speculation } }
  var admission: ContinuousClock.Instant? { state.withLock { $0.admission } }
  var isCancelled: Bool { state.withLock { $0.isCancelled } }

  /// Whether the reader is so far behind, counting the tokens of running steps, that the request should pause. It then
  /// does so until the reader wakes the scheduler: if it went on any sooner, a scheduler that has just seen it pause, and
  /// ends its steps for want of others, would not be woken.
  package func rests(underWay: Int) -> Bool {
    state.withLock { state in
      if state.unread.count + underWay >= Self.capacity { state.isResting = true }
      return state.isResting
    }
  }

  func admit(cachedTokens: Int) {
    state.withLock { state in
      state.cachedTokens = cachedTokens
      state.admission = state.admission ?? .now
    }
  }

  func setSpeculation(_ counts: SpeculationCounts) { state.withLock { $0.speculation = counts } }

  package func add(_ token: SampledToken) {
    let (reader, first) = state.withLock { state -> (CheckedContinuation<SampledToken?, any Error>?, SampledToken?) in
      state.unread.append(token)
      guard let reader = state.reader, state.unread.count >= state.wanted else { return (nil, nil) }
      state.reader = nil
      if readsInGroups { state.wanted = Self.group }
      return (reader, state.unread.removeFirst())
    }
    reader?.resume(returning: first)
  }

  func finish(_ result: Result<Void, any Error>) {
    let (reader, first) = state.withLock { state -> (CheckedContinuation<SampledToken?, any Error>?, SampledToken?) in
      guard state.end == nil else { return (nil, nil) }
      state.end = result
      guard let reader = state.reader else { return (nil, nil) }
      state.reader = nil
      // What a cancelled request has left unread is dropped.
      if case .failure(is CancellationError) = result { return (reader, nil) }
      return (reader, state.unread.isEmpty ? nil : state.unread.removeFirst())
    }
    if let first { reader?.resume(returning: first) } else { reader?.resume(with: result.map { nil }) }
  }

  func cancel() {
    let wasDone = state.withLock { state in
      defer { state.isCancelled = true }
      return state.end != nil || state.isCancelled
    }
    guard !wasDone else { return }
    finish(.failure(CancellationError()))
    wake()
  }

  package func next() async throws -> SampledToken? {
    try await withCheckedThrowingContinuation { continuation in
      enum Answer { case token(SampledToken), end(Result<Void, any Error>), later }
      let (answer, wakes) = state.withLock { state -> (Answer, Bool) in
        if state.isCancelled, let end = state.end { return (.end(end), false) }
        guard state.unread.isEmpty else {
          let token = state.unread.removeFirst()
          let wakes = state.isResting && state.unread.count <= Self.capacity / 2
          if wakes { state.isResting = false }
          return (.token(token), wakes)
        }
        if let end = state.end { return (.end(end), false) }
        precondition(state.reader == nil, "a stream of tokens has one reader")
        state.reader = continuation
        defer { state.isResting = false }
        return (.later, state.isResting)
      }
      switch answer {
      case .token(let token): continuation.resume(returning: token)
      case .end(let result): continuation.resume(with: result.map { nil })
      case .later: break
      }
      if wakes { wake() }
    }
  }
}

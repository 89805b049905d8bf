package import BitNetInference
import Synchronization

/// Texts whose hidden states are wanted: nothing is generated for them.
final class TextGroup: Sendable {
  private struct State {
    var vectors: [[Float]?]
    var left: Int
    var continuation: CheckedContinuation<[[Float]], any Error>?
    var isCancelled = false
  }

  private let state: Mutex<State>

  init(_ count: Int) { state = Mutex(State(vectors: Array(repeating: nil, count: count), left: count)) }

  /// Whether nothing of the group is wanted any more.
  var isDone: Bool { state.withLock { $0.isCancelled || ($0.left > 0 && $0.continuation == nil) } }

  func wait(_ continuation: CheckedContinuation<[[Float]], any Error>) {
    let isCancelled = state.withLock { state in
      if !state.isCancelled { state.continuation = continuation }
      return state.isCancelled
    }
    if isCancelled { continuation.resume(throwing: CancellationError()) }
  }

  func cancel() {
    state.withLock { $0.isCancelled = true }
    finish(.failure(CancellationError()))
  }

  func add(_ vector: [Float], at index: Int) {
    let vectors = state.withLock { state -> [[Float]]? in
      state.vectors[index] = vector
      state.left -= 1
      return state.left == 0 ? state.vectors.compactMap(\.self) : nil
    }
    if let vectors { finish(.success(vectors)) }
  }

  func finish(_ result: Result<[[Float]], any Error>) {
    let continuation = state.withLock { state in
      defer { state.continuation = nil }
      return state.continuation
    }
    continuation?.resume(with: result)
  }
}

/// A text that waits for its step, or is in one.
final class TextJob {
  let tokens: [Int32]
  let rows: Batch.Rows
  let group: TextGroup
  /// The place in its group.
  let index: Int
  /// While a step runs it.
  var sequence: SequenceID?

  init(tokens: [Int32], rows: Batch.Rows, group: TextGroup, index: Int) {
    self.tokens = tokens
    self.rows = rows
    self.group = group
    self.index = index
  }
}

extension Scheduler {
  /// The hidden states after the final norm of some texts, each in a sequence of its own and in one step. Short ones
  /// go together, also with those of other callers and beside requests.
  ///
  /// - Parameters:
  ///   - texts: each at least one token, at most the context's length.
  ///   - rows: `.last`, of which beginnings may come from the cache, or `.all`.
  /// - Returns: for each text `[rows][hidden]`.
  /// - Throws: `EngineError` when the engine cannot run one of them; `SchedulerError.queueFull`; `CancellationError`.
  package func hiddenStates(of texts: [[Int32]], rows: Batch.Rows) async throws -> [[Float]] {
    guard !texts.isEmpty else { return [] }
    try check(texts)
    let group = TextGroup(texts.count)
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        group.wait(continuation)
        add(texts.enumerated().map { TextJob(tokens: $1, rows: rows, group: group, index: $0) })
      }
    } onCancel: {
      group.cancel()
    }
  }
}

#if Server
  import Synchronization

  /// Tells the work for a connection that the client has left.
  final class ConnectionState: Sendable {
    /// The connection whose request the task answers.
    @TaskLocal static var current: ConnectionState?

    private struct State {
      var isGone = false
      var isAbandoned = false
      var next = 0
      var handlers: [Int: @Sendable () -> Void] = [:]
    }
    private let state = Mutex(State())

    /// Whether an answer was given up because the client has left, so that nothing is to be written.
    var isAbandoned: Bool { state.withLock { $0.isAbandoned } }

    /// Notes that the answer to a client that has left is given up.
    func abandon() { state.withLock { $0.isAbandoned = $0.isGone } }

    /// Ends the work for the connection.
    func clientLeft() {
      let handlers = state.withLock { state in
        state.isGone = true
        defer { state.handlers = [:] }
        return Array(state.handlers.values)
      }
      for handler in handlers { handler() }
    }

    /// Runs `body` in a task that is cancelled when the client of the current connection leaves.
    static func whileConnected<Output: Sendable>(
      _ body: @escaping @Sendable () async throws -> Output
    ) async throws -> Output {
      guard let current else { return try await body() }
      let task = Task { try await body() }
      let number = current.state.withLock { state -> Int? in
        if state.isGone { return nil }
        state.next += 1
        state.handlers[state.next] = { task.cancel() }
        return state.next
      }
      if number == nil { task.cancel() }
      defer { if let number { current.state.withLock { $0.handlers[number] = nil } } }
      return try await withTaskCancellationHandler {
        try await task.value
      } onCancel: {
        task.cancel()
      }
    }
  }
#endif

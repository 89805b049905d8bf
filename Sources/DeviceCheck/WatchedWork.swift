import Dispatch
import Synchronization

/// Blocking work on a separate thread. It is given up when one of its steps takes too long.
///
/// A driver call that waits for a kernel that never ends cannot be interrupted. Its thread is left behind, with
/// everything that it holds.
package final class WatchedWork: Sendable {
  /// A step that took too long.
  package struct Overdue: Error, CustomStringConvertible {
    let step: String
    let patience: Duration

    package var description: String { "\(step) did not end within \(patience.components.seconds) seconds" }
  }

  /// Thrown to work that was given up and then reaches its next step after all.
  package struct GivenUp: Error {}

  private struct State {
    var step = ""
    var patience = Duration.zero
    var deadline: ContinuousClock.Instant?
    var outcome: Result<Void, any Error>?
    var isGivenUp = false
  }
  private let state = Mutex(State())
  private let ended = DispatchSemaphore(value: 0)

  /// Runs work and waits for it.
  ///
  /// - Parameters:
  ///   - giveUp: called when a step is overdue, before the work can begin another step.
  ///   - body: the work. It begins each of its steps with `begin`.
  /// - Throws: what `body` throws, or `Overdue`.
  package static func run(giveUp: () -> Void, _ body: @escaping @Sendable (WatchedWork) throws -> Void) throws {
    let work = WatchedWork()
    DispatchQueue(label: "BitNet.watched").async {
      let outcome = Result { try body(work) }
      work.state.withLock { $0.outcome = outcome }
      work.ended.signal()
    }
    while true {
      let isEnded = work.ended.wait(timeout: .now() + .milliseconds(50)) == .success
      let overdue: Overdue? = work.state.withLock { state in
        guard !isEnded, state.outcome == nil, let deadline = state.deadline, deadline < .now else { return nil }
        state.isGivenUp = true
        giveUp()
        return Overdue(step: state.step, patience: state.patience)
      }
      if let overdue { throw overdue }
      if isEnded { return try work.state.withLock { $0.outcome! }.get() }
    }
  }

  /// Begins a step of the work.
  ///
  /// - Parameters:
  ///   - step: completes the sentence "… did not end".
  ///   - patience: the time that the step may take.
  package func begin(_ step: String, patience: Duration) throws {
    try state.withLock { state in
      if state.isGivenUp { throw GivenUp() }
      (state.step, state.patience, state.deadline) = (step, patience, .now + patience)
    }
  }
}

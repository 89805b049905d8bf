import Synchronization

/// How far a download is.
package struct HubProgress: Sendable {
  /// Bytes of the files, with those that were there before.
  package var received = 0
  package var total = 0
  /// Bytes that this process transferred.
  package var transferred = 0
  /// What the download waits for, such as "another download of config.json"; nil while bytes arrive.
  package var waiting: String?
}

/// Collects the progress of all connections.
final class HubMeter: Sendable {
  private let state = Mutex(HubProgress())
  private let report: @Sendable (HubProgress) -> Void

  init(_ report: @escaping @Sendable (HubProgress) -> Void) { self.report = report }

  func change(_ body: @Sendable (inout HubProgress) -> Void) {
    report(
      state.withLock { state in
        body(&state)
        return state
      })
  }

  /// - Parameter count: bytes that arrived and are written.
  func received(_ count: Int) {
    change {
      $0.received += count
      $0.transferred += count
      $0.waiting = nil
    }
  }

  var transferred: Int { state.withLock { $0.transferred } }
}

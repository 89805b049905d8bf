import Synchronization

/// What changes while a server runs.
package final class ServerState: Sendable {
  private let draining = Atomic(false)

  package init() {}

  /// Whether the server is about to end: it refuses new work and finishes what runs.
  package var isDraining: Bool { draining.load(ordering: .acquiring) }

  package func startDraining() { draining.store(true, ordering: .releasing) }
}

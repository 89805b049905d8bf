import Dispatch
import BitNetInference

/// Owns an engine and lends it to one caller at a time, on a thread of its own, so that a forward pass never blocks Swift's
/// cooperative threads.
final class EngineHost: @unchecked Sendable {
  // Unchecked: the engine is touched only on the queue.
  private let engine: any Engine
  private let queue = DispatchQueue(label: "BitNet.engine", qos: .userInitiated)
  let contextLength: Int
  let summary: String
  let burstLength: Int

  init(_ engine: any Engine) {
    self.engine = engine
    contextLength = engine.contextLength
    summary = engine.summary
    burstLength = engine.burstLength
  }

  /// Runs `body` with the engine, after the calls before it.
  func perform<Result: Sendable>(_ body: @escaping @Sendable (any Engine) throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { continuation.resume(with: Swift.Result { try body(self.engine) }) }
    }
  }

  /// Frees a sequence without waiting for it.
  func remove(_ sequence: SequenceID) {
    queue.async { self.engine.removeSequence(sequence) }
  }
}

/// A sequence of an engine, freed with the last reference to it.
final class HostedSequence: Sendable {
  let host: EngineHost
  let id: SequenceID

  init(_ host: EngineHost) async throws {
    self.host = host
    id = try await host.perform { $0.makeSequence() }
  }

  deinit { host.remove(id) }
}

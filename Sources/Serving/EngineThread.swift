import Dispatch

/// Runs the jobs of a scheduler and its engine one at a time, outside Swift's cooperative threads, which a forward pass
/// would block.
final class EngineThread: SerialExecutor {
  private let queue = DispatchQueue(label: "BitNet.engine", qos: .userInitiated)

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
  }

  func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }
}

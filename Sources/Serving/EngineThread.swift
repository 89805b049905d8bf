import Dispatch
import Foundation
import Synchronization

/// Runs the jobs of a scheduler and its engine one at a time, on a thread of its own. Swift's tasks and the queues of
/// Dispatch share one thread per core, which forward passes would occupy.
final class EngineThread: SerialExecutor {
  private enum Work {
    /// Keeps the executor as long as it has a job.
    case job(UnownedJob, EngineThread)
    case resumption(UnsafeContinuation<Void, Never>)
    case end
  }

  private final class List: Sendable {
    let work = Mutex<(items: [Work], next: Int)>(([], 0))
    let count = DispatchSemaphore(value: 0)

    func append(_ item: Work) {
      work.withLock { $0.items.append(item) }
      count.signal()
    }

    func next() -> Work {
      count.wait()
      return work.withLock { work in
        let item = work.items[work.next]
        work.next += 1
        if work.next == work.items.count { work = ([], 0) }
        return item
      }
    }
  }

  private let list = List()

  init() {
    let list = list
    let thread = Thread {
      Thread.current.name = "BitNet engine"
      while true {
        switch list.next() {
        case .job(let job, let executor): job.runSynchronously(on: executor.asUnownedSerialExecutor())
        case .resumption(let continuation): continuation.resume()
        case .end: return
        }
      }
    }
    // The C library's own choice can be far smaller.
    thread.stackSize = 8 << 20
    thread.start()
  }

  deinit { list.append(.end) }

  func enqueue(_ job: consuming ExecutorJob) { list.append(.job(UnownedJob(job), self)) }

  func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

  /// Lets the jobs that are there now run first. `Task.yield` does so too, but by way of another thread, which takes as
  /// long as a step of a small model.
  nonisolated(nonsending) func yield() async {
    guard list.work.withLock({ !$0.items.isEmpty }) else { return }
    await withUnsafeContinuation { list.append(.resumption($0)) }
  }
}

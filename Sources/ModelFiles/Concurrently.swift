import Dispatch
import Synchronization

/// Runs `body` for 0..<count, on as many threads as the machine has cores, and waits for all of them.
///
/// - Throws: the error of the lowest index that threw, so that a broken file gives the same error on every machine.
func concurrently(
  _ count: Int, _ body: @Sendable (Int) throws(ModelFileError) -> Void
) throws(ModelFileError) {
  let failure = Mutex<(index: Int, error: ModelFileError)?>(nil)
  DispatchQueue.concurrentPerform(iterations: count) { index in
    do throws(ModelFileError) {
      try body(index)
    } catch {
      failure.withLock { if index < ($0?.index ?? .max) { $0 = (index, error) } }
    }
  }
  if let failure = failure.withLock({ $0 }) { throw failure.error }
}

import BitNetModelFiles
import Foundation
import Synchronization

/// Handles signals on a separate thread, which may call any function, until it is cancelled.
///
/// If a signal has several handlers, the newest is called.
final class SignalHandler: Sendable {
  private let signals: [Int32]

  /// - Parameter body: called with the signal's number.
  init(_ signals: [Int32], _ body: @escaping @Sendable (Int32) -> Void) {
    self.signals = signals
    for number in signals { SignalRelay.shared.add(number, owner: ObjectIdentifier(self), body) }
  }

  func cancel() {
    for number in signals { SignalRelay.shared.remove(number, owner: ObjectIdentifier(self)) }
  }
}

/// Passes signals from the system's handler, which may call next to nothing, to the thread that handles them.
///
/// This is a pipe and not dispatch sources because on Linux a source that is created after another one for the same
/// signal was cancelled can miss the signal.
private final class SignalRelay: Sendable {
  private typealias Handler = (owner: ObjectIdentifier, body: @Sendable (Int32) -> Void)

  static let shared = SignalRelay()
  private let handlers = Mutex<[Int32: [Handler]]>([:])

  private let pipe: (read: Int32, write: Int32)

  private init() {
    var ends: [Int32] = [-1, -1]
    _ = Foundation.pipe(&ends)
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    pipe = (ends[0], ends[1])
    Thread.detachNewThread { self.deliver() }
  }

  private func deliver() {
    unblockSignals()
    var number: UInt8 = 0
    while true {
      let count = read(pipe.read, &number, 1)
      if count == 1 {
        let body = handlers.withLock { $0[Int32(number)]?.last?.body }
        body?(Int32(number))
      } else if count == 0 || errno != EINTR {
        return
      }
    }
  }

  func add(_ number: Int32, owner: ObjectIdentifier, _ body: @escaping @Sendable (Int32) -> Void) {
    handlers.withLock { $0[number, default: []].append((owner, body)) }
    signal(number) { number in
      let error = errno
      var byte = UInt8(truncatingIfNeeded: number)
      _ = write(SignalRelay.shared.pipe.write, &byte, 1)
      errno = error
    }
  }

  func remove(_ number: Int32, owner: ObjectIdentifier) {
    handlers.withLock { handlers in
      handlers[number]?.removeAll { $0.owner == owner }
      if handlers[number]?.isEmpty == true { signal(number, SIG_DFL) }
    }
  }
}

/// Removes the unfinished `OutputFile` at a path when a signal ends the process while `body` runs.
func removingPartialOutput<Result>(of output: String, _ body: () throws -> Result) rethrows -> Result {
  let handler = SignalHandler([SIGINT, SIGTERM, SIGHUP]) { number in
    OutputFile.removePartial(of: output)
    endProcess(by: number)
  }
  defer { handler.cancel() }
  return try body()
}

/// Stops the process as SIGTSTP does where it is not handled. Returns when the process continues.
func stopProcess() {
  let handler = signal(SIGTSTP, SIG_DFL)
  var (stop, before) = (sigset_t(), sigset_t())
  sigemptyset(&stop)
  sigaddset(&stop, SIGTSTP)
  // The signal is for this thread: if another one took it, this one would run on before it stops.
  pthread_sigmask(SIG_UNBLOCK, &stop, &before)
  raise(SIGTSTP)
  pthread_sigmask(SIG_SETMASK, &before, nil)
  signal(SIGTSTP, handler)
}

/// Unblocks every signal for this thread, regardless of the signals that the parent process and other threads block.
func unblockSignals() {
  var signals = sigset_t()
  sigfillset(&signals)
  pthread_sigmask(SIG_UNBLOCK, &signals, nil)
}

import BitNetDeviceCheck
import Foundation

/// Ends the process as if the signal had not been handled, so that a shell sees the cause.
func endProcess(by number: Int32) -> Never {
  Terminal.restore()
  signal(number, SIG_DFL)
  unblockSignals()
  raise(number)
  _exit(128 + number)
}

/// If a kernel on a GPU did not end, makes the process exit without the driver's exit handlers, which might wait for
/// the kernel.
func endAtOnceIfWorkIsLeftBehind() {
  #if canImport(Glibc)
    guard DeviceCheck.leftWorkBehind else { return }
    // Handlers run in the reverse order of their registration, so this one runs before the driver's.
    on_exit(
      { status, _ in
        fflush(nil)
        _exit(status)
      }, nil)
  #endif
}

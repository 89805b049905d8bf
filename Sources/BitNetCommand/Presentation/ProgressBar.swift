import Foundation
import Synchronization

/// A progress bar on standard error. It is not drawn when standard error is not a terminal.
final class ProgressBar: Sendable {
  private struct State {
    var drawn: ContinuousClock.Instant?
    var isFinished = false
  }
  private let label: String
  private let isShown = ByteOutput.errors.isTerminal
  private let state = Mutex(State())

  init(_ label: String) { self.label = label }

  func update(_ share: Double) { update(share) { "" } }

  /// - Parameters:
  ///   - share: 0 to 1.
  ///   - details: text after the bar, such as the time left; called when the bar is drawn.
  func update(_ share: Double, details: () -> String) {
    guard isShown else { return }
    state.withLock { state in
      let now = ContinuousClock.now
      if state.isFinished { return }
      if let drawn = state.drawn, now - drawn < .milliseconds(100) { return }
      state.drawn = now
      let text = details()
      let details = text.isEmpty ? "" : "  \(text)"
      // The bar keeps its length while a short text changes.
      let used = label.count + 12 + (text.isEmpty ? 0 : max(30, details.count))
      let room = max(10, min(40, TerminalSize.current(ByteOutput.errors.descriptor).columns - used))
      let filled = Int(share * Double(room))
      let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: room - filled)
      let percent = String(Int(share * 100))
      try? ByteOutput.errors.write(
        "\r\(label) [\(bar)] \(String(repeating: " ", count: 3 - percent.count))\(percent) %\(details)\u{1B}[K")
    }
  }

  /// Removes the bar.
  func finish() {
    state.withLock { state in
      if state.drawn != nil, !state.isFinished { try? ByteOutput.errors.write("\r\u{1B}[K") }
      state.isFinished = true
    }
  }
}

import Synchronization

/// The speed of a transfer over the last seconds.
package final class TransferRate: Sendable {
  private typealias Sample = (time: ContinuousClock.Instant, bytes: Int)
  private let samples = Mutex<[Sample]>([])

  package init() {}

  private static let window = Duration.seconds(5)

  /// The speed and the time left, such as "12.3 MB/s, 1:05 left"; empty until both are known.
  ///
  /// - Parameters:
  ///   - transferred: bytes so far.
  ///   - left: bytes to come.
  ///   - now: the time, for tests.
  package func text(transferred: Int, left: Int, now: ContinuousClock.Instant = .now) -> String {
    let oldest = samples.withLock { samples in
      samples.append((now, transferred))
      samples.removeAll { now - $0.time > Self.window }
      return samples[0]
    }
    let seconds = (now - oldest.time) / .seconds(1)
    // The first moments say nothing about the rest.
    guard seconds >= 0.5, transferred > oldest.bytes else { return "" }
    let rate = Double(transferred - oldest.bytes) / seconds
    return "\(size(Int(rate)))/s, \(Self.clock(Double(left) / rate)) left"
  }

  /// Seconds as minutes and seconds, with hours from one hour on.
  package static func clock(_ seconds: Double) -> String {
    guard seconds < 360_000 else { return "days" }
    let whole = Int(seconds.rounded(.up))
    func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let (hours, minutes) = (whole / 3600, whole / 60 % 60)
    return hours > 0 ? "\(hours):\(two(minutes)):\(two(whole % 60))" : "\(minutes):\(two(whole % 60))"
  }
}

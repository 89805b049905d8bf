import BitNetCPUEngine
import BitNetTernary
import CBitNetTernary

/// The bandwidth at which this machine reads memory, which bounds the speed of decoding.
package final class MemoryBandwidth {
  /// The bytes that one pass reads: more than any cache holds.
  package static let passByteCount = 512 << 20
  private static let piece = 4 << 20

  private let team: ThreadTeam
  private let buffer: PageBuffer
  private let sums = AlignedBuffer(count: passByteCount / piece * 8)

  /// - Parameter threads: 1 to 1024; `CPUEngine.defaultThreads` when nil.
  /// - Returns: nil when there is no room for half a gigabyte.
  package init?(threads: Int? = nil) {
    team = ThreadTeam(count: min(max(threads ?? CPUEngine.defaultThreads, 1), 1024))
    guard let buffer = PageBuffer(count: Self.passByteCount) else { return nil }
    self.buffer = buffer
    let base = buffer.bytes.baseAddress!
    // The threads that will read each piece write it first, so that it is in memory near them.
    team.run { member in
      member.phase(Self.passByteCount / Self.piece) {
        (base + $0 * Self.piece).initializeMemory(as: UInt8.self, repeating: 0, count: Self.piece)
      }
    }
  }

  /// Reads half a gigabyte once.
  ///
  /// - Returns: the time in seconds.
  package func pass() -> Double {
    let base = buffer.bytes.baseAddress!
    // Store the results, so that the compiler cannot remove the reads.
    let results = sums.bytes.bindMemory(to: UInt64.self).baseAddress!
    return ContinuousClock().measure {
      team.run { member in
        member.phase(Self.passByteCount / Self.piece) { results[$0] = ternary_read(base + $0 * Self.piece, Self.piece) }
      }
    } / .seconds(1)
  }

  /// Reads half a gigabyte several times.
  ///
  /// - Returns: the bytes per second of the median pass; 0 when there is no room for half a gigabyte.
  package static func measure(threads: Int? = nil) -> Double {
    guard let memory = MemoryBandwidth(threads: threads) else { return 0 }
    let seconds = (0..<5).map { _ in memory.pass() }
    return Double(passByteCount) / seconds.sorted()[seconds.count / 2]
  }
}

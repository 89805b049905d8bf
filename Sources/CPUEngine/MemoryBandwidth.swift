import CTernary
import Ternary

/// How fast this machine reads memory: the bound on how fast a model's weights can go by.
public enum MemoryBandwidth {
  /// Bytes read in one pass: larger than any cache.
  private static let byteCount = 512 << 20

  /// Reads half a gigabyte on several threads, several times.
  ///
  /// - Parameter threads: 1 to 1024; `CPUEngine.defaultThreads` when nil.
  /// - Returns: bytes a second of the median pass; 0 when there is no room for half a gigabyte.
  public static func measure(threads: Int? = nil) -> Double {
    let team = ThreadTeam(count: min(max(threads ?? CPUEngine.defaultThreads, 1), 1024))
    guard let buffer = PageBuffer(count: byteCount) else { return 0 }
    let base = buffer.bytes.baseAddress!
    let piece = 4 << 20
    // Written by the threads that will read it, so that it lies near them.
    team.run { member in
      member.phase(byteCount / piece) { (base + $0 * piece).initializeMemory(as: UInt8.self, repeating: 0, count: piece) }
    }
    // The buffer is all zeros, so a result that is not says that it was not read; and the compiler must read it to know.
    let sums = AlignedBuffer(count: byteCount / piece * 8)
    let results = sums.bytes.bindMemory(to: UInt64.self).baseAddress!
    let clock = ContinuousClock()
    var rates: [Double] = []
    for _ in 0..<5 {
      let time = clock.measure {
        team.run { member in
          member.phase(byteCount / piece) { results[$0] = ternary_read(base + $0 * piece, piece) }
        }
      }
      rates.append(Double(byteCount) / (time / .seconds(1)))
    }
    withExtendedLifetime((buffer, sums)) {}
    return rates.sorted()[rates.count / 2]
  }
}

package import BitNetCPUEngine
import BitNetTernary
import CBitNetTernary

/// Times the CPU's W2A8 product alone, without a model around it.
///
/// ```swift
/// let benchmark = try CPUKernelBenchmark()
/// let problem = try ProductProblem(rows: 2560, columns: 2560, tokens: 1)
/// let run = benchmark.load(problem).measure(tokens: 1)
/// ```
package final class CPUKernelBenchmark {
  /// The results of a product, and its times.
  package struct Measurement: Sendable {
    /// `[tokens][stride]`.
    package let products: [Int32]
    /// The distance between two tokens' products: the rows, padded to whole tiles.
    package let stride: Int
    /// The time of one product in seconds, for each sample. Cold: every product uses another copy of the weights, from
    /// memory.
    package let cold: [Double]
    /// Warm: every product uses the same copy, from a cache if it fits.
    package let warm: [Double]
  }

  package let instructionSet: InstructionSet
  /// The number of threads that work, including the caller's.
  package var threads: Int { team.count }
  fileprivate let team: ThreadTeam
  fileprivate let isQuick: Bool

  /// - Parameters:
  ///   - threads: 1 to 1024; `CPUEngine.defaultThreads` when nil.
  ///   - instructionSet: one of `InstructionSet.available`; the best one when nil.
  ///   - isQuick: fewer samples, and copies of the weights for 64 MiB instead of 512: enough for most processors'
  ///     caches.
  package init(threads: Int? = nil, instructionSet: InstructionSet? = nil, isQuick: Bool = false) {
    self.instructionSet = instructionSet ?? InstructionSet.available[0]
    self.isQuick = isQuick
    team = ThreadTeam(count: min(max(threads ?? CPUEngine.defaultThreads, 1), 1024))
  }

  /// Measures the bytes per second that the same threads read from memory.
  package func readBytesPerSecond() -> Double { MemoryBandwidth.measure(threads: threads) }

  /// Copies a problem's weights.
  package func load(_ problem: ProductProblem) -> CPUKernelBenchmarkMatrix { CPUKernelBenchmarkMatrix(self, problem) }
}

/// A problem's weights, in so many copies that no cache holds all of them.
package final class CPUKernelBenchmarkMatrix {
  package let copyCount: Int
  private let benchmark: CPUKernelBenchmark
  private let problem: ProductProblem
  private let copies: AlignedBuffer
  private let copyByteCount: Int
  private let kernels: TernaryKernels
  private var nextCopy = 0

  /// The most tokens that are multiplied together, as in the forward pass.
  private static let sliceLength = 64

  fileprivate init(_ benchmark: CPUKernelBenchmark, _ problem: ProductProblem) {
    self.benchmark = benchmark
    self.problem = problem
    kernels = benchmark.instructionSet.kernels
    let bytes = problem.matrix.tiles.count
    copyByteCount = bytes
    copyCount = (benchmark.isQuick ? 64 << 20 : 512 << 20) / bytes + 1
    copies = AlignedBuffer(count: copyCount * bytes)
    let base = copies.bytes.baseAddress!
    problem.matrix.tiles.withUnsafeBytes { tiles in
      for copy in 0..<copyCount { (base + copy * bytes).copyMemory(from: tiles.baseAddress!, byteCount: bytes) }
    }
  }

  /// Multiplies the problem's first tokens, and times the product.
  ///
  /// - Parameter tokens: 1 to the number of tokens of the problem.
  package func measure(tokens: Int) -> CPUKernelBenchmark.Measurement {
    let stride = problem.matrix.paddedRows
    var products = [Int32](repeating: 0x5555_5555, count: tokens * stride)
    let samples = products.withUnsafeMutableBufferPointer { products in
      let out = products.baseAddress!
      return (cold: sample(tokens, rotates: true, out), warm: sample(tokens, rotates: false, out))
    }
    return .init(products: products, stride: stride, cold: samples.cold, warm: samples.warm)
  }

  /// The time of one product in seconds, for each sample. A sample is a series of products that takes some
  /// milliseconds.
  private func sample(_ tokens: Int, rotates: Bool, _ out: UnsafeMutablePointer<Int32>) -> [Double] {
    // The first run also loads the activations, and for the warm times the weights, into the caches.
    let first = run(tokens, rotates: rotates, count: 1, out)
    let one = min(first, run(tokens, rotates: rotates, count: 1, out))
    let wanted = benchmark.isQuick ? 0.002 : 0.02
    let count = max(1, min(1 << 16, Int(wanted / one)))
    let samples = max(3, min(benchmark.isQuick ? 5 : 21, Int((benchmark.isQuick ? 0.2 : 2) / (one * Double(count)))))
    return (0..<samples).map { _ in run(tokens, rotates: rotates, count: count, out) / Double(count) }
  }

  /// The time of `count` consecutive products, in seconds.
  private func run(_ tokens: Int, rotates: Bool, count: Int, _ out: UnsafeMutablePointer<Int32>) -> Double {
    let (matrix, stride) = (problem.matrix, problem.codeStride)
    let (base, firstCopy) = (UnsafeRawPointer(copies.bytes.baseAddress!), nextCopy)
    if rotates { nextCopy = (nextCopy + count) % copyCount }
    return problem.codes.withUnsafeBufferPointer { codes in
      problem.sums.withUnsafeBufferPointer { sums in
        let time = ContinuousClock().measure {
          benchmark.team.run { member in
            for index in 0..<count {
              let tiles = base + (rotates ? (firstCopy + index) % copyCount : 0) * copyByteCount
              for token in Swift.stride(from: 0, to: tokens, by: Self.sliceLength) {
                member.phase(matrix.paddedRows, unit: Tile.rows, perMember: 8) { rows in
                  kernels.multiply(
                    tiles + rows.lowerBound / Tile.rows * matrix.tilesPerRow * Tile.bytes, matrix.tilesPerRow,
                    rows.count,
                    codes.baseAddress! + token * stride, stride, sums.baseAddress! + token,
                    min(Self.sliceLength, tokens - token),
                    out + token * matrix.paddedRows + rows.lowerBound, matrix.paddedRows)
                }
              }
            }
          }
        }
        return time / .seconds(1)
      }
    }
  }
}

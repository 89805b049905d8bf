import BitNetDiagnostics
import BitNetInference
import BitNetTernary

/// The results of `bench kernels`, printed as a table or as JSON Lines.
struct BenchReport {
  struct Machine: Encodable {
    /// The value for --device.
    let device: String
    /// The GPU's name, or the processor's instruction set.
    let name: String
    let reason: String
    let emulated: Bool
    /// The CUDA version that the driver supports.
    let driver: String?
    /// The number of CPU threads; nil for a GPU.
    let threads: Int?
    /// Nil if it could not be measured.
    let memoryBytesPerSecond: Double?
    /// `copy`: bytes read and written by a copy; `read`: bytes read.
    let memoryMeasure: String
    /// The error that prevented the memory's speed from being measured.
    let memoryError: String?
    let bf16Library: String?
  }

  /// A product that could not be measured.
  struct Failure: Encodable {
    let shape: String
    let rows: Int
    let columns: Int
    let tokens: Int
    let error: String

    /// The failure as a line of the table.
    var line: String { BenchReport.columns.row([shape, "FAILED", "\(tokens)"]) + "  \(error)\n" }
  }

  struct End: Encodable {
    let products: Int
    /// The number of products that are not exact.
    let wrong: Int
    /// The number of measurements that failed: of products, and of the memory's speed.
    let failed: Int
    /// Whether nothing is wrong and nothing failed.
    let equal: Bool
  }

  /// The time of one product, in seconds.
  struct Times: Encodable {
    let median: Double
    let minimum: Double
    let percentile10: Double
    let percentile90: Double
    let samples: Int

    /// - Parameter samples: one or more.
    init(_ samples: [Double]) {
      median = samples.quantile(0.5)
      minimum = samples.quantile(0)
      percentile10 = samples.quantile(0.1)
      percentile90 = samples.quantile(0.9)
      self.samples = samples.count
    }
  }

  struct Timing: Encodable {
    /// The number of copies of the weights that the cold products cycle through, and the bytes of all copies.
    let copies: Int
    let copiedBytes: Int
    let cold: Times
    let warm: Times
  }

  struct Check: Encodable {
    let exact: Bool
    let products: Int
    let compared: Int
    /// Rows that were compared for every token. For token 0, all rows were.
    let rowsOfEveryToken: Int
    let wrong: Int
    /// The first wrong product, in words.
    let first: String?
  }

  struct Result: Encodable {
    let shape: String
    let rows: Int
    let columns: Int
    let tokens: Int
    let kernel: String
    let check: Check
    let w2a8: Timing
    let bf16: Timing?
    let bf16Absence: String?
    /// The cold time of the BF16 product divided by that of the W2A8 product.
    let speedup: Double?
    /// Bytes of weights (rows · columns / 4) divided by the cold time.
    let bytesPerSecond: Double
    /// `bytesPerSecond` divided by the machine's `memoryBytesPerSecond`; nil if that is unknown.
    let shareOfMemory: Double?
    /// Multiplications and additions divided by the cold time.
    let operationsPerSecond: Double
  }

  let machine: Machine
  var results: [Result] = []
  var failures: [Failure] = []
}

extension BenchReport.Result {
  /// - Parameter memory: the memory's bytes per second; nil if unknown.
  init(_ problem: ProductProblem, tokens: Int, _ measurement: BenchMachine.Measurement, memory: Double?) {
    let check = problem.check(measurement.products, stride: measurement.stride, tokens: tokens)
    let w2a8 = BenchReport.Timing(
      copies: measurement.copies, copiedBytes: measurement.copies * problem.matrix.tiles.count,
      cold: .init(measurement.cold),
      warm: .init(measurement.warm))
    let bf16 = measurement.bf16.map {
      BenchReport.Timing(
        copies: $0.copyCount, copiedBytes: $0.copyCount * problem.rows * problem.columns * 2, cold: .init($0.cold),
        warm: .init($0.warm))
    }
    let weights = Double(problem.rows) * Double(problem.columns)
    self.init(
      shape: "\(problem.rows)x\(problem.columns)", rows: problem.rows, columns: problem.columns, tokens: tokens,
      kernel: measurement.kernel,
      check: .init(
        exact: check.isExact, products: check.productCount, compared: check.comparedCount,
        rowsOfEveryToken: check.sampledRowCount,
        wrong: check.mismatchCount,
        first: check.firstMismatch.map { "row \($0.row), token \($0.token) is \($0.found) instead of \($0.expected)" }),
      w2a8: w2a8, bf16: bf16, bf16Absence: measurement.bf16Absence,
      speedup: bf16.map { $0.cold.median / w2a8.cold.median },
      bytesPerSecond: weights / 4 / w2a8.cold.median, shareOfMemory: memory.map { weights / 4 / w2a8.cold.median / $0 },
      operationsPerSecond: 2 * weights * Double(tokens) / w2a8.cold.median)
  }

  /// The result as a line of the table.
  var line: String {
    let times = [w2a8.cold, w2a8.warm] as [BenchReport.Times?] + [bf16?.cold, bf16?.warm]
    let exact =
      if !check.exact {
        "NO, \(check.wrong) wrong"
      } else {
        check.compared == check.products ? "all \(check.products)" : "\(check.compared) of \(check.products)"
      }
    return BenchReport.columns.row(
      [shape, kernel, "\(tokens)"] + times.map { $0.map { ($0.median * 1e6).shortened } ?? "-" } + [
        speedup.map { $0.decimals(2) } ?? "-", (bytesPerSecond / 1e9).shortened,
        shareOfMemory.map { "\(($0 * 100).decimals(1)) %" } ?? "-", exact,
      ])
  }
}

extension BenchReport {
  /// The reason for an exit status of 1, in a sentence; nil when all products are exact.
  var complaint: String? {
    let wrong = results.filter { !$0.check.exact }
    let total = plural(results.count + failures.count, "product")
    if let first = wrong.first {
      return "the product of \(first.shape) with \(plural(first.tokens, "token")) is wrong: \(first.check.first ?? "")"
    }
    if let error = machine.memoryError, failures.isEmpty { return "the memory's speed could not be measured: \(error)" }
    return failures.first.map {
      "\(failures.count) of \(total) could not be measured, the first \($0.shape) with "
        + "\(plural($0.tokens, "token")): \($0.error)"
    }
  }

  var end: End {
    let failed = failures.count + (machine.memoryError == nil ? 0 : 1)
    let wrong = results.count { !$0.check.exact }
    return End(products: results.count + failures.count, wrong: wrong, failed: failed, equal: wrong + failed == 0)
  }

  static let columns = TableColumns(
    [.left(13), .left(11), .right(6)] + [10, 10, 10, 10, 8, 9, 9].map { .right($0) } + [.left(0)])

  /// The text before the results.
  var heading: String {
    var name = machine.name
    if let driver = machine.driver { name += ", driver for CUDA \(driver)" }
    if let threads = machine.threads { name += ", \(plural(threads, "thread"))" }
    var text = "\(machine.device) (\(name)): \(machine.reason)\n"
    if machine.emulated {
      text +=
        "NOTE: this device is emulated on the CPU. All times below are the emulator's and mean nothing; "
        + "the products are real.\n"
    }
    if let memory = machine.memoryBytesPerSecond {
      text +=
        "memory: \((memory / 1e9).decimals(1)) GB/s read"
        + (machine.memoryMeasure == "copy" ? " and written by a copy\n" : "\n")
    } else if let error = machine.memoryError {
      text += "memory: FAILED: \(error)\n"
    }
    text += "\n" + Self.columns.row(["", "", "", "W2A8, µs", "", "BF16, µs", "", "", "", "", ""])
    return text
      + Self.columns.row([
        "shape", "kernel", "tokens", "cold", "warm", "cold", "warm", "speedup", "GB/s", "of \(machine.memoryMeasure)",
        "exact",
      ])
  }

  /// The text after the results.
  var notes: String {
    guard let copied = results.map(\.w2a8.copiedBytes).min() else { return "" }
    var text = """

      Times are medians for one product. cold: consecutive products use different copies of the weights, \
      \(size(copied)) or more in total; warm: one copy. speedup, GB/s (of weights: rows · columns / 4 bytes) and the \
      share of the memory's speed come from the cold times.
      exact: the number of products that were compared with integers computed by the host: all rows of the first \
      token, and all rows or a random choice of them for the others.

      """
    if let library = machine.bf16Library { text += "BF16: \(library).\n" }
    var reasons: [String] = []
    for case let reason? in results.map(\.bf16Absence) where !reasons.contains(reason) { reasons.append(reason) }
    for reason in reasons { text += "BF16 -: \(reason).\n" }
    return text
  }
}

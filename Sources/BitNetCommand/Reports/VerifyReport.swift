import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDeviceCheck
import BitNetDiagnostics
import BitNetInference

/// Prints each result of `verify` as soon as it is known, as a table or as JSON Lines.
final class VerifyReport {
  struct Machine: Encodable {
    /// The value for --device.
    let device: String
    let name: String
    let emulated: Bool
    /// The CUDA version that the driver supports.
    let driver: String?
    /// The engine whose results are taken to be right.
    let expected: String
    let model: String
    let seed: UInt64
    /// The parts that are checked; nil on the CPU, which has no parts.
    let checks: [String]?
    /// The reason why it is not a GPU, if the choice was automatic.
    let note: String?
  }

  private struct Kernel: Encodable {
    let name: String
    var registers: Int?
    var localBytes: Int?
    var error: String?
  }

  private struct Check: Encodable {
    let name: String
    let candidate: String?
    /// The engine that the candidate was compared with.
    let reference: String?
    let cases: String
    let compared: Int
    let differing: Int
    let equal: Bool
    let firstDifference: String?
    let error: String?
    let seconds: Double
  }

  private struct End: Encodable {
    let checks: Int
    /// Checks that found differences or ended with an error, and kernels that could not be loaded.
    let failed: Int
    let equal: Bool
    let seconds: Double
  }

  private let json: Bool
  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant
  private var checkCount = 0
  private var failures: [String] = []
  private var kernels: [Verification.KernelFacts] = []

  init(json: Bool) {
    self.json = json
    start = clock.now
  }

  func write(_ machine: Machine) throws {
    if json { return try ByteOutput.standard.write("machine", machine) }
    let driver = machine.driver.map { ", driver for CUDA \($0)" } ?? ""
    let note = machine.note.map { " (no GPU: \($0))" } ?? ""
    try ByteOutput.standard.write(
      "\(machine.device) (\(machine.name)\(driver)), compared with \(machine.expected)\(note)\n\n")
  }

  func write(kernel name: String, _ result: Result<Verification.KernelFacts, CUDAError>) throws {
    switch result {
    case .success(let facts):
      kernels.append(facts)
      if json {
        try ByteOutput.standard.write(
          "kernel", Kernel(name: name, registers: facts.registers, localBytes: facts.localBytes))
      }
    case .failure(let error):
      failures.append("the kernel \(name): \(error)")
      if json {
        try ByteOutput.standard.write("kernel", Kernel(name: name, error: "\(error)"))
      } else {
        try ByteOutput.standard.write("\(name) FAILED: \(error)\n")
      }
    }
  }

  /// Prints a summary of the kernels in the table.
  func writeKernelSummary() throws {
    guard !json else { return }
    try ByteOutput.standard.write(
      "\(kernels.count) kernels, at most \(kernels.map(\.registers).max() ?? 0) registers, "
        + "\(kernels.count { $0.localBytes > 0 }) with local memory\n\n")
  }

  private static let columns = TableColumns([.left(79), .left(13), .left(11), .left(0)])

  func write(_ check: EqualityCheck) throws {
    checkCount += 1
    if !check.isEqual { failures.append(check.name) }
    if json {
      return try ByteOutput.standard.write(
        "check",
        Check(
          name: check.name, candidate: check.candidate, reference: check.reference, cases: check.cases,
          compared: check.compared,
          differing: check.differing, equal: check.isEqual, firstDifference: check.first, error: check.error,
          seconds: check.seconds))
    }
    let result = check.error != nil ? "FAILED" : check.differing > 0 ? "\(check.differing) DIFFER" : "equal"
    try ByteOutput.standard.write(Self.columns.row([check.name, check.cases, "\(check.compared)", result]))
    if let first = check.first { try ByteOutput.standard.write("  \(first)\n") }
    if let error = check.error { try ByteOutput.standard.write("  \(error)\n") }
  }

  /// - Throws: `CommandError` if a check failed, or if there was none.
  func finish() throws {
    guard checkCount > 0 || !failures.isEmpty else {
      throw CommandError("--shapes is 0, which leaves nothing to compare; expected 1 or more with these checks")
    }
    if json {
      let seconds = start.duration(to: clock.now) / .seconds(1)
      try ByteOutput.standard.write(
        "end", End(checks: checkCount, failed: failures.count, equal: failures.isEmpty, seconds: seconds))
    } else if failures.isEmpty {
      try ByteOutput.standard.write("\neverything is equal, bit for bit\n")
    }
    if let first = failures.first {
      throw CommandError(
        "\(failures.count) of \(plural(checkCount, "check")) failed or found differences, the first \"\(first)\"")
    }
  }
}

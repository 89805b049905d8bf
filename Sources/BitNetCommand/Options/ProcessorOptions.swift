import ArgumentParser
import BitNetCPUEngine
import Foundation

/// Options for the CPU.
struct ProcessorOptions: ParsableArguments {
  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The number of CPU threads. (default: one per physical core)", valueName: "count"))
  var threads: Int?

  @Option(
    help: ArgumentHelp(
      """
      The CPU instruction set: portable, avx2, avxvnni, avx512, neon or neon-i8mm. (default: BITNET_INSTRUCTION_SET, \
      or the best available)
      """,
      valueName: "name"))
  var instructionSet: String?

  /// - Throws: `CommandError` for a number of threads out of range.
  static func check(threads: Int?) throws {
    if let threads, !(1...1024 ~= threads) { throw CommandError("--threads is \(threads); expected 1 to 1024") }
  }

  /// The instruction set of the option or the environment variable; nil when neither is given.
  func chosenInstructionSet() throws -> InstructionSet? {
    let variable = ProcessInfo.processInfo.environment["BITNET_INSTRUCTION_SET"].flatMap { $0.isEmpty ? nil : $0 }
    return try (instructionSet ?? variable).map(InstructionSet.named)
  }
}

import ArgumentParser
import BitNetCPUEngine
import Foundation

/// How the processor is used.
struct ProcessorOptions: ParsableArguments {
  @Option(
    parsing: .unconditional, help: ArgumentHelp("Threads. (default: one for each physical core)", valueName: "count"))
  var threads: Int?

  @Option(
    help: ArgumentHelp(
      "The processor's instructions to use: portable, avx2, avxvnni, avx512, neon or neon-i8mm. (default: BITNET_INSTRUCTION_SET, or the machine's best)",
      valueName: "name"))
  var instructionSet: String?

  static func check(threads: Int?) throws {
    if let threads, !(1...1024 ~= threads) { throw CommandError("--threads is \(threads); expected 1 to 1024") }
  }

  func chosenInstructionSet() throws -> InstructionSet? {
    let variable = ProcessInfo.processInfo.environment["BITNET_INSTRUCTION_SET"].flatMap { $0.isEmpty ? nil : $0 }
    return try (instructionSet ?? variable).map(InstructionSet.named)
  }
}

import ArgumentParser
import BitNet

struct Devices: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "List what models can run on.",
    discussion: """
      Examples:
        bitnet devices
        bitnet devices --bandwidth
        bitnet devices --bandwidth --threads 1 --json
      """)

  private struct Report: Encodable {
    struct CPU: Encodable {
      let processors: Int
      let instructionSets: [String]
      /// With --bandwidth: bytes read from memory in a second.
      let bytesPerSecond: Double?
    }
    let cpu: CPU
  }

  @Flag(help: "Measure how fast memory is read, which bounds how fast models decode. Takes half a gigabyte for a second.")
  var bandwidth = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Threads that read. (default: one for each processor)", valueName: "count"))
  var threads: Int?

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    if let threads, !(1...1024 ~= threads) { throw CommandError("--threads is \(threads); expected 1 to 1024") }
    let report = Report(
      cpu: .init(
        processors: InstructionSet.processorCount, instructionSets: InstructionSet.available.map(\.rawValue),
        bytesPerSecond: bandwidth ? MemoryBandwidth.measure(threads: threads) : nil))
    if json { return try ByteOutput.standard.write(jsonText(report)) }
    var rows = [
      ("  processors", "\(report.cpu.processors)"),
      ("  instruction sets", "\(report.cpu.instructionSets.joined(separator: ", ")) (the first is the default)"),
    ]
    if let speed = report.cpu.bytesPerSecond { rows.append(("  memory", "\((speed / 1e9).decimals(1)) GB/s read")) }
    try ByteOutput.standard.write("cpu\n" + table(rows))
  }
}

import ArgumentParser
import BitNet
import BitNetCUDAEngine
import BitNetDiagnostics
import BitNetModelFiles

struct BenchKernels: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kernels",
    abstract: "Time the W2A8 matrix product alone, next to BF16, and check that it is exact.",
    discussion: """
      Multiplies a random ternary matrix of N rows and K columns with the int8 activations of a batch of tokens. The \
      default shapes are those of BitNet b1.58 2B and 3B. For cold times, consecutive products use different copies of \
      the weights, enough of them that every product reads from memory; for warm times they use one copy, which a \
      cache may hold. On a GPU with cuBLAS installed, BF16 products of the same shape alternate with them. A product \
      that cannot be measured does not stop the others. The exit status is 1 if a product is not exact or could not \
      be measured.

      Examples:
        bitnet bench kernels
        bitnet bench kernels --device cpu --threads 1 --batch 1
        bitnet bench kernels --shape 6912x2560 --batch 1,2,4,8 --json
        bitnet bench kernels --device cuda:1 --plot kernels.svg
      """)

  @Option(
    help: ArgumentHelp(
      "The device to measure: cpu, cuda (cuda:N for GPU number N), or auto: a GPU if there is one, otherwise the CPU.",
      valueName: "device"))
  var device = DeviceChoice.auto

  @Option(
    help: ArgumentHelp(
      "Rows and columns of the weights, as in 2560x6912. May be repeated. (default: eight shapes)", valueName: "NxK"))
  var shape: [String] = []

  @Option(parsing: .unconditional, help: ArgumentHelp("The numbers of tokens to multiply at once.", valueName: "list"))
  var batch = "1,2,4,8,64,512"

  @Option(
    help: ArgumentHelp(
      "On a GPU, load kernels from the files NAME.ptx in this folder instead of the built-in ones.", valueName: "folder"
    ))
  var kernels: String?

  @Option(
    help: ArgumentHelp(
      """
      On a GPU, multiply in blocks of this many rows and tokens: \
      \(CUDAKernelBenchmark.blocks.joined(separator: ", ")), or all in turn. (default: the engine's choice)
      """,
      valueName: "RxT"))
  var block: String?

  @Flag(help: "Measure for a fraction of the time, with less precision.")
  var quick = false

  @Flag(help: "Print JSON Lines, each as soon as its product has been measured.")
  var json = false

  @Option(
    help: ArgumentHelp("Write a chart of the latencies of the smallest batch to this SVG file.", valueName: "file"))
  var plot: String?

  @OptionGroup(title: "CPU") var processor: ProcessorOptions

  static let usualShapes = [
    "2560x2560", "3840x2560", "13824x2560", "2560x6912", "3200x3200", "4800x3200", "3200x10240", "20480x3200",
  ].compactMap(BenchShape.init)

  func run() throws {
    let shapes = try shape.isEmpty ? Self.usualShapes : shape.map(BenchShape.parse)
    let batches = try numbers(batch, of: "--batch", 1...BenchShape.tokenLimit)
    guard let plot else { return try measure(shapes, batches, plot: nil) }
    // Create the file first, so that an unwritable path fails before the measurement.
    try removingPartialOutput(of: plot) { try measure(shapes, batches, plot: OutputFile(path: plot, overwrite: true)) }
  }

  /// The blocks that --block names.
  private static func blocks(_ text: String) throws -> [String?] {
    if text == "all" { return CUDAKernelBenchmark.blocks }
    guard CUDAKernelBenchmark.blocks.contains(text) else {
      throw CommandError(
        "--block is \"\(text)\"; expected \(CUDAKernelBenchmark.blocks.joined(separator: ", ")), or all")
    }
    return [text]
  }

  private func measure(_ shapes: [BenchShape], _ batches: [Int], plot: OutputFile?) throws {
    let instructionSet = try processor.chosenInstructionSet()
    try ProcessorOptions.check(threads: processor.threads)
    if let kernels { try KernelImages.replace(from: kernels) }
    let blocks = try block.map(Self.blocks)
    let (machine, reason) = try BenchMachine.choose(
      device, threads: processor.threads, instructionSet: instructionSet, isQuick: quick)
    for shape in shapes { try shape.check(on: machine, tokens: batches.max() ?? 1) }
    var report = BenchReport(machine: machine.describe(reason: reason))
    if json {
      try ByteOutput.standard.write("machine", report.machine)
    } else {
      try ByteOutput.standard.write(report.heading)
    }
    for shape in shapes { try measure(shape, batches, blocks, on: machine, &report) }
    if json { try ByteOutput.standard.write("end", report.end) } else { try ByteOutput.standard.write(report.notes) }
    if let plot {
      try Array(BenchPlot(report).svg.utf8).withUnsafeBytes { try plot.append($0) }
      try plot.commit()
    }
    if let complaint = report.complaint { throw CommandError(complaint) }
  }

  /// Measures a matrix's products and prints each result, or error, as soon as it is known.
  private func measure(
    _ shape: BenchShape, _ batches: [Int], _ blocks: [String?]?, on machine: BenchMachine, _ report: inout BenchReport
  ) throws {
    let loaded = Result {
      let problem = try ProductProblem(rows: shape.rows, columns: shape.columns, tokens: batches.max() ?? 1)
      return (problem, measure: try machine.load(problem))
    }
    for (tokens, block) in batches.flatMap({ tokens in (blocks ?? [nil]).map { (tokens, $0) } }) {
      do {
        let (problem, measure) = try loaded.get()
        let result = BenchReport.Result(
          problem, tokens: tokens, try measure(tokens, block), memory: report.machine.memoryBytesPerSecond)
        report.results.append(result)
      } catch {
        report.failures.append(
          .init(shape: "\(shape)", rows: shape.rows, columns: shape.columns, tokens: tokens, error: "\(error)"))
        let failure = report.failures.last!
        if json {
          try ByteOutput.standard.write("product", failure)
        } else {
          try ByteOutput.standard.write(failure.line)
        }
        continue
      }
      let result = report.results.last!
      if json { try ByteOutput.standard.write("product", result) } else { try ByteOutput.standard.write(result.line) }
    }
  }
}

/// The rows and columns of a ternary matrix, from an option.
struct BenchShape: CustomStringConvertible {
  let rows: Int
  let columns: Int

  private static let sideLimit = 1 << 20
  /// The most bytes of weights.
  private static let byteLimit = 4 << 30
  static let tokenLimit = 16384
  /// The most activations, or products, of a batch.
  private static let batchLimit = 1 << 30

  var description: String { "\(rows)x\(columns)" }

  /// - Parameter text: as in "2560x6912".
  init?(_ text: String) {
    let sides = text.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
    guard sides.count == 2, let rows = sides[0], let columns = sides[1] else { return nil }
    guard 1...Self.sideLimit ~= rows, 1...Self.sideLimit ~= columns else { return nil }
    (self.rows, self.columns) = (rows, columns)
  }

  static func parse(_ text: String) throws -> BenchShape {
    guard let shape = BenchShape(text) else {
      throw CommandError("--shape is \"\(text)\"; expected ROWSxCOLUMNS, each from 1 to \(sideLimit), as in 2560x6912")
    }
    guard shape.rows * shape.columns / 4 <= byteLimit else {
      throw CommandError(
        "--shape \(shape) has \(size(shape.rows * shape.columns / 4)) of weights; expected at most \(size(byteLimit))")
    }
    return shape
  }

  /// - Throws: `CommandError` when a product with this many tokens cannot be measured.
  func check(on machine: BenchMachine, tokens: Int) throws {
    if case .cuda = machine, columns > CUDAKernelBenchmark.columnLimit {
      throw CommandError(
        "--shape \(self) has \(columns) columns; expected at most \(CUDAKernelBenchmark.columnLimit) on a GPU")
    }
    guard tokens * max(rows, columns) <= Self.batchLimit else {
      throw CommandError(
        "--batch has \(tokens); expected at most \(Self.batchLimit / max(rows, columns)) with --shape \(self)")
    }
  }
}

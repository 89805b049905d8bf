import ArgumentParser
import BitNet

struct Verify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check that this machine computes what it should, bit for bit.",
    discussion: """
      On a GPU: its products with ternary matrices are compared with integers computed here, and its logits and tokens of random models \
      and of the model with the CPU's. On the CPU: its logits and tokens for each instruction set are compared with those of the \
      reference engine. With eight shapes or more, a GPU also gets matrices and a layer as large as those of BitNet b1.58 2B-4T. The exit \
      status is 1 if anything differs.

      Examples:
        bitnet verify
        bitnet verify --device cuda:1 --shapes 100 --seed 7
        bitnet verify --device cuda --model model.safetensors --json
      """)

  @Option(
    help: ArgumentHelp(
      "What to check: auto (a GPU if there is one, else the CPU), cpu, or cuda, with the GPU's number as cuda:N.", valueName: "device"))
  var device = LanguageModel.Device.auto

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Random matrices, and random models. (default: 16; 4 on the CPU, 2 on an emulated GPU)", valueName: "count"))
  var shapes: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Tokens of the model's prompt and continuations. (default: 64; 4 on an emulated GPU)", valueName: "count"))
  var tokens: Int?

  @Option(help: ArgumentHelp("Of everything random: the same seed checks the same.", valueName: "number"))
  var seed: UInt64 = 1

  @Flag(help: "Print a JSON object.")
  var json = false

  @OptionGroup(title: "Model") var source: ModelSource
  @OptionGroup(title: "CPU") var processor: ProcessorOptions

  private struct Report: Encodable {
    struct Check: Encodable {
      let name: String
      let cases: String
      let compared: Int
      let differing: Int
      let firstDifference: String?
    }
    struct Kernel: Encodable {
      let name: String
      let registers: Int
      let localBytes: Int
    }
    /// As --device takes it.
    let device: String
    let name: String
    let emulated: Bool
    /// The CUDA version that the driver supports.
    let driver: String?
    /// What was taken to be right.
    let expected: String
    let seed: UInt64
    let kernels: [Kernel]
    let checks: [Check]
    let equal: Bool
  }

  func run() throws {
    if let shapes, !(0...100_000 ~= shapes) { throw CommandError("--shapes is \(shapes); expected 0 to 100000") }
    try ProcessorOptions.check(threads: processor.threads)
    let instructionSet = try processor.chosenInstructionSet()
    switch device {
    case .cpu: try verifyCPU(instructionSet, note: nil)
    case .cuda(let number): try verify(Verification(device: number, seed: seed), instructionSet)
    case .auto:
      let verification: Verification
      do {
        verification = try Verification(device: 0, seed: seed)
      } catch {
        return try verifyCPU(instructionSet, note: "\(error)")
      }
      try verify(verification, instructionSet)
    }
  }

  private func verify(_ verification: Verification, _ instructionSet: InstructionSet?) throws {
    let weights = try loadWeights()
    let count = shapes ?? (verification.isEmulated ? 2 : 16)
    let device = verification.device
    let driver = CUDADriver.versionName(verification.driverVersion)
    func expected(_ weights: ModelWeights) throws -> CPUEngine {
      try CPUEngine(weights: weights, threads: processor.threads, instructionSet: instructionSet)
    }
    let summary = try expected(weights).summary
    try start("cuda:\(device.ordinal) (\(device.name), driver for CUDA \(driver)), compared with \(summary)")
    let kernels = try verification.kernels()
    if !json {
      try ByteOutput.standard.write(
        "\(kernels.count) kernels, at most \(kernels.map(\.registers).max() ?? 0) registers, "
          + "\(kernels.count { $0.localBytes > 0 }) with local memory\n\n")
    }
    let comparison = EngineComparison(expected: expected, candidates: verification.engines, seed: seed)
    // Few shapes are for tools that make everything slow.
    let isShort = verification.isEmulated || count < 8
    let checks =
      try show("products") { try verification.products(shapes: count, isShort: isShort, progress: $0) }
      + models(comparison, weights, count: count, isShort: isShort, tokens: tokens ?? (verification.isEmulated ? 4 : 64))
    try finish(
      checks, device: "cuda:\(device.ordinal)", name: device.name, emulated: verification.isEmulated, driver: driver, expected: summary,
      kernels: kernels)
  }

  private func verifyCPU(_ instructionSet: InstructionSet?, note: String?) throws {
    let weights = try loadWeights()
    let sets = instructionSet.map { [$0] } ?? InstructionSet.available
    let threads = processor.threads ?? CPUEngine.defaultThreads
    let candidates = sets.map { set in
      EngineComparison.Candidate(name: set.rawValue) { try CPUEngine(weights: $0, threads: threads, instructionSet: set) }
    }
    let name = "\(sets.map(\.rawValue).joined(separator: ", ")); \(plural(threads, "thread"))"
    let expected = "the reference engine, Float"
    try start("cpu (\(name)), compared with \(expected)" + (note.map { " (no GPU: \($0))" } ?? ""))
    if !json { try ByteOutput.standard.write("\n") }
    let comparison = EngineComparison(
      expected: { ReferenceEngine(weights: $0, precision: .float) }, candidates: candidates, seed: seed)
    let checks = try models(comparison, weights, count: shapes ?? 4, isShort: true, tokens: tokens ?? 64)
    try finish(checks, device: "cpu", name: name, emulated: false, driver: nil, expected: expected, kernels: [])
  }

  /// The model, whose context has room for prompt and continuation.
  private func loadWeights() throws -> ModelWeights {
    let weights = try source.loadWeights()
    let limit = weights.configuration.contextLength / 2
    if let tokens, !(1...max(limit, 1) ~= tokens) {
      throw CommandError("--tokens is \(tokens); expected 1 to \(limit): a prompt and a continuation as long share the context")
    }
    return weights
  }

  private func models(
    _ comparison: EngineComparison, _ weights: ModelWeights, count: Int, isShort: Bool, tokens: Int
  ) throws -> [Verification.Check] {
    let tokens = max(1, min(tokens, weights.configuration.contextLength / 2))
    return try show("random models") { try comparison.randomModels(count, isShort: isShort, progress: $0) }
      + show("the model") { try comparison.model(weights, tokens: tokens, progress: $0) }
  }

  private static let widths = [58, 12, 12]

  private static func row(_ cells: [String]) -> String {
    zip(cells, widths + [0]).map { $0 + String(repeating: " ", count: max(0, $1 - $0.count)) }.joined(separator: " ") + "\n"
  }

  private func start(_ heading: String) throws {
    if !json { try ByteOutput.standard.write(heading + "\n") }
  }

  /// Makes checks and prints them.
  private func show(_ label: String, _ body: ((Double) -> Void) throws -> [Verification.Check]) throws -> [Verification.Check] {
    let bar = ProgressBar(label)
    defer { bar.finish() }
    let checks = try body { bar.update($0) }
    bar.finish()
    if !json {
      for check in checks {
        let result = check.isEqual ? "equal" : "\(check.differing) DIFFER"
        try ByteOutput.standard.write(Self.row([check.name, check.cases, "\(check.compared)", result]))
        if let first = check.first { try ByteOutput.standard.write("  \(first)\n") }
      }
    }
    return checks
  }

  private func finish(
    _ checks: [Verification.Check], device: String, name: String, emulated: Bool, driver: String?, expected: String,
    kernels: [Verification.KernelFacts]
  ) throws {
    let differing = checks.filter { !$0.isEqual }
    if json {
      let report = Report(
        device: device, name: name, emulated: emulated, driver: driver, expected: expected, seed: seed,
        kernels: kernels.map { .init(name: $0.name, registers: $0.registers, localBytes: $0.localBytes) },
        checks: checks.map {
          .init(name: $0.name, cases: $0.cases, compared: $0.compared, differing: $0.differing, firstDifference: $0.first)
        }, equal: differing.isEmpty)
      try ByteOutput.standard.write(jsonText(report))
    } else if differing.isEmpty {
      try ByteOutput.standard.write("\neverything is equal, bit for bit\n")
    }
    if let first = differing.first {
      throw CommandError("\(plural(differing.count, "check")) of \(checks.count) found differences, the first \"\(first.name)\"")
    }
  }
}

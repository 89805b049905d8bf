import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDeviceCheck
import BitNetDiagnostics
import BitNetInference
import BitNetModelFiles
import BitNetRandomModels

struct Verify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check that this machine computes the right results, bit for bit.",
    discussion: """
      On a GPU, compares the results of every kernel with scalar code, and the engine's logits and tokens, for random \
      models (for embedding too) and for the chosen model, with those of the CPU engine. On the CPU, compares the \
      logits and tokens of each instruction set with those of the reference engine. With eight shapes or more, the \
      check of a GPU includes matrices and a layer as large as those of BitNet b1.58 2B-4T. A check that fails does \
      not stop the others. The exit status is 1 if anything differs or fails.

      --checks selects parts of the checks on a GPU:
        kernels      every kernel on its own, with its registers and local memory
        products     products with random ternary matrices
        operations   the engine with one kernel per operation
        cooperative  the engine with one cooperative kernel per token
        soak         the cooperative engine, decoding the same tokens repeatedly

      With --random-2b, at the full size of BitNet b1.58 2B-4T, the cooperative engine is compared with the engine \
      that launches one kernel per operation, and the latter with the CPU engine.

      Examples:
        bitnet verify
        bitnet verify --device cuda:1 --shapes 100 --seed 7
        bitnet verify --device cuda --model model.safetensors --json
        bitnet verify --device cuda --random-2b --checks cooperative,soak
      """)

  @Option(
    help: ArgumentHelp(
      "The device to check: cpu, cuda (cuda:N for GPU number N), or auto: a GPU if there is one, otherwise the CPU.",
      valueName: "device"))
  var device = DeviceChoice.auto

  @Option(
    help: ArgumentHelp(
      """
      On a GPU, the parts to check. (default: kernels,products,operations,cooperative; with --random-2b \
      operations,cooperative)
      """,
      valueName: "list"))
  var checks: String?

  @Flag(
    name: .customLong("random-2b"),
    help: "On a GPU, check at the full size of BitNet b1.58 2B-4T, with random weights."
  )
  var random2B = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The number of random matrices, and of random models. (default: 16; 4 on the CPU, 2 on an emulated GPU)",
      valueName: "count"))
  var shapes: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      The number of tokens in the model's prompt, and in each continuation. (default: 64; 16 with --random-2b, 4 on an \
      emulated GPU)
      """,
      valueName: "count"))
  var tokens: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The seed of all random inputs. The same seed repeats the same checks.", valueName: "number"))
  var seed: UInt64 = 1

  @Flag(help: "Print JSON Lines, each as soon as its check is complete.")
  var json = false

  @Option(
    help: ArgumentHelp(
      "On a GPU, load kernels from the files NAME.ptx in this folder instead of the built-in ones.", valueName: "folder"
    ))
  var kernels: String?

  @OptionGroup(title: "Model") var source: ModelSource
  @OptionGroup(title: "CPU") var processor: ProcessorOptions

  /// The parts of the checks on a GPU.
  private enum Part: String, CaseIterable {
    case kernels, products, operations, cooperative, soak
  }

  func validate() throws {
    if random2B, source.model != nil { throw ValidationError("--random-2b cannot be combined with --model.") }
  }

  func run() throws {
    if let kernels { try KernelImages.replace(from: kernels) }
    if let shapes, !(0...100_000 ~= shapes) { throw CommandError("--shapes is \(shapes); expected 0 to 100000") }
    try ProcessorOptions.check(threads: processor.threads)
    let instructionSet = try processor.chosenInstructionSet()
    let parts = try chosenParts()
    switch device {
    case .cpu: try verifyCPU(instructionSet, note: nil)
    case .cuda(let number): try verify(Verification(device: number, seed: seed), parts, instructionSet)
    case .auto:
      let verification: Verification
      do {
        verification = try Verification(device: 0, seed: seed)
      } catch {
        return try verifyCPU(instructionSet, note: "\(error)")
      }
      try verify(verification, parts, instructionSet)
    }
  }

  private func chosenParts() throws -> Set<Part> {
    guard let checks else { return random2B ? [.operations, .cooperative] : Set(Part.allCases).subtracting([.soak]) }
    return Set(
      try checks.split(separator: ",", omittingEmptySubsequences: false).map { name in
        guard let part = Part(rawValue: String(name)) else {
          let names = Part.allCases.map(\.rawValue)
          throw CommandError(
            "--checks has \"\(name)\"; expected a list of \(names.dropLast().joined(separator: ", ")) "
              + "and \(names.last!), as in kernels,products")
        }
        return part
      })
  }

  // MARK: A GPU

  private func verify(_ verification: Verification, _ parts: Set<Part>, _ instructionSet: InstructionSet?) throws {
    let weights = try loadWeights()
    let device = verification.device, isEmulated = verification.isEmulated
    let cpu = EngineComparison.Candidate(name: "the CPU engine") {
      try CPUEngine(weights: $0, threads: processor.threads, instructionSet: instructionSet)
    }
    let report = VerifyReport(json: json)
    try report.write(
      .init(
        device: "cuda:\(device.ordinal)", name: device.name, emulated: isEmulated,
        driver: CUDADriver.versionName(verification.driverVersion), expected: cpuSummary(instructionSet),
        model: modelName, seed: seed,
        checks: Part.allCases.filter(parts.contains).map(\.rawValue), note: nil))
    let count = shapes ?? (isEmulated ? 2 : 16)
    // Few shapes mean a tool, such as a sanitizer, that makes everything slow.
    let isShort = isEmulated || count < 8
    if parts.contains(.kernels) {
      try verification.kernels { try report.write(kernel: $0, $1) }
      try report.writeKernelSummary()
      if count > 0 {
        try show("kernels", report) { try verification.kernelChecks(shapes: count, isShort: isShort, progress: $0, $1) }
      }
    }
    if parts.contains(.products), count > 0 {
      try show("products", report) { try verification.products(shapes: count, isShort: isShort, progress: $0, $1) }
    }
    let tokens = self.tokens ?? (isEmulated ? 4 : random2B ? 16 : 64)
    let simple = verification.engines(isCooperative: false)
    let cooperative = verification.engines(isCooperative: true)
    if random2B {
      try verifyFullSize(
        weights, parts, tokens: tokens, simple: simple.last!, cooperative: cooperative, cpu: cpu, report)
    } else {
      for (part, candidates) in [(Part.operations, simple), (.cooperative, cooperative)] where parts.contains(part) {
        let comparison = EngineComparison(expected: cpu, candidates: candidates, seed: seed)
        try models(comparison, weights, count: count, isShort: isShort, tokens: tokens, report)
        // The cooperative kernels leave the arithmetic of these models to the others.
        if part == .operations { try embeddingModels(comparison, count: count, isShort: isShort, report) }
      }
    }
    if parts.contains(.soak) {
      let comparison = EngineComparison(expected: simple.last!, candidates: [cooperative.first!], seed: seed)
      let tokens = min(isEmulated ? 12 : 200, weights.configuration.contextLength - 1)
      try show("soak", report) {
        try comparison.soak(weights, label: label, tokens: tokens, repetitions: isEmulated ? 3 : 30, progress: $0, $1)
      }
    }
    try report.finish()
  }

  /// Compares the forms of the engine mostly with each other on the device, which is fast, and only a little with the
  /// CPU, which is slow.
  private func verifyFullSize(
    _ weights: ModelWeights, _ parts: Set<Part>, tokens: Int, simple: EngineComparison.Candidate,
    cooperative: [EngineComparison.Candidate], cpu: EngineComparison.Candidate, _ report: VerifyReport
  ) throws {
    if parts.contains(.cooperative) {
      let comparison = EngineComparison(expected: simple, candidates: cooperative, seed: seed)
      try show("30 layers", report) { try comparison.model(weights, label: label, tokens: tokens, progress: $0, $1) }
    }
    if parts.contains(.operations) {
      let comparison = EngineComparison(expected: cpu, candidates: [simple], seed: seed)
      try show("30 layers", report) {
        try comparison.model(
          weights, label: label, tokens: min(tokens, 16), parts: [.prompt, .greedy], progress: $0, $1)
      }
    }
  }

  // MARK: The CPU

  private func verifyCPU(_ instructionSet: InstructionSet?, note: String?) throws {
    let way = note.map { "; no GPU can be used: \($0)" } ?? "; choose --device cuda"
    if let checks {
      throw CommandError("--checks is \"\(checks)\"; expected no --checks on the CPU, whose checks have no parts\(way)")
    }
    if random2B {
      throw CommandError("--random-2b compares the forms of the engine on a GPU; expected a GPU\(way)")
    }
    let weights = try loadWeights()
    let sets = instructionSet.map { [$0] } ?? InstructionSet.available
    let threads = processor.threads ?? CPUEngine.defaultThreads
    let candidates = sets.map { set in
      EngineComparison.Candidate(name: set.rawValue) {
        try CPUEngine(weights: $0, threads: threads, instructionSet: set)
      }
    }
    let name = "\(sets.map(\.rawValue).joined(separator: ", ")); \(plural(threads, "thread"))"
    let reference = EngineComparison.Candidate(name: "the reference engine, Float") {
      ReferenceEngine(weights: $0, precision: .float)
    }
    let report = VerifyReport(json: json)
    try report.write(
      .init(
        device: "cpu", name: name, emulated: false, driver: nil, expected: reference.name, model: modelName, seed: seed,
        checks: nil,
        note: note))
    let comparison = EngineComparison(expected: reference, candidates: candidates, seed: seed)
    try models(comparison, weights, count: shapes ?? 4, isShort: true, tokens: tokens ?? 64, report)
    try embeddingModels(comparison, count: shapes ?? 4, isShort: true, report)
    try report.finish()
  }

  // MARK: Both

  private var label: String { random2B ? "random 2B" : "the model" }
  private var modelName: String { random2B ? BenchModel.random2BName : source.model ?? "the demo model" }

  private func cpuSummary(_ instructionSet: InstructionSet?) throws -> String {
    try CPUEngine(
      weights: ModelLoader.load(embedded: ModelSource.demo).weights, threads: processor.threads,
      instructionSet: instructionSet
    )
    .summary
  }

  /// Loads the model, and checks that its context has room for prompt and continuation.
  private func loadWeights() throws -> ModelWeights {
    let weights = random2B ? try ModelWeights(random: .bitNet2B4T, seed: seed) : try source.loadWeights()
    let limit = weights.configuration.contextLength / 2
    if let tokens, !(1...max(limit, 1) ~= tokens) {
      throw CommandError(
        "--tokens is \(tokens); expected 1 to \(limit), because the prompt and a continuation of the same length "
          + "share the context"
      )
    }
    return weights
  }

  private func models(
    _ comparison: EngineComparison, _ weights: ModelWeights, count: Int, isShort: Bool, tokens: Int,
    _ report: VerifyReport
  ) throws {
    let tokens = max(1, min(tokens, weights.configuration.contextLength / 2))
    if count > 0 {
      try show("random models", report) { try comparison.randomModels(count, isShort: isShort, progress: $0, $1) }
    }
    // A text whose tokens attend to later ones is not continued.
    let parts = weights.configuration.isBidirectional ? [.prompt] : EngineComparison.ModelPart.allCases
    try show("the model", report) { try comparison.model(weights, tokens: tokens, parts: parts, progress: $0, $1) }
  }

  private func embeddingModels(
    _ comparison: EngineComparison, count: Int, isShort: Bool, _ report: VerifyReport
  ) throws {
    guard count > 0 else { return }
    try show("models for embedding", report) {
      try comparison.embeddingModels(count, isShort: isShort, progress: $0, $1)
    }
  }

  /// Runs checks, and prints each as soon as it is complete.
  private func show(
    _ label: String, _ report: VerifyReport,
    _ body: (_ progress: (Double) -> Void, _ report: EqualityCheck.Report) throws -> Void
  ) throws {
    var bar = ProgressBar(label)
    defer { bar.finish() }
    try body({ bar.update($0) }) {
      bar.finish()
      try report.write($0)
      bar = ProgressBar(label)
    }
  }
}

import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles

struct Logits: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write the logits after each token of a prompt to a file, for comparison.",
    discussion: """
      The output is an array [tokens][vocabulary] of little-endian floating-point numbers, without a header. The model \
      needs no tokenizer. The engines cpu, cuda and reference-float give the same bits; reference computes in Double.

      Examples:
        echo "[4093, 2154, 713]" > tokens.json
        bitnet logits --tokens tokens.json --output logits.f32
        bitnet logits --tokens - --output out.f64 --engine reference --float64
      """)

  enum EngineKind: ExpressibleByArgument, Equatable {
    case cpu
    case cuda(Int)
    case reference
    case referenceFloat

    init?(argument: String) {
      switch argument {
      case "reference": self = .reference
      case "reference-float": self = .referenceFloat
      default:
        switch DeviceChoice(argument: argument) {
        case .cpu: self = .cpu
        case .cuda(let number): self = .cuda(number)
        case .auto, nil: return nil
        }
      }
    }
  }

  @Option(help: ArgumentHelp("A file with a JSON array of token ids; - for standard input.", valueName: "file"))
  var tokens: String

  @Option(help: ArgumentHelp("The file to write; - for standard output.", valueName: "file"))
  var output: String

  @Flag(help: "Write 64-bit numbers instead of 32-bit ones.")
  var float64 = false

  @Option(
    help: ArgumentHelp(
      "The engine: cpu, cuda (cuda:N for GPU number N), reference or reference-float. (default: cpu)",
      valueName: "engine"))
  var engine: EngineKind?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The number of tokens to run at a time. (default: as many as give 64 MB of logits)", valueName: "count"))
  var chunk: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The most positions of a prompt. (default: the model's context length)", valueName: "count"))
  var context: Int?

  @Flag(help: "Replace the output file if it exists.")
  var overwrite = false

  @OptionGroup var source: ModelSource
  @OptionGroup var processor: ProcessorOptions

  func validate() throws {
    if chunk != nil, float64, engine == .reference {
      throw ValidationError(
        "--chunk cannot be combined with --engine reference --float64, which runs the prompt as a whole.")
    }
  }

  func run() throws {
    if let chunk, chunk < 1 { throw CommandError("--chunk is \(chunk); expected 1 or more") }
    try requireNoInput()
    if output != "-", !overwrite, FileAccess.exists(output) {
      throw CommandError("\(output) already exists; choose another name or pass --overwrite")
    }
    let instructionSet = try processor.chosenInstructionSet()
    let ids = try readTokens()
    let weights = try source.loadWeights()
    switch engine ?? .cpu {
    case .cpu:
      try write(
        ids,
        through: CPUEngine(
          weights: weights, contextLength: context, threads: processor.threads, instructionSet: instructionSet))
    case .cuda(let number):
      try write(
        ids,
        through: CUDAEngine(
          weights: weights, device: CUDADriver.load().device(number), options: .init(contextLength: context)))
    case .reference:
      try write(ids, through: ReferenceEngine(weights: weights, precision: .double, contextLength: context))
    case .referenceFloat:
      try write(ids, through: ReferenceEngine(weights: weights, precision: .float, contextLength: context))
    }
  }

  /// - Throws: `CommandError` when the output is a file that is read: the tokens, or a part of the model.
  private func requireNoInput() throws {
    guard output != "-", FileAccess.exists(output) else { return }
    let model = try source.path()
    let isInput =
      FileAccess.isSame(output, tokens)
      || model.map { FileAccess.isSame(output, $0) || FileAccess.isSame(FileAccess.folder(output), $0) } ?? false
    if isInput { throw CommandError("\(output) is an input; expected another file for the logits") }
  }

  private func readTokens() throws -> [Int] {
    let place = tokens == "-" ? "standard input" : tokens
    let bytes = try ByteInput.contents(of: tokens)
    let ids = try decodeJSON([Int].self, bytes, place: place, expected: "a JSON array of token ids, such as [1, 2, 3]")
    guard !ids.isEmpty else { throw CommandError("\(place) has no tokens; expected one or more") }
    return ids
  }

  private func write(_ ids: [Int], through engine: some Engine) throws {
    let vocabulary = engine.configuration.vocabularySize
    guard ids.count <= engine.contextLength else {
      throw EngineError.contextFull(length: 0, adding: ids.count, limit: engine.contextLength)
    }
    let tokens = try ids.map { id in
      guard 0..<vocabulary ~= id else {
        throw CommandError("token id \(id) is out of range; expected 0 to \(vocabulary - 1)")
      }
      return Int32(id)
    }
    if output == "-" { return try rows(of: tokens, through: engine) { try ByteOutput.standard.write($0) } }
    try removingPartialOutput(of: output) {
      let file = try OutputFile(path: output, overwrite: overwrite)
      try rows(of: tokens, through: engine) { try file.append($0) }
      try file.commit()
    }
  }

  /// Computes the logits chunk by chunk, because they are many, and hands over their bytes in the output's form.
  private func rows(of tokens: [Int32], through engine: some Engine, _ write: (UnsafeRawBufferPointer) throws -> Void)
    throws
  {
    if float64, let reference = engine as? ReferenceEngine, chunk == nil {
      return try Self.emit(reference.logits(tokens), write)
    }
    let length = chunk ?? max(1, (64 << 20) / (engine.configuration.vocabularySize * MemoryLayout<Float>.stride))
    let sequence = engine.makeSequence()
    for start in stride(from: 0, to: tokens.count, by: length) {
      let part = Array(tokens[start..<min(tokens.count, start + length)])
      let logits = try engine.step(Batch([.init(sequence: sequence, tokens: part, rows: .all)]))[0].values
      if float64 { try Self.emit(logits.map(Double.init), write) } else { try Self.emit(logits, write) }
    }
  }

  private static func emit(_ values: [Float], _ write: (UnsafeRawBufferPointer) throws -> Void) throws {
    try values.map(\.bitPattern.littleEndian).withUnsafeBytes(write)
  }

  private static func emit(_ values: [Double], _ write: (UnsafeRawBufferPointer) throws -> Void) throws {
    try values.map(\.bitPattern.littleEndian).withUnsafeBytes(write)
  }
}

public import ArgumentParser
public import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDeviceCheck
import BitNetInference
import BitNetModelFiles
import BitNetTokenization
import BitNetDemoModel
import Foundation

/// Which model.
struct ModelSource: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "A file written by `bitnet convert`, or a Hugging Face folder. (default: the demo model in the program)",
      valueName: "path"))
  var model: String?

  /// The demo model's file, which is part of the program.
  static var demo: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: demo_model_bytes(), count: demo_model_size())
  }

  /// The weights, without a tokenizer being asked for.
  func loadWeights() throws -> ModelWeights {
    guard let model else { return try ModelLoader.load(embedded: Self.demo).weights }
    let bar = ProgressBar("loading")
    defer { bar.finish() }
    return try ModelLoader.load(path: model, progress: bar.update).weights
  }

  /// The tokenizer, without the weights being read.
  func loadTokenizer() throws -> Tokenizer {
    guard let model else { return try tokenizer(of: ModelLoader.load(embedded: Self.demo), name: "the demo model") }
    var isFolder: ObjCBool = false
    if FileManager.default.fileExists(atPath: model, isDirectory: &isFolder), isFolder.boolValue {
      return try Tokenizer(folder: model)
    }
    return try tokenizer(of: ModelLoader.load(path: model, options: LoadOptions(verifyCodes: false)), name: model)
  }

  private func tokenizer(of model: LoadedModel, name: String) throws -> Tokenizer {
    guard let source = model.tokenizer else { throw LanguageModelError.noTokenizer(model: name) }
    return try Tokenizer(source)
  }
}

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

/// A model and what it runs on.
struct ModelOptions: ParsableArguments {
  @OptionGroup var source: ModelSource

  @Option(
    help: ArgumentHelp(
      "What to run on: auto (a GPU if there is one, else the CPU), cpu, or cuda, with the GPU's number as cuda:N.",
      valueName: "device"))
  var device = LanguageModel.Device.auto

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Positions that prompt and answer have together. (default: the model's own)", valueName: "count")
  )
  var context: Int?

  @OptionGroup var processor: ProcessorOptions

  @Flag(
    help:
      "On the CPU, read the weights in the mapped file, memory that processes share, instead of copying them: slower.")
  var mapped = false

  @Flag(
    name: .customLong("no-device-check"),
    help: "Do not check a GPU before its first use, which takes up to half a minute once.")
  var skipsDeviceCheck = false

  func loadOptions() throws -> LanguageModel.LoadOptions {
    .init(
      device: device, threads: processor.threads, instructionSet: try processor.chosenInstructionSet(),
      contextLength: context,
      copiesTiles: mapped ? false : nil, checksDevice: !skipsDeviceCheck)
  }

  /// The model, and the seconds that loading took.
  func load() async throws -> (model: LanguageModel, seconds: Double) {
    let clock = ContinuousClock()
    let start = clock.now
    var options = try loadOptions()
    let bar = ProgressBar("loading")
    options.deviceCheckWillStart = { device in
      bar.finish()
      ByteOutput.note("\(device): compiling and checking the kernels, once for this GPU and driver")
    }
    defer {
      bar.finish()
      endAtOnceIfWorkIsLeftBehind()
    }
    let model: LanguageModel
    if let path = source.model {
      model = try await LanguageModel.load(path, options: options, progress: { bar.update($0) })
    } else {
      model = try await LanguageModel.load(embedded: ModelSource.demo, options: options)
    }
    return (model, start.duration(to: clock.now) / .seconds(1))
  }
}

/// Where a kernel on a GPU did not end, makes the process end without the driver, which might wait for it.
private func endAtOnceIfWorkIsLeftBehind() {
  #if canImport(Glibc)
    guard DeviceCheck.leftWorkBehind else { return }
    // Handlers run in the reverse order of their registration: this one before those of the driver.
    on_exit(
      { status, _ in
        fflush(nil)
        _exit(status)
      }, nil)
  #endif
}

extension LanguageModel.Device: ExpressibleByArgument, CustomStringConvertible {
  public init?(argument: String) { self.init(argument) }

  public var description: String {
    switch self {
    case .auto: "auto"
    case .cpu: "cpu"
    case .cuda(let number): number == 0 ? "cuda" : "cuda:\(number)"
    }
  }
}

extension LanguageModel {
  /// What the model runs on, and why it is not a GPU if that was left open.
  var engineDescription: String { engineSummary + (engineNote.map { " (no GPU: \($0))" } ?? "") }
}

import ArgumentParser
import BitNet
import Foundation

/// A model and what it runs on.
struct ModelOptions: ParsableArguments {
  @OptionGroup var source: ModelSource

  @Option(
    help: ArgumentHelp(
      "What to run on: auto (a GPU if there is one, else the CPU), cpu, or cuda, with the GPU's number as cuda:N.",
      valueName: "device"))
  var device = DeviceChoice.auto

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Positions that prompt and answer have together. (default: the model's own)", valueName: "count")
  )
  var context: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      Memory for keys and values, shared by all generations and kept for prompts that begin alike: bytes, or a number \
      with K, M, G, T, Ki, Mi, Gi or Ti. One whole context always fits. (default: a quarter of the memory on the CPU, \
      nine tenths of the free memory on a GPU)
      """, valueName: "bytes"))
  var cacheSize: String?

  @OptionGroup var processor: ProcessorOptions

  @Flag(
    help:
      "On the CPU, read the weights in the mapped file, memory that processes share, instead of copying them: slower.")
  var mapped = false

  @Flag(
    name: .customLong("no-device-check"),
    help: "Do not check a GPU before its first use, which takes up to half a minute once.")
  var skipsDeviceCheck = false

  /// - Parameter cuda: how a GPU is used, besides what the flags say.
  func loadOptions(cuda: LanguageModel.CUDAOptions = .init()) throws -> LanguageModel.LoadOptions {
    let cpu = LanguageModel.CPUOptions(
      threads: processor.threads, instructionSet: try processor.chosenInstructionSet(),
      copiesWeights: mapped ? false : nil)
    var cuda = cuda
    if skipsDeviceCheck { cuda.checksDevice = false }
    return .init(
      device: device.device(cpu: cpu, cuda: cuda), contextLength: context,
      cacheBytes: try cacheSize.map { try byteCount($0, of: "--cache-size") })
  }

  /// The model, and the seconds that loading took.
  func load() async throws -> (model: LanguageModel, seconds: Double) {
    let clock = ContinuousClock()
    let start = clock.now
    let bar = ProgressBar("loading")
    let options = try loadOptions(
      cuda: .init { device in
        bar.finish()
        ByteOutput.note("\(device): compiling and checking the kernels, once for this GPU and driver")
      })
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

extension LanguageModel {
  /// What the model runs on, and why it is not a GPU if that was left open.
  var engineDescription: String { device.description + (device.fallbackReason.map { " (no GPU: \($0))" } ?? "") }
}

import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import Foundation

/// Options for the device that a model runs on.
struct EngineOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      The device to run on: cpu, cuda (cuda:N for GPU number N), or auto: a GPU if there is one and no option of the CPU \
      is given (--threads, --instruction-set, --mapped), otherwise the CPU. For serve and generate --jsonl also several, \
      as in cuda:0,cuda:1, which share the requests. (default: auto)
      """, valueName: "device"), transform: DeviceList.init(written:))
  var device = DeviceList(.auto)

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The maximum number of tokens of prompt and answer together. (default: the model's context length)",
      valueName: "count"))
  var context: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      """
      Memory for the KV cache, in bytes or with a unit (K, M, G, T, Ki, Mi, Gi, Ti). All generations share it, and \
      prompts with the same beginning reuse it. There is always room for one full context. (default: a quarter of the \
      memory on the CPU, nine tenths of the free memory on a GPU)
      """, valueName: "bytes"))
  var cacheSize: String?

  @OptionGroup var processor: ProcessorOptions

  @Flag(
    help: """
      On the CPU, read the weights from the mapped file, which processes share, instead of copying them. Slower, but \
      takes less memory.
      """)
  var mapped = false

  @Flag(
    name: .customLong("no-device-check"),
    help: "Skip the check before the first use of a GPU, which takes up to half a minute once.")
  var skipsDeviceCheck = false

  func validate() throws {
    if device.choices.count > 1, device.choices.contains(where: { if case .auto = $0 { true } else { false } }) {
      throw ValidationError("--device is \(device); expected auto alone, or devices by name")
    }
    let ofProcessor = [
      ("--threads", processor.threads != nil), ("--instruction-set", processor.instructionSet != nil),
      ("--mapped", mapped),
    ]
    if device.areGPUs, let option = ofProcessor.first(where: \.1) {
      throw ValidationError("\(option.0) is for the CPU, and --device is \(device); expected one of the two")
    }
  }

  /// Does something for each of several devices, one after the other. Errors then name the device. Where the CPU is
  /// listed several times, each replica gets its share of the threads and of the cache that one would have by default.
  ///
  /// - Parameter body: gets the options for a device, and its place in the list.
  func forEachDevice(_ body: (_ engine: EngineOptions, _ place: Int) async throws -> Void) async throws {
    guard device.choices.count > 1 else { return try await body(self, 0) }
    // A GPU that is missing is no reason to load the model for the devices before it.
    for (choice, device) in zip(device.choices, device.each) {
      guard case .cuda(let number) = choice else { continue }
      do { _ = try CUDADriver.load().device(number) } catch { throw CommandError("--device \(device): \(error)") }
    }
    let processors = device.choices.count { if case .cpu = $0 { true } else { false } }
    for (place, device) in device.each.enumerated() {
      var options = self
      options.device = device
      if case .cpu = device.choices[0] {
        options.processor.threads = processor.threads ?? max(1, CPUEngine.defaultThreads / processors)
        options.cacheSize = cacheSize ?? "\(CPUEngine.defaultCacheBytes / processors)"
      }
      do {
        try await body(options, place)
      } catch let error where !(error is CancellationError) {
        throw CommandError("--device \(device): \(error)")
      }
    }
  }

  /// - Parameter cuda: how a GPU is used, besides what the flags say.
  func loadOptions(cuda: LanguageModel.CUDAOptions = .init()) throws -> LanguageModel.LoadOptions {
    let cpu = LanguageModel.CPUOptions(
      threads: processor.threads, instructionSet: try processor.chosenInstructionSet(),
      copiesWeights: mapped ? false : nil)
    var cuda = cuda
    if skipsDeviceCheck { cuda.checksDevice = false }
    return .init(
      device: try device.only().device(cpu: cpu, cuda: cuda), contextLength: context,
      cacheBytes: try cacheSize.map { try byteCount($0, of: "--cache-size") })
  }

  /// The options, which end the bar before the GPU is checked.
  private func loadOptions(_ bar: ProgressBar, layout: I2SLayout) throws -> LanguageModel.LoadOptions {
    var options = try loadOptions(
      cuda: .init { device in
        bar.finish()
        ByteOutput.note("\(device): compiling and checking the kernels, once for this GPU and driver")
      })
    options.i2sBlock = layout.i2sBlock
    return options
  }

  /// Loads an embedding model.
  func loadEmbedder(_ path: String, layout: I2SLayout) async throws -> Embedder {
    let bar = ProgressBar("loading")
    let options = try loadOptions(bar, layout: layout)
    defer {
      bar.finish()
      endAtOnceIfWorkIsLeftBehind()
    }
    let embedder = try await Embedder.load(path, options: options, progress: { bar.update($0) })
    bar.finish()
    if let warning = embedder.warning { ByteOutput.note("Warning: \(warning)") }
    return embedder
  }

  /// Loads a model.
  ///
  /// - Parameters:
  ///   - path: the model's file or folder; nil for the demo model.
  ///   - showsWarning: whether to say what is wrong with the model's files.
  ///   - change: changes the options before they are used.
  /// - Returns: the model, and the seconds that loading took.
  func load(
    _ path: String?, layout: I2SLayout, showsWarning: Bool = true,
    change: (inout LanguageModel.LoadOptions) -> Void = { _ in }
  ) async throws -> (model: LanguageModel, seconds: Double) {
    let clock = ContinuousClock()
    let start = clock.now
    let bar = ProgressBar("loading")
    var options = try loadOptions(bar, layout: layout)
    change(&options)
    defer {
      bar.finish()
      endAtOnceIfWorkIsLeftBehind()
    }
    let model: LanguageModel
    if let path {
      model = try await LanguageModel.load(path, options: options, progress: { bar.update($0) })
    } else {
      model = try await LanguageModel.load(embedded: ModelSource.demo, options: options)
    }
    bar.finish()
    if showsWarning, let warning = model.warning { ByteOutput.note("Warning: \(warning)") }
    return (model, start.duration(to: clock.now) / .seconds(1))
  }
}

import ArgumentParser
import BitNet
import BitNetCPUEngine
import BitNetServing

/// Options that choose a model and the device it runs on.
struct ModelOptions: ParsableArguments {
  @OptionGroup var source: ModelSource
  @OptionGroup var engine: EngineOptions

  /// Loads an embedding model.
  func loadEmbedder() async throws -> Embedder {
    guard let path = try source.path() else {
      throw CommandError("the built-in demo model writes texts; pass --model with an embedding model")
    }
    return try await engine.loadEmbedder(path, layout: source.layout)
  }

  /// Loads the model; returns it and the seconds that loading took.
  ///
  /// - Parameters:
  ///   - computesDigest: whether the weights are hashed even if the model's digest is stated or remembered.
  ///   - speculation: whether guesses run along with tokens.
  func load(
    computingDigest computesDigest: Bool = false, speculation: Speculation = .automatic
  ) async throws -> (model: LanguageModel, seconds: Double) {
    try await engine.load(try source.path(), layout: source.layout) { options in
      options.computesDigest = computesDigest
      options.speculation = speculation
    }
  }

  /// Parameters up to which a core computes a step by itself: a few megabytes of weights, which stay in its caches.
  private static let smallModel = 16_000_000

  /// Loads the model for a batch of `width` lines at a time, once for each of several devices, which share the lines.
  ///
  /// All threads of a CPU go through a step of a large model together, because each of them reads a part of the weights.
  /// A small model is loaded once for every thread, each with its share of the lines, because there threads would mostly
  /// wait for each other.
  ///
  /// - Returns: the models, and their engines in words.
  func loadForBatch(
    of width: Int, speculation: Speculation
  ) async throws -> (models: [LanguageModel], engines: String) {
    func load(
      _ engine: EngineOptions, showsWarning: Bool, change: (inout LanguageModel.LoadOptions) -> Void = { _ in }
    ) async throws -> LanguageModel {
      try await engine.load(try source.path(), layout: source.layout, showsWarning: showsWarning) { options in
        options.speculation = speculation
        options.policy.answersAreContinued = false
        change(&options)
      }.model
    }
    var models: [LanguageModel] = []
    try await engine.forEachDevice { engine, place in
      models.append(try await load(engine, showsWarning: place == 0))
    }
    let model = models[0]
    let engines = models.map(\.engineDescription).joined(separator: "; ")
    guard models.count == 1 else { return (models, engines) }
    let set = try engine.processor.chosenInstructionSet()
    let threads = engine.processor.threads ?? CPUEngine.defaultThreads
    // Sixteen sequences fill the vectors of the kernels.
    let count = min(threads, width / 16, 16)
    guard !model.device.isGPU, model.parameterCount <= Self.smallModel, count > 1 else {
      return (models, engines)
    }
    models = []
    for _ in 0..<count {
      let copy = try await load(engine, showsWarning: false) { options in
        options.device = .cpu(.init(threads: 1, instructionSet: set, copiesWeights: engine.mapped ? false : nil))
        options.cacheBytes = (options.cacheBytes ?? CPUEngine.defaultCacheBytes) / count
      }
      models.append(copy)
    }
    return (models, "\(count) times \(models[0].device), each with a share of the lines\(model.device.fallbackNote)")
  }
}

extension LanguageModel {
  /// The engine, and the reason why it is not on a GPU if the choice was automatic.
  var engineDescription: String { device.description + device.fallbackNote }
}

extension LanguageModel.DeviceDescription {
  /// The reason why the engine is not on a GPU, in parentheses, if the choice was automatic; otherwise empty.
  fileprivate var fallbackNote: String { fallbackReason.map { " (no GPU: \($0))" } ?? "" }
}

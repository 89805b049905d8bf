import ArgumentParser
import BitNet

/// Options that choose a model and the device it runs on.
struct ModelOptions: ParsableArguments {
  @OptionGroup var source: ModelSource
  @OptionGroup var engine: EngineOptions

  /// Loads the model; returns it and the seconds that loading took.
  func load() async throws -> (model: LanguageModel, seconds: Double) {
    try await engine.load(try source.path(), layout: source.layout)
  }
}

extension LanguageModel {
  /// The engine, and the reason why it is not on a GPU if the choice was automatic.
  var engineDescription: String { device.description + (device.fallbackReason.map { " (no GPU: \($0))" } ?? "") }
}

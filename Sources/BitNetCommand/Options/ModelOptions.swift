import ArgumentParser
import BitNet
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
}

extension LanguageModel {
  /// The engine, and the reason why it is not on a GPU if the choice was automatic.
  var engineDescription: String { device.description + (device.fallbackReason.map { " (no GPU: \($0))" } ?? "") }
}

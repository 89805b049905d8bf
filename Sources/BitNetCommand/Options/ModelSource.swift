import ArgumentParser
import BitNet
import BitNetDemoModel
import BitNetInference
import BitNetModelFiles
import BitNetTokenization
import Foundation

/// The option that chooses a model.
struct ModelSource: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      """
      A file written by `bitnet convert`, a Hugging Face folder, or a model that `bitnet pull` downloaded: org/name, \
      org/name@revision or org/name/file. (default: the built-in demo model)
      """, valueName: "model"))
  var model: String?

  /// The demo model's file, which is embedded in the program.
  static var demo: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: demo_model_bytes(), count: demo_model_size())
  }

  /// The model's file or folder, that of a model on the hub in the cache; nil for the demo model.
  ///
  /// - Throws: `ModelFileError` with the command that downloads a model that the cache does not have.
  func path() throws -> String? { try model.map { (name) throws in try HubCache.current.resolve(name) } }

  /// Loads the weights; a tokenizer is not needed.
  func loadWeights() throws -> ModelWeights {
    guard let model = try path() else { return try ModelLoader.load(embedded: Self.demo).weights }
    let bar = ProgressBar("loading")
    defer { bar.finish() }
    return try ModelLoader.load(path: model, progress: bar.update).weights
  }

  /// Loads the tokenizer without reading the weights.
  func loadTokenizer() throws -> Tokenizer {
    guard let model = try path() else {
      return try tokenizer(of: ModelLoader.load(embedded: Self.demo), name: "the demo model")
    }
    var isFolder: ObjCBool = false
    if FileManager.default.fileExists(atPath: model, isDirectory: &isFolder), isFolder.boolValue {
      return try Tokenizer(folder: model)
    }
    return try tokenizer(of: ModelLoader.load(path: model, options: LoadOptions(verifyCodes: false)), name: model)
  }

  private func tokenizer(of model: LoadedModel, name: String) throws -> Tokenizer {
    guard let source = model.tokenizer else { throw BitNetError.noTokenizer(model: name) }
    return try Tokenizer(source)
  }
}

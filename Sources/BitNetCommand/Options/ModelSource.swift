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
      A file written by `bitnet convert`, a GGUF file, a Hugging Face folder, or a model that `bitnet pull` downloaded: \
      org/name, org/name@revision or org/name/file. (default: the built-in demo model, which writes texts)
      """, valueName: "model"))
  var model: String?

  @OptionGroup var layout: I2SLayout

  /// The demo model's file, which is embedded in the program.
  static var demo: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: demo_model_bytes(), count: demo_model_size())
  }

  /// The model's file or folder, that of a model on the hub in the cache; nil for the demo model.
  ///
  /// - Throws: `ModelFileError` with the command that downloads a model that the cache does not have.
  func path() throws -> String? { try model.map { (name) throws in try HubCache.current.resolve(name) } }

  /// A model's name in requests without one of the user's own: the demo model's, the file's, or the name on the hub.
  static func servedName(of model: String?) -> String {
    guard let model else { return "demo" }
    guard FileManager.default.fileExists(atPath: model) else { return model }
    let url = URL(fileURLWithPath: model)
    return ["safetensors", "gguf"].contains(url.pathExtension)
      ? url.deletingPathExtension().lastPathComponent : url.lastPathComponent
  }

  /// Loads the weights; a tokenizer is not needed.
  func loadWeights() throws -> ModelWeights {
    guard let model = try path() else { return try ModelLoader.load(embedded: Self.demo).weights }
    let bar = ProgressBar("loading")
    defer { bar.finish() }
    let loaded = try ModelLoader.load(path: model, options: layout.options, progress: bar.update)
    bar.finish()
    if let warning = loaded.warning { ByteOutput.note("Warning: \(warning)") }
    return loaded.weights
  }

  /// Loads the tokenizer without reading the weights.
  func loadTokenizer() throws -> Tokenizer {
    guard let model = try path() else {
      return try tokenizer(ModelLoader.load(embedded: Self.demo).tokenizer, of: "the demo model")
    }
    var isFolder: ObjCBool = false
    if FileManager.default.fileExists(atPath: model, isDirectory: &isFolder), isFolder.boolValue {
      return try Tokenizer(folder: model)
    }
    return try tokenizer(ModelLoader.tokenizer(path: model), of: model)
  }

  private func tokenizer(_ source: TokenizerSource?, of name: String) throws -> Tokenizer {
    guard let source else { throw BitNetError.noTokenizer(model: name) }
    return try Tokenizer(source)
  }
}

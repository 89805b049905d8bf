package import BitNetInference
import BitNetJSON

/// A kind of model that can be read: how its config.json is recognised, and what that file does not say.
///
/// To read another architecture, add it to `all`, its tensor names to `TensorNames`, and the fields of config.json that
/// only it has to `configure`.
package struct ModelFamily: Sendable {
  /// The entry of `architectures` in config.json.
  package var architecture: String
  /// The `model_type` that identifies the family in a config.json without `architectures`; nil if it does not.
  package var modelType: String?
  /// Whether a checkpoint without a quantization_config has master weights. If not, such a checkpoint is refused:
  /// absmean quantisation of a plain model's weights, or of weights that are codes times a scale, ruins the model.
  package var hasMasters: Bool
  package var names: TensorNames
  /// Adds to a configuration what is fixed for the family or in fields of config.json that only the family has. The
  /// configuration already has the family's norms and the fields that all families have; it is validated afterwards.
  package var configure: @Sendable (ConfigurationFields, inout ModelConfiguration) throws(ModelFileError) -> Void

  package init(
    architecture: String, modelType: String? = nil, hasMasters: Bool = false, names: TensorNames,
    configure: @escaping @Sendable (ConfigurationFields, inout ModelConfiguration) throws(ModelFileError) -> Void = {
      _, _ in
    }
  ) {
    self.architecture = architecture
    self.modelType = modelType
    self.hasMasters = hasMasters
    self.names = names
    self.configure = configure
  }

  /// All supported families.
  package static let all = [
    ModelFamily(architecture: "BitNetForCausalLM", modelType: "bitnet", hasMasters: true, names: .bitNet),
    // The first public reproduction of BitNet b1.58: float32 masters, and other names of the sub-norms.
    ModelFamily(architecture: "BitnetForCausalLM", hasMasters: true, names: .bitNet),
    ModelFamily(architecture: "LlamaForCausalLM", modelType: "llama", names: .llama),
  ]

  /// The norms of the family's blocks besides those that all blocks have.
  package var optionalNorms: Set<NormRole> { Set(names.norms.keys.filter(\.isOptional)) }

  /// The family of a config.json: that of its first known architecture, or of its model_type if it has no
  /// architectures.
  static func find(
    _ architectures: [String], modelType: String?, in families: [ModelFamily], file: String
  ) throws(ModelFileError) -> ModelFamily {
    for name in architectures {
      if let family = families.first(where: { $0.architecture == name }) { return family }
    }
    if architectures.isEmpty, let modelType, let family = families.first(where: { $0.modelType == modelType }) {
      return family
    }
    let supported = families.map(\.architecture).joined(separator: ", ")
    let found =
      architectures.isEmpty
      ? "is missing, and model_type is \(modelType ?? "missing")" : "is " + architectures.joined(separator: ", ")
    let isEmbedding = ["qwen3", "gemma3_text", "gemma3"].contains(modelType)
    throw ModelFileError(
      .unsupported, file: file, subject: "architectures", finding: found,
      expected: supported + (isEmbedding ? "; BitNet embedding models are not supported yet" : ""))
  }
}

/// The fields of a config.json by name, for those that only some families have.
package struct ConfigurationFields: Sendable {
  private let json: JSONValue
  private let file: String

  /// - Parameter file: config.json's path, for errors.
  init(_ json: JSONValue, file: String) {
    self.json = json
    self.file = file
  }

  /// - Throws: `ModelFileError` when the field is missing or not a number.
  package func number(_ name: String) throws(ModelFileError) -> Double {
    try read(name) { (value) throws(JSONError) in try value.number() }
  }

  /// - Throws: `ModelFileError` when the field is missing or not a whole number of 64 bits.
  package func integer(_ name: String) throws(ModelFileError) -> Int {
    try read(name) { (value) throws(JSONError) in try value.integer() }
  }

  /// - Throws: `ModelFileError` when the field is missing or not a list of strings.
  package func strings(_ name: String) throws(ModelFileError) -> [String] {
    try read(name) { (value) throws(JSONError) in try value.strings() }
  }

  private func read<Value>(
    _ name: String, _ body: (JSONValue) throws(JSONError) -> Value
  ) throws(ModelFileError) -> Value {
    do {
      return try body(try json[name])
    } catch {
      throw ModelFileError(error, file: file)
    }
  }
}

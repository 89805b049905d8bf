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
  /// Whether a checkpoint without a quantization_config has a norm before each projection, `<projection>.norm`. That
  /// tells its masters from a plain model's weights.
  package var normsProjections: Bool
  package var names: TensorNames
  /// Adds to a configuration what is fixed for the family or in fields of config.json that only the family has. The
  /// configuration already has the family's norms and the fields that all families have; it is validated afterwards.
  package var configure: @Sendable (ConfigurationFields, inout ModelConfiguration) throws(ModelFileError) -> Void

  package init(
    architecture: String, modelType: String? = nil, hasMasters: Bool = false, normsProjections: Bool = false,
    names: TensorNames,
    configure: @escaping @Sendable (ConfigurationFields, inout ModelConfiguration) throws(ModelFileError) -> Void = {
      _, _ in
    }
  ) {
    self.architecture = architecture
    self.modelType = modelType
    self.hasMasters = hasMasters
    self.normsProjections = normsProjections
    self.names = names
    self.configure = configure
  }

  /// All supported families.
  package static let all = [
    ModelFamily(architecture: "BitNetForCausalLM", modelType: "bitnet", hasMasters: true, names: .bitNet),
    // The first public reproduction of BitNet b1.58: float32 masters, and other names of the sub-norms.
    ModelFamily(architecture: "BitnetForCausalLM", hasMasters: true, names: .bitNet),
    ModelFamily(architecture: "LlamaForCausalLM", modelType: "llama", names: .llama),
    .qwen3("Qwen3ForCausalLM", modelType: "qwen3"),
    .qwen3("Qwen3Model"),
    .gemma3("Gemma3ForCausalLM", modelType: "gemma3_text"),
    .gemma3("Gemma3TextModel"),
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
    throw ModelFileError(
      .unsupported, file: file, subject: "architectures", finding: found, expected: supported)
  }
}

/// The fields of a config.json by name, for those that only some families have.
package struct ConfigurationFields: Sendable {
  private let json: JSONValue
  private let file: String
  /// The rotary base of layers with a window, where rope_parameters has one.
  let slidingTheta: Double?

  /// - Parameter file: config.json's path, for errors.
  init(_ json: JSONValue, file: String, slidingTheta: Double? = nil) {
    self.json = json
    self.file = file
    self.slidingTheta = slidingTheta
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

  /// Nil if the field is missing or null.
  ///
  /// - Throws: `ModelFileError` when the field is not a number.
  package func numberIfPresent(_ name: String) throws(ModelFileError) -> Double? {
    try read(name) { (value) throws(JSONError) in try value.ifPresent?.number() }
  }

  /// Nil if the field is missing or null.
  ///
  /// - Throws: `ModelFileError` when the field is not a whole number of 64 bits.
  package func integerIfPresent(_ name: String) throws(ModelFileError) -> Int? {
    try read(name) { (value) throws(JSONError) in try value.ifPresent?.integer() }
  }

  /// Nil if the field is missing or null.
  ///
  /// - Throws: `ModelFileError` when the field is not a list of strings.
  package func stringsIfPresent(_ name: String) throws(ModelFileError) -> [String]? {
    try read(name) { (value) throws(JSONError) in try value.ifPresent?.strings() }
  }

  /// Nil if the field is missing, null or not true or false.
  package func flag(_ name: String) throws(ModelFileError) -> Bool? {
    try read(name) { (value) throws(JSONError) in value.kind == .bool ? try value.bool() : nil }
  }

  /// The error of a field whose value no engine follows.
  func unsupported(_ name: String, _ found: some CustomStringConvertible, _ expected: String) -> ModelFileError {
    ModelFileError(.unsupported, file: file, subject: name, finding: "is \(found)", expected: expected)
  }

  /// The error of a field that is out of range.
  func invalid(_ name: String, _ found: some CustomStringConvertible, _ expected: String) -> ModelFileError {
    ModelFileError(.configuration, file: file, subject: name, finding: "is \(found)", expected: expected)
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

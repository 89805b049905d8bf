package import BitNetInference

/// A kind of model that can be read: how its config.json is told from others, and what it does not say itself.
///
/// To read another architecture, add it to `all` (and a field that only it has to `configure`), and its tensor names to
/// `TensorNames`.
package struct ModelFamily: Sendable {
  /// The entry of `architectures` in config.json.
  package var architecture: String
  /// The `model_type` of a config.json without `architectures`, if that is enough to tell the family.
  package var modelType: String?
  /// Whether a checkpoint without a quantization_config holds master weights. Otherwise it is refused: taking absmean
  /// of a plain model's weights, or of ones whose codes are already multiplied out, gives a model that talks nonsense.
  package var hasMasters: Bool
  package var names: TensorNames
  /// Adds to a configuration what is fixed in the family, or in fields of config.json that only it has. It has the
  /// family's norms, and all that is read for every family; it is checked afterwards.
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

  /// The families that can be run.
  package static let all = [
    ModelFamily(architecture: "BitNetForCausalLM", modelType: "bitnet", hasMasters: true, names: .bitNet),
    // The first public reproduction of BitNet b1.58, in its own code: float32 masters, sub-norms under other names.
    ModelFamily(architecture: "BitnetForCausalLM", hasMasters: true, names: .bitNet),
    ModelFamily(architecture: "LlamaForCausalLM", modelType: "llama", names: .llama),
  ]

  /// The norms that the family's blocks have beside those that all have.
  package var optionalNorms: Set<NormRole> { Set(names.norms.keys.filter(\.isOptional)) }

  /// The family of a config.json, by its first known architecture, or by its model_type where it names none.
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

/// The fields of a config.json by name, for what only some families have.
package struct ConfigurationFields: Sendable, Decodable {
  private var numbers: [String: Double] = [:]
  private var lists: [String: [String]] = [:]
  /// For errors.
  private(set) var file = "config.json"

  private struct Name: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  package init(from decoder: any Decoder) throws {
    let fields = try decoder.container(keyedBy: Name.self)
    for name in fields.allKeys {
      if let number = try? fields.decode(Double.self, forKey: name) {
        numbers[name.stringValue] = number
      } else if let list = try? fields.decode([String].self, forKey: name) {
        lists[name.stringValue] = list
      }
    }
  }

  func named(_ file: String) -> ConfigurationFields {
    var fields = self
    fields.file = file
    return fields
  }

  /// - Throws: `ModelFileError` when the field is missing or no number.
  package func number(_ name: String) throws(ModelFileError) -> Double { try value(numbers[name], name, "a number") }

  /// - Throws: `ModelFileError` when the field is missing or no integer that fits.
  package func integer(_ name: String) throws(ModelFileError) -> Int {
    try value(numbers[name].flatMap { Int(exactly: $0) }, name, "an integer")
  }

  /// - Throws: `ModelFileError` when the field is missing or no list of strings.
  package func strings(_ name: String) throws(ModelFileError) -> [String] {
    try value(lists[name], name, "a list of strings")
  }

  private func value<Value>(_ value: Value?, _ name: String, _ expected: String) throws(ModelFileError) -> Value {
    guard let value else {
      throw ModelFileError(
        .configuration, file: file, subject: name, finding: "is missing or of another type", expected: expected)
    }
    return value
  }
}

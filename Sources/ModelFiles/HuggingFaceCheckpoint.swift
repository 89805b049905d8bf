import BitNetInference
import BitNetTernary

/// A Hugging Face checkpoint whose tensors have been found and checked against its configuration.
struct HuggingFaceCheckpoint: Sendable {
  /// The tensors of a transformer block.
  struct Layer: Sendable {
    /// By `MatrixRole.rawValue`.
    let stacks: [ProjectionStack]
    /// All norms of the configuration.
    let norms: [NormRole: StoredTensor]
    /// For errors.
    let name: String

    /// - Throws: `ModelFileError` for a norm that the configuration does not have.
    func norm(_ role: NormRole) throws(ModelFileError) -> StoredTensor {
      guard let norm = norms[role] else {
        throw ModelFileError(.tensor, file: name, subject: "the \(role.name)", finding: "is missing")
      }
      return norm
    }
  }

  let configuration: HuggingFaceConfiguration
  let tensors: SafetensorsFolder
  let layers: [Layer]
  let embedding: StoredTable
  /// Nil if the embedding is the head.
  let head: StoredTable?
  let finalNorm: StoredTensor

  /// - Throws: `ModelFileError` naming the first tensor that is missing, has the wrong type or shape, or is a weight
  ///   that the architecture does not use.
  init(configuration: HuggingFaceConfiguration, tensors: SafetensorsFolder) throws(ModelFileError) {
    let model = configuration.model
    let prefix = tensors["model.embed_tokens.weight"] == nil && tensors["embed_tokens.weight"] != nil ? "" : "model."
    var finder = TensorFinder(tensors: tensors, meaning: configuration.scaleMeaning)

    embedding = try finder.table(prefix + "embed_tokens.weight", rows: model.vocabularySize, columns: model.hiddenSize)
    finalNorm = try finder.norm([prefix + "norm.weight"], count: model.hiddenSize)
    if model.tiedEmbedding {
      finder.ignore("lm_head.weight")  // some tied checkpoints have a copy
      head = nil
    } else {
      head = try finder.table("lm_head.weight", rows: model.vocabularySize, columns: model.hiddenSize)
    }
    var layers: [Layer] = []
    for index in 0..<model.layerCount {
      layers.append(try finder.layer(index, prefix: "\(prefix)layers.\(index).", configuration))
    }
    try finder.requireNoStrangers(prefix: prefix)
    self.configuration = configuration
    self.tensors = tensors
    self.layers = layers
  }
}

/// Finds tensors by name and records which of them are used.
private struct TensorFinder {
  let tensors: SafetensorsFolder
  let meaning: HuggingFaceConfiguration.ScaleMeaning?
  private var used: Set<String> = []

  init(tensors: SafetensorsFolder, meaning: HuggingFaceConfiguration.ScaleMeaning?) {
    self.tensors = tensors
    self.meaning = meaning
  }

  mutating func ignore(_ name: String) { used.insert(name) }

  mutating func table(_ name: String, rows: Int, columns: Int) throws(ModelFileError) -> StoredTable {
    used.insert(name)
    return try StoredTable(name: name, rows: rows, columns: columns, tensors: tensors)
  }

  /// The weights of a norm, under the first of its names that exists.
  mutating func norm(_ names: [String], count: Int) throws(ModelFileError) -> StoredTensor {
    guard let name = names.first(where: { tensors[$0] != nil }), let tensor = tensors[name] else {
      throw ModelFileError(
        tensor: names[0], file: tensors.name, finding: "is missing", expected: "a tensor of shape [\(count)]")
    }
    try tensor.require(StoredTensor.floatTypes, shape: [count])
    used.insert(name)
    return tensor
  }

  mutating func stack(
    _ name: String, _ parts: [(name: String, rows: Int)], columns: Int, in layer: String
  ) throws(ModelFileError) -> ProjectionStack {
    var projections: [StoredProjection] = []
    for part in parts {
      let weight = layer + part.name + ".weight"
      used.insert(weight)
      used.insert(weight + "_scale")
      projections.append(
        try StoredProjection(name: weight, rows: part.rows, columns: columns, tensors: tensors, meaning: meaning))
    }
    return ProjectionStack(name: name, parts: projections)
  }

  /// - Parameter prefix: the prefix of the layer's tensors in the checkpoint.
  mutating func layer(
    _ index: Int, prefix: String, _ configuration: HuggingFaceConfiguration
  ) throws(ModelFileError) -> HuggingFaceCheckpoint.Layer {
    let (model, names) = (configuration.model, configuration.names)
    func required(_ found: [String]?, _ weight: String) throws(ModelFileError) -> [String] {
      guard let found, !found.isEmpty else {
        throw ModelFileError(
          .unsupported, file: tensors.name, subject: "the \(weight) of a \(model.architecture)", finding: "has no name",
          expected: "one in the family's tensor names")
      }
      return found
    }
    var norms: [NormRole: StoredTensor] = [:]
    for (role, width) in model.norms {
      norms[role] = try norm(required(names.norms[role], role.name).map { prefix + $0 + ".weight" }, count: width)
    }
    var stacks: [ProjectionStack] = []
    for role in MatrixRole.allCases {
      let (rows, columns) = model.shape(of: role)
      let parts = try zip(required(names.projections[role], role.name), rows).map { (name: $0, rows: $1) }
      stacks.append(
        try stack(ConvertedForm.layerPrefix(index) + ConvertedForm.name(of: role), parts, columns: columns, in: prefix))
    }
    return HuggingFaceCheckpoint.Layer(stacks: stacks, norms: norms, name: tensors.name)
  }

  /// - Throws: `ModelFileError` for an unused tensor of the layers, the final norm or the head: ignoring a bias or an
  ///   extra norm would silently change the model's output.
  func requireNoStrangers(prefix: String) throws(ModelFileError) {
    for name in tensors.names where !used.contains(name) {
      guard name.hasPrefix(prefix + "layers.") || name.hasPrefix(prefix + "norm.") || name.hasPrefix("lm_head.") else {
        continue
      }
      // Frequency tables of old checkpoints; they are a function of rope_theta.
      if name.hasSuffix("rotary_emb.inv_freq") { continue }
      throw ModelFileError(
        tensor: name, file: tensors[name]?.file.name ?? tensors.name, finding: "has no place in this architecture",
        expected: "only the weights that config.json describes")
    }
  }
}

import BitNetInference
import BitNetTernary

/// A checkpoint whose tensors have been found and checked against its configuration. Its ternary weights are still to be
/// packed.
struct Checkpoint: Sendable {
  /// The tensors of a transformer block.
  struct Layer: Sendable {
    /// By `MatrixRole.rawValue`.
    let stacks: [ProjectionStack]
    /// All norms of the configuration.
    let norms: [NormRole: StoredNorm]
    /// For errors.
    let name: String

    /// - Throws: `ModelFileError` for a norm that the configuration does not have.
    func norm(_ role: NormRole) throws(ModelFileError) -> StoredNorm {
      guard let norm = norms[role] else {
        throw ModelFileError(.tensor, file: name, subject: "the \(role.name)", finding: "is missing")
      }
      return norm
    }
  }

  let model: ModelConfiguration
  /// The path of the files, or a name for files in memory.
  let name: String
  let files: [any TensorFile]
  /// All tensors, in the order of the files.
  let tensors: [StoredTensor]
  let layers: [Layer]
  let embedding: StoredTable
  /// Nil if the embedding is the head.
  let head: StoredTable?
  let finalNorm: StoredNorm
}

/// The weights of a norm as a checkpoint stores them.
struct StoredNorm: Sendable {
  let tensor: StoredTensor
  /// Whether the weights are one more than the stored numbers.
  let isStoredLessOne: Bool

  var byteCount: Int { tensor.byteCount }

  /// - Throws: `ModelFileError` naming the first element that is not finite.
  func floats() throws(ModelFileError) -> [Float] {
    let stored = try tensor.floats()
    return isStoredLessOne ? stored.map { 1 + $0 } : stored
  }
}

/// Finds tensors by name and records which of them are used.
struct TensorFinder {
  let tensors: any TensorSource
  private var used: Set<String> = []

  init(_ tensors: any TensorSource) { self.tensors = tensors }

  mutating func use(_ name: String) { used.insert(name) }

  func isUsed(_ name: String) -> Bool { used.contains(name) }

  mutating func table(_ name: String, rows: Int, columns: Int) throws(ModelFileError) -> StoredTable {
    use(name)
    return try StoredTable(name: name, rows: rows, columns: columns, tensors: tensors)
  }

  /// The weights of a norm, under the first of its names that exists.
  mutating func norm(
    _ names: [String], count: Int, isStoredLessOne: Bool = false
  ) throws(ModelFileError) -> StoredNorm {
    guard let name = names.first(where: { tensors[$0] != nil }), let tensor = tensors[name] else {
      throw ModelFileError(
        tensor: names[0], file: tensors.name, finding: "is missing", expected: "a tensor of shape [\(count)]")
    }
    try tensor.require(StoredTensor.floatTypes, shape: [count])
    use(name)
    return StoredNorm(tensor: tensor, isStoredLessOne: isStoredLessOne)
  }

  /// - Parameters:
  ///   - index: the layer's number.
  ///   - prefix: the prefix of the layer's tensors in the checkpoint.
  ///   - projection: reads the projection of a name without prefix and `.weight`.
  mutating func layer(
    _ index: Int, prefix: String, names: TensorNames, of model: ModelConfiguration,
    projection: (inout TensorFinder, _ weight: String, _ rows: Int, _ columns: Int) throws(ModelFileError)
      -> StoredProjection
  ) throws(ModelFileError) -> Checkpoint.Layer {
    func required(_ found: [String]?, _ weight: String) throws(ModelFileError) -> [String] {
      guard let found, !found.isEmpty else {
        throw ModelFileError(
          .unsupported, file: tensors.name, subject: "the \(weight) of a \(model.architecture)", finding: "has no name",
          expected: "one in the family's tensor names")
      }
      return found
    }
    var norms: [NormRole: StoredNorm] = [:]
    for (role, width) in model.norms {
      norms[role] = try norm(
        required(names.norms[role], role.name).map { prefix + $0 + ".weight" }, count: width,
        isStoredLessOne: names.storesNormsLessOne && !Set.projectionNorms.contains(role))
    }
    var stacks: [ProjectionStack] = []
    for role in MatrixRole.allCases {
      let (rows, columns) = model.shape(of: role)
      var parts: [StoredProjection] = []
      for (name, rows) in zip(try required(names.projections[role], role.name), rows) {
        let weight = prefix + name + ".weight"
        use(weight)
        parts.append(try projection(&self, weight, rows, columns))
      }
      stacks.append(
        ProjectionStack(name: ConvertedForm.layerPrefix(index) + ConvertedForm.name(of: role), parts: parts))
    }
    return Checkpoint.Layer(stacks: stacks, norms: norms, name: tensors.name)
  }
}

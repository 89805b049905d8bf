package import BitNetTernary

/// A table of bfloat16 rows, one for each token: the embedding or the LM head.
package struct EmbeddingTable: Sendable {
  package let rows: Int
  package let columns: Int
  /// `rows · columns` little-endian bfloat16 values, row-major, aligned to 2 bytes.
  package let bytes: SharedBytes

  /// - Throws: `ModelWeightsError` when `bytes` is not `rows · columns · 2` long or not aligned to 2 bytes.
  package init(name: String, rows: Int, columns: Int, bytes: SharedBytes) throws(ModelWeightsError) {
    guard bytes.count == rows * columns * 2, UInt(bitPattern: bytes.baseAddress) % 2 == 0 else {
      throw ModelWeightsError(
        tensor: name, found: "\(bytes.count) bytes",
        expected: "\(rows) x \(columns) bfloat16 values, aligned to 2 bytes")
    }
    self.rows = rows
    self.columns = columns
    self.bytes = bytes
  }

  /// The bfloat16 bits of one row: `row` in `0..<rows`. Valid only while this table is alive.
  package func row(_ row: Int) -> UnsafeBufferPointer<UInt16> {
    let start = (bytes.baseAddress + row * columns * 2).assumingMemoryBound(to: UInt16.self)
    return UnsafeBufferPointer(start: start, count: columns)
  }
}

/// The weights of one transformer block, by role.
package struct LayerWeights: Sendable {
  /// Indexed by `MatrixRole.rawValue`, in the order of a forward pass.
  package private(set) var matrices: [TernaryMatrix]
  private var norms: [NormRole: [Float]]

  /// - Parameters:
  ///   - matrix: returns each matrix, in the order of a forward pass.
  ///   - norm: then returns the `width` weights of each norm that the model has.
  package init<Failure>(
    of configuration: ModelConfiguration, matrix: (MatrixRole) throws(Failure) -> TernaryMatrix,
    norm: (_ role: NormRole, _ width: Int) throws(Failure) -> [Float]
  ) throws(Failure) {
    matrices = []
    norms = [:]
    for role in MatrixRole.allCases { matrices.append(try matrix(role)) }
    for (role, width) in configuration.norms { norms[role] = try norm(role, width) }
  }

  /// The matrix of a role. Its stacked parts and columns have the shape `ModelConfiguration.shape(of:)`.
  package subscript(role: MatrixRole) -> TernaryMatrix {
    get { matrices[role.rawValue] }
    set { matrices[role.rawValue] = newValue }
  }

  /// The `ModelConfiguration.width(of:)` weights of a norm; nil if the model has no such norm.
  package subscript(role: NormRole) -> [Float]? {
    get { norms[role] }
    set { norms[role] = newValue }
  }
}

/// A model's weights in the form every engine uses: tiles, bfloat16 tables and Float norms.
package struct ModelWeights: Sendable {
  package let configuration: ModelConfiguration
  package let embedding: EmbeddingTable
  package private(set) var layers: [LayerWeights]
  /// RMSNorm weights before the LM head, `[hidden]`.
  package let finalNorm: [Float]
  /// The LM head, which is the embedding itself if tied.
  package let head: EmbeddingTable

  /// - Throws: `ModelWeightsError` naming the first weight whose shape contradicts the configuration, or a norm weight
  ///   that is not finite; `ConfigurationError` when the configuration itself is out of range.
  package init(
    configuration: ModelConfiguration, embedding: EmbeddingTable, layers: [LayerWeights], finalNorm: [Float],
    head: EmbeddingTable?
  ) throws {
    try configuration.validate()
    let c = configuration
    func check(_ name: String, _ found: [Int], _ expected: [Int]) throws(ModelWeightsError) {
      guard found == expected else {
        throw ModelWeightsError(tensor: name, found: "shape \(found)", expected: "shape \(expected)")
      }
    }
    func check(_ name: String, norm: [Float], _ count: Int) throws(ModelWeightsError) {
      try check(name, [norm.count], [count])
      if let index = norm.firstIndex(where: { !$0.isFinite }) {
        throw ModelWeightsError(tensor: name, found: "\(norm[index]) at index \(index)", expected: "finite values")
      }
    }
    try check("the embedding", [embedding.rows, embedding.columns], [c.vocabularySize, c.hiddenSize])
    if let head { try check("the LM head", [head.rows, head.columns], [c.vocabularySize, c.hiddenSize]) }
    guard c.tiedEmbedding == (head == nil) else {
      throw ModelWeightsError(
        tensor: "the LM head", found: head == nil ? "no weights" : "weights",
        expected: c.tiedEmbedding ? "none, because the embedding is tied" : "some, because the embedding is not tied")
    }
    try check("the final norm", norm: finalNorm, c.hiddenSize)
    guard layers.count == c.layerCount else {
      throw ModelWeightsError(tensor: "the model", found: "\(layers.count) layers", expected: "\(c.layerCount)")
    }
    for (index, layer) in layers.enumerated() {
      for role in MatrixRole.allCases {
        let (rows, columns) = c.shape(of: role)
        try check(
          "layer \(index) \(role.name)", layer[role].parts.map(\.rows) + [layer[role].columns], rows + [columns])
      }
      for role in NormRole.allCases {
        let name = "layer \(index) \(role.name)"
        switch (layer[role], c.width(of: role)) {
        case (let norm?, let width?): try check(name, norm: norm, width)
        case (nil, let width?):
          throw ModelWeightsError(tensor: name, found: "no weights", expected: "a norm of \(width) values")
        case (_?, nil): throw ModelWeightsError(tensor: name, found: "weights", expected: "none in this model")
        case (nil, nil): break
        }
      }
    }
    self.configuration = configuration
    self.embedding = embedding
    self.layers = layers
    self.finalNorm = finalNorm
    self.head = head ?? embedding
  }

  /// Bytes of ternary tiles.
  package var tileByteCount: Int { layers.reduce(0) { $0 + $1.matrices.reduce(0) { $0 + $1.tiles.count } } }

  /// Bytes of ternary tiles, embedding and LM head; a tied head counts once.
  package var byteCount: Int {
    tileByteCount + embedding.bytes.count + (configuration.tiedEmbedding ? 0 : head.bytes.count)
  }

  /// Replaces the memory of a layer's tiles by a copy of them.
  ///
  /// - Parameter tiles: returns the copy for each of the layer's matrices, in the order of a forward pass.
  package mutating func replaceTiles(ofLayer index: Int, _ tiles: (TernaryMatrix) -> SharedBytes) {
    for role in MatrixRole.allCases { layers[index][role].replaceTiles(with: tiles(layers[index][role])) }
  }
}

/// A weight that contradicts the model's configuration.
package struct ModelWeightsError: Error, Equatable, CustomStringConvertible {
  package let tensor: String
  package let found: String
  package let expected: String

  package init(tensor: String, found: String, expected: String) {
    self.tensor = tensor
    self.found = found
    self.expected = expected
  }

  package var description: String { "\(tensor) has \(found); expected \(expected)" }
}

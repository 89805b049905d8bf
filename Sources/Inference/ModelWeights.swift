import BitNetTernary

/// A table of bfloat16 rows, one for each token: the embedding, or the output head.
package struct EmbeddingTable: Sendable {
  package let rows: Int
  package let columns: Int
  /// `rows · columns` little-endian bfloat16 values, row-major, aligned to 2 bytes.
  package let bytes: SharedBytes

  /// - Throws: `ModelWeightsError` when `bytes` is not `rows · columns · 2` long or not aligned to 2 bytes.
  package init(name: String, rows: Int, columns: Int, bytes: SharedBytes) throws(ModelWeightsError) {
    guard bytes.count == rows * columns * 2, UInt(bitPattern: bytes.baseAddress) % 2 == 0 else {
      throw ModelWeightsError(tensor: name, found: "\(bytes.count) bytes", expected: "\(rows) x \(columns) bfloat16 values")
    }
    self.rows = rows
    self.columns = columns
    self.bytes = bytes
  }

  /// The bfloat16 bits of one row: `row` in `0..<rows`. Valid only while something holds this table.
  package func row(_ row: Int) -> UnsafeBufferPointer<UInt16> {
    let start = (bytes.baseAddress + row * columns * 2).assumingMemoryBound(to: UInt16.self)
    return UnsafeBufferPointer(start: start, count: columns)
  }
}

/// The weights of one transformer block.
package struct LayerWeights: Sendable {
  /// RMSNorm weights before the attention, `[hidden]`.
  package var attentionNorm: [Float]
  /// Stacked q, k and v, `[query width + 2 · key/value width][hidden]`.
  package var queryKeyValue: TernaryMatrix
  /// RMSNorm weights over the concatenated heads, `[query width]`, if the model has sub-norms.
  package var attentionSubNorm: [Float]?
  /// `[hidden][query width]`.
  package var attentionOutput: TernaryMatrix
  /// RMSNorm weights before the feed-forward part, `[hidden]`.
  package var feedForwardNorm: [Float]
  /// Stacked gate and up, `[2 · feed-forward][hidden]`.
  package var gateUp: TernaryMatrix
  /// RMSNorm weights before the down projection, `[feed-forward]`, if the model has sub-norms.
  package var feedForwardSubNorm: [Float]?
  /// `[hidden][feed-forward]`.
  package var down: TernaryMatrix

  package init(
    attentionNorm: [Float], queryKeyValue: TernaryMatrix, attentionSubNorm: [Float]?, attentionOutput: TernaryMatrix,
    feedForwardNorm: [Float], gateUp: TernaryMatrix, feedForwardSubNorm: [Float]?, down: TernaryMatrix
  ) {
    self.attentionNorm = attentionNorm
    self.queryKeyValue = queryKeyValue
    self.attentionSubNorm = attentionSubNorm
    self.attentionOutput = attentionOutput
    self.feedForwardNorm = feedForwardNorm
    self.gateUp = gateUp
    self.feedForwardSubNorm = feedForwardSubNorm
    self.down = down
  }

  /// The matrices in the order of a forward pass.
  package var matrices: [TernaryMatrix] { Self.matrixPaths.map { self[keyPath: $0] } }

  fileprivate static var matrixPaths: [WritableKeyPath<LayerWeights, TernaryMatrix>] {
    [\.queryKeyValue, \.attentionOutput, \.gateUp, \.down]
  }
}

/// A model's weights in the form every engine uses: tiles, bfloat16 tables and Float norms.
package struct ModelWeights: Sendable {
  package let configuration: ModelConfiguration
  package let embedding: EmbeddingTable
  package private(set) var layers: [LayerWeights]
  /// RMSNorm weights before the head, `[hidden]`.
  package let finalNorm: [Float]
  /// The output head; the embedding itself when tied.
  package let head: EmbeddingTable

  /// - Throws: `ModelWeightsError` naming the first weight whose shape is not what the configuration says, or a norm weight that is
  ///   not finite; `ConfigurationError` when the configuration itself is out of range.
  package init(
    configuration: ModelConfiguration, embedding: EmbeddingTable, layers: [LayerWeights], finalNorm: [Float], head: EmbeddingTable?
  ) throws {
    try configuration.validate()
    let c = configuration
    func check(_ name: String, _ found: [Int], _ expected: [Int]) throws(ModelWeightsError) {
      guard found == expected else { throw ModelWeightsError(tensor: name, found: "shape \(found)", expected: "shape \(expected)") }
    }
    func check(_ name: String, norm: [Float], _ count: Int) throws(ModelWeightsError) {
      try check(name, [norm.count], [count])
      if let index = norm.firstIndex(where: { !$0.isFinite }) {
        throw ModelWeightsError(tensor: name, found: "\(norm[index]) at index \(index)", expected: "finite values")
      }
    }
    func check(_ name: String, subNorm: [Float]?, _ count: Int) throws(ModelWeightsError) {
      guard c.hasSubNorms == (subNorm != nil) else {
        throw ModelWeightsError(
          tensor: name, found: subNorm == nil ? "no such tensor" : "a tensor",
          expected: c.hasSubNorms ? "a norm of \(count) values" : "none in a model without sub-norms")
      }
      if let subNorm { try check(name, norm: subNorm, count) }
    }
    try check("the embedding", [embedding.rows, embedding.columns], [c.vocabularySize, c.hiddenSize])
    if let head { try check("the output head", [head.rows, head.columns], [c.vocabularySize, c.hiddenSize]) }
    guard c.tiedEmbedding == (head == nil) else {
      throw ModelWeightsError(
        tensor: "the output head", found: head == nil ? "none" : "one",
        expected: c.tiedEmbedding ? "none, because the embedding is tied" : "one, because the embedding is not tied")
    }
    try check("the final norm", norm: finalNorm, c.hiddenSize)
    guard layers.count == c.layerCount else {
      throw ModelWeightsError(tensor: "the model", found: "\(layers.count) layers", expected: "\(c.layerCount)")
    }
    for (index, layer) in layers.enumerated() {
      let prefix = "layer \(index) "
      func shape(_ matrix: TernaryMatrix) -> [Int] { matrix.parts.map(\.rows) + [matrix.columns] }
      try check(prefix + "attention norm", norm: layer.attentionNorm, c.hiddenSize)
      try check(prefix + "q, k, v", shape(layer.queryKeyValue), [c.queryWidth, c.keyValueWidth, c.keyValueWidth, c.hiddenSize])
      try check(prefix + "attention sub-norm", subNorm: layer.attentionSubNorm, c.queryWidth)
      try check(prefix + "attention output", shape(layer.attentionOutput), [c.hiddenSize, c.queryWidth])
      try check(prefix + "feed-forward norm", norm: layer.feedForwardNorm, c.hiddenSize)
      try check(prefix + "gate, up", shape(layer.gateUp), [c.feedForwardSize, c.feedForwardSize, c.hiddenSize])
      try check(prefix + "feed-forward sub-norm", subNorm: layer.feedForwardSubNorm, c.feedForwardSize)
      try check(prefix + "down", shape(layer.down), [c.hiddenSize, c.feedForwardSize])
    }
    self.configuration = configuration
    self.embedding = embedding
    self.layers = layers
    self.finalNorm = finalNorm
    self.head = head ?? embedding
  }

  /// Bytes of ternary tiles.
  package var tileByteCount: Int { layers.reduce(0) { $0 + $1.matrices.reduce(0) { $0 + $1.tiles.count } } }

  /// Puts other memory that holds the same tiles in the place of a layer's.
  ///
  /// - Parameter tiles: called for each of the layer's matrices in the order of a forward pass.
  package mutating func replaceTiles(ofLayer index: Int, _ tiles: (TernaryMatrix) -> SharedBytes) {
    for path in LayerWeights.matrixPaths {
      let matrix = layers[index][keyPath: path]
      layers[index][keyPath: path].replaceTiles(with: tiles(matrix))
    }
  }
}

/// A weight that is not what the model's configuration says.
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

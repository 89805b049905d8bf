package import BitNetInference
package import BitNetTernary

extension ModelWeights {
  /// Random weights of a given shape, for checks and measurements of engines. The same seed gives the same weights. A
  /// model as large as BitNet b1.58 2B-4T takes a few seconds.
  ///
  /// - Throws: `ConfigurationError` when the configuration is out of range.
  package init(random configuration: ModelConfiguration, seed: UInt64) throws {
    try configuration.validate()
    let c = configuration
    var generator = SplitMix64(seed: seed)
    func norm(_ count: Int) -> [Float] { (0..<count).map { _ in Float.random(in: 0.5...1.5, using: &generator) } }
    func matrix(_ role: MatrixRole) throws -> TernaryMatrix {
      let (rows, columns) = c.shape(of: role)
      let scales = rows.map { _ in Double.random(in: 0.01...0.1, using: &generator) }
      return try TernaryMatrix(random: rows, columns: columns, scales: scales, using: &generator)
    }
    func table(_ name: String) throws -> EmbeddingTable {
      try EmbeddingTable(random: name, rows: c.vocabularySize, columns: c.hiddenSize, using: &generator)
    }
    // The order of the draws determines the weights of a seed: each matrix after the norm of its input, then the other
    // norms.
    let layers = try (0..<c.layerCount).map { _ in
      var norms: [NormRole: [Float]] = [:]
      let matrices = try MatrixRole.allCases.map { role in
        if let width = c.width(of: role.inputNorm) { norms[role.inputNorm] = norm(width) }
        return try matrix(role)
      }
      return LayerWeights(of: c, matrix: { matrices[$0.rawValue] }, norm: { norms[$0] ?? norm($1) })
    }
    try self.init(
      configuration: c, embedding: table("the embedding"), layers: layers, finalNorm: norm(c.hiddenSize),
      head: c.tiedEmbedding ? nil : table("the LM head"))
  }
}

extension ModelConfiguration {
  /// The shape of BitNet b1.58 2B-4T.
  package static let bitNet2B4T = ModelConfiguration(
    architecture: "BitNetForCausalLM", vocabularySize: 128256, hiddenSize: 2560, feedForwardSize: 6912, layerCount: 30,
    headCount: 20,
    keyValueHeadCount: 5, headSize: 128, contextLength: 4096, normEpsilon: 1e-5, ropeTheta: 500000,
    activation: .squaredReLU,
    optionalNorms: .subNorms, tiedEmbedding: true)

  /// A small random shape: widths that are awkward for tiles and vectors, groups of all sizes, both activations.
  package static func random(using generator: inout some RandomNumberGenerator) -> ModelConfiguration {
    let keyValueHeads = Int.random(in: 1...3, using: &generator)
    let subNorms = Bool.random(using: &generator)
    return ModelConfiguration(
      architecture: "random", vocabularySize: Int.random(in: 3...300, using: &generator),
      hiddenSize: Int.random(in: 1...330, using: &generator),
      feedForwardSize: Int.random(in: 1...400, using: &generator),
      layerCount: Int.random(in: 1...2, using: &generator),
      headCount: keyValueHeads * Int.random(in: 1...10, using: &generator), keyValueHeadCount: keyValueHeads,
      headSize: 2 * Int.random(in: 1...52, using: &generator), contextLength: 400, normEpsilon: 1e-5, ropeTheta: 10000,
      ropeScaling: Bool.random(using: &generator)
        ? .init(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContextLength: 64) : nil,
      activation: subNorms ? .squaredReLU : .silu, optionalNorms: subNorms ? .subNorms : [],
      tiedEmbedding: Bool.random(using: &generator))
  }

  /// A small random shape with random features besides those of BitNet's language models.
  package static func randomWithFeatures(using generator: inout some RandomNumberGenerator) -> ModelConfiguration {
    var model = ModelConfiguration.random(using: &generator)
    for norm in NormRole.allCases where norm.isOptional && Bool.random(using: &generator) {
      model.optionalNorms.insert(norm)
    }
    if Bool.random(using: &generator) { model.activation = .geluTanh }
    if Bool.random(using: &generator) { model.projectionNormEpsilon = 1e-4 }
    if Bool.random(using: &generator) { model.attentionScale = 0.2 }
    if Bool.random(using: &generator) { model.embeddingScale = 3.7 }
    if Bool.random(using: &generator) { model.residualScale = 0.6 }
    if Bool.random(using: &generator) { model.outputScale = 1.9 }
    if model.ropeScaling == nil, Bool.random(using: &generator) {
      model.yarnScaling = .init(factor: 3, originalContextLength: 70)
    }
    let isBidirectional = Bool.random(using: &generator)
    model.attention = (0..<model.layerCount).map { _ in
      Attention(
        window: Bool.random(using: &generator) ? Int.random(in: 1...150, using: &generator) : nil,
        isBidirectional: isBidirectional && Bool.random(using: &generator),
        ropeTheta: Bool.random(using: &generator) ? 700 : nil)
    }
    return model
  }
}

extension TernaryMatrix {
  /// A matrix of random codes, half of them 0.
  ///
  /// - Parameters:
  ///   - rows: the rows of each stacked part.
  ///   - scales: one scale for each part.
  package init(random rows: [Int], columns: Int, scales: [Double], using generator: inout SplitMix64)
    throws(TernaryError)
  {
    let buffer = AlignedBuffer(count: TernaryMatrix.byteCount(rows: rows, columns: columns))
    let tilesPerRow = Tile.padded(columns, to: Tile.columns) / Tile.columns
    var words = buffer.bytes.bindMemory(to: UInt32.self)
    for count in rows {
      let partWords = Tile.byteCount(rows: count, columns: columns) / MemoryLayout<UInt32>.stride
      Self.fill(
        UnsafeMutableBufferPointer(rebasing: words[..<partWords]), rows: count, columns: columns, tilesPerRow,
        &generator)
      words = UnsafeMutableBufferPointer(rebasing: words[partWords...])
    }
    try self.init(rows: rows, columns: columns, scales: scales, tiles: buffer.shared)
  }

  /// Fills the tiles of one part, a word at a time. Codes beyond its rows and columns are zeros.
  private static func fill(
    _ words: UnsafeMutableBufferPointer<UInt32>, rows: Int, columns: Int, _ tilesPerRow: Int,
    _ generator: inout SplitMix64
  ) {
    for index in words.indices {
      let fields = UInt32(truncatingIfNeeded: generator.next())
      // A code takes two bits. 0 is not a code; it becomes 2, which means the weight 0.
      words[index] = (fields | (~(fields | fields >> 1) & 0x5555_5555) << 1).littleEndian
    }
    // Only the last tile of a row of tiles, and the last row of tiles, contain padding.
    for tile in 0..<words.count / Tile.words {
      let (row, column) = (tile / tilesPerRow * Tile.rows, tile % tilesPerRow * Tile.columns)
      guard row + Tile.rows > rows || column + Tile.columns > columns else { continue }
      for place in 0..<Tile.words {
        let here = row + place / 16 * 8 + place % 8, start = column + place % 16 / 8 * 16
        let index = tile * Tile.words + place
        for element in 0..<16 where here >= rows || start + element >= columns {
          let bit = UInt32(8 * (element % 4) + 2 * (element / 4))
          words[index] = (UInt32(littleEndian: words[index]) & ~(3 << bit) | 2 << bit).littleEndian
        }
      }
    }
  }
}

extension EmbeddingTable {
  /// A table of random numbers from -1 to 1.
  fileprivate init(random name: String, rows: Int, columns: Int, using generator: inout SplitMix64)
    throws(ModelWeightsError)
  {
    let buffer = AlignedBuffer(count: 2 * rows * columns)
    let values = buffer.bytes.bindMemory(to: UInt16.self)
    for start in stride(from: 0, to: values.count, by: 4) {
      var word = generator.next()
      for index in start..<min(start + 4, values.count) {
        values[index] = (Float(Int16(truncatingIfNeeded: word)) * 0x1p-15).bfloat16Bits.littleEndian
        word >>= 16
      }
    }
    try self.init(name: name, rows: rows, columns: columns, bytes: buffer.shared)
  }
}

/// A small, fast generator. The same seed gives the same numbers on every platform.
package struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

import Inference
import Ternary

extension ModelWeights {
  /// Random weights of a given shape, the same for the same seed.
  public static func random(_ configuration: ModelConfiguration, seed: UInt64) throws -> ModelWeights {
    var generator = SeededGenerator(seed: seed)
    func norm(_ count: Int, around centre: Float) -> [Float] {
      (0..<count).map { _ in centre * Float.random(in: 0.5...1.5, using: &generator) }
    }
    func table(_ name: String) throws -> EmbeddingTable {
      let count = configuration.vocabularySize * configuration.hiddenSize
      let buffer = AlignedBuffer(count: 2 * count)
      let values = buffer.bytes.bindMemory(to: UInt16.self)
      for index in 0..<count { values[index] = Float.random(in: -1...1, using: &generator).bfloat16Bits }
      return try EmbeddingTable(
        name: name, rows: configuration.vocabularySize, columns: configuration.hiddenSize, bytes: buffer.shared)
    }
    func matrix(_ rows: [Int], _ columns: Int) throws -> TernaryMatrix {
      let buffer = AlignedBuffer(count: TernaryMatrix.byteCount(rows: rows, columns: columns))
      Tile.fillWithZeros(buffer.bytes)
      var firstRow = 0
      for count in rows {
        let codes = (0..<count * columns).map { _ in Int8.random(in: -1...1, using: &generator) }
        let packer = TilePacker(columns: columns, tiles: buffer.bytes, firstRow: firstRow)
        try codes.withUnsafeBufferPointer { try packer.pack(codes: $0, rows: 0..<count) }
        firstRow += Tile.padded(count, to: Tile.rows)
      }
      let scales = rows.map { _ in Double.random(in: 0.01...0.1, using: &generator) }
      return try TernaryMatrix(rows: rows, columns: columns, scales: scales, tiles: buffer.shared)
    }
    let c = configuration
    let layers = try (0..<c.layerCount).map { _ in
      LayerWeights(
        attentionNorm: norm(c.hiddenSize, around: 1),
        queryKeyValue: try matrix([c.queryWidth, c.keyValueWidth, c.keyValueWidth], c.hiddenSize),
        attentionSubNorm: c.hasSubNorms ? norm(c.queryWidth, around: 1) : nil,
        attentionOutput: try matrix([c.hiddenSize], c.queryWidth), feedForwardNorm: norm(c.hiddenSize, around: 1),
        gateUp: try matrix([c.feedForwardSize, c.feedForwardSize], c.hiddenSize),
        feedForwardSubNorm: c.hasSubNorms ? norm(c.feedForwardSize, around: 1) : nil,
        down: try matrix([c.hiddenSize], c.feedForwardSize))
    }
    return try ModelWeights(
      configuration: c, embedding: table("embedding"), layers: layers, finalNorm: norm(c.hiddenSize, around: 1),
      head: c.tiedEmbedding ? nil : table("head"))
  }
}

extension ModelConfiguration {
  /// A small random shape: widths that are awkward for tiles and vectors, groups of all sizes, both activations.
  public static func random(using generator: inout SeededGenerator) -> ModelConfiguration {
    let keyValueHeads = Int.random(in: 1...3, using: &generator)
    let subNorms = Bool.random(using: &generator)
    return ModelConfiguration(
      architecture: "random", vocabularySize: Int.random(in: 3...300, using: &generator),
      hiddenSize: Int.random(in: 1...330, using: &generator), feedForwardSize: Int.random(in: 1...400, using: &generator),
      layerCount: Int.random(in: 1...2, using: &generator),
      headCount: keyValueHeads * Int.random(in: 1...10, using: &generator), keyValueHeadCount: keyValueHeads,
      headSize: 2 * Int.random(in: 1...52, using: &generator), contextLength: 400, normEpsilon: 1e-5, ropeTheta: 10000,
      ropeScaling: Bool.random(using: &generator)
        ? .init(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContextLength: 64) : nil,
      activation: subNorms ? .squaredReLU : .silu, hasSubNorms: subNorms, tiedEmbedding: Bool.random(using: &generator))
  }
}

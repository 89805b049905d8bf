import BitNetCUDADriver
package import CBitNetCUDAKernels
import BitNetInference
package import BitNetTernary

/// A model's weights in device memory, in one allocation: tiles and tables as they are in the file, norms in Float.
///
/// One allocation, because the driver rounds each up to 2 MiB.
final class DeviceWeights {
  struct Layer {
    /// By the roles of CUDAKernels.h.
    var matrices = [Matrix](repeating: Matrix(), count: roleCount)
    fileprivate var norms: [NormRole: UInt64] = [:]

    subscript(role: MatrixRole) -> Matrix {
      get { matrices[role.onDevice] }
      set { matrices[role.onDevice] = newValue }
    }

    /// The address of a norm's weights, 0 where there is none.
    subscript(role: NormRole) -> UInt64 { norms[role] ?? 0 }
  }

  let configuration: ModelConfiguration
  private(set) var layers: [Layer] = []
  private(set) var embedding: UInt64 = 0
  private(set) var head: UInt64 = 0
  private(set) var finalNorm: UInt64 = 0
  /// `[layers]` of DecodeLayer.
  let decodeLayers: UInt64
  /// Bytes from a layer's tiles to those of the next, if they are the same for all layers and matrices.
  private(set) var layerStride: Int?
  private let arena: CUDABuffer
  private var used = 0

  var byteCount: Int { arena.byteCount }

  init(_ weights: ModelWeights, _ context: CUDAContext) throws(CUDAError) {
    let c = weights.configuration
    configuration = c
    var total =
      Self.aligned(weights.embedding.bytes.count) + (c.tiedEmbedding ? 0 : Self.aligned(weights.head.bytes.count))
    total += Self.aligned(4 * c.hiddenSize) + Self.aligned(c.layerCount * MemoryLayout<DecodeLayer>.stride)
    for layer in weights.layers {
      for matrix in layer.matrices { total += Self.aligned(matrix.tiles.count) }
      for (_, width) in c.norms { total += Self.aligned(4 * width) }
    }
    arena = try CUDABuffer(context, byteCount: total)
    decodeLayers = arena.address  // the table comes first, written last
    used = Self.aligned(c.layerCount * MemoryLayout<DecodeLayer>.stride)

    embedding = try upload(weights.embedding.bytes)
    head = c.tiedEmbedding ? embedding : try upload(weights.head.bytes)
    finalNorm = try upload(weights.finalNorm)
    for layer in weights.layers {
      var onDevice = Layer()
      for role in MatrixRole.allCases {
        onDevice[role] = Matrix(layer[role], tiles: try upload(layer[role].tiles))
      }
      for (role, _) in c.norms {
        onDevice.norms[role] = try layer[role].map { (norm) throws(CUDAError) in try upload(norm) }
      }
      layers.append(onDevice)
    }
    layerStride = Self.stride(layers)
    let table = layers.map(\.decodeLayer)
    try table.withUnsafeBufferPointer { (table) throws(CUDAError) in
      try arena.copy(from: UnsafeRawBufferPointer(table), at: 0)
    }
  }

  private static func stride(_ layers: [Layer]) -> Int? {
    guard layers.count > 1 else { return 0 }
    let stride = layers[1].matrices[0].tiles - layers[0].matrices[0].tiles
    let isSame = layers.indices.allSatisfy { index in
      zip(layers[index].matrices, layers[0].matrices).allSatisfy {
        $0.tiles == $1.tiles + UInt64(index) * stride && $0.tilesPerRow == $1.tilesPerRow && $0.tileRows == $1.tileRows
      }
    }
    return isSame ? Int(stride) : nil
  }

  private static func aligned(_ count: Int) -> Int { (count + 255) / 256 * 256 }

  private func upload(_ bytes: SharedBytes) throws(CUDAError) -> UInt64 {
    try bytes.withUnsafeBytes { (bytes) throws(CUDAError) in try place(bytes) }
  }

  private func upload(_ values: [Float]) throws(CUDAError) -> UInt64 {
    try values.withUnsafeBufferPointer { (values) throws(CUDAError) in try place(UnsafeRawBufferPointer(values)) }
  }

  private func place(_ bytes: UnsafeRawBufferPointer) throws(CUDAError) -> UInt64 {
    let start = used
    try arena.copy(from: bytes, at: start)
    used += Self.aligned(bytes.count)
    return arena.address + UInt64(start)
  }
}

extension Matrix {
  /// A matrix whose tiles are at an address of device memory. The stacked parts follow one another in the output.
  package init(_ matrix: TernaryMatrix, tiles: UInt64) {
    self.init()
    self.tiles = tiles
    tilesPerRow = Int32(matrix.tilesPerRow)
    tileRows = Int32(matrix.paddedRows / Tile.rows)
    columns = Int32(matrix.columns)
    parts = Int32(matrix.parts.count)
    var output = 0
    withUnsafeMutableBytes(of: &part) { bytes in
      let places = bytes.bindMemory(to: Part.self)
      for (index, part) in matrix.parts.enumerated() {
        places[index] = Part(
          firstRow: Int32(part.firstRow), rows: Int32(part.rows), output: Int32(output), scale: Float(part.scale))
        output += part.rows
      }
    }
  }

  /// One of the stacked parts as a matrix of its own, whose rows have the same places in the output.
  package func only(part index: Int) -> Matrix {
    let parts = withUnsafeBytes(of: part) { Array($0.bindMemory(to: Part.self)) }
    let first = parts[index].firstRow / Int32(Tile.rows)
    let end = index + 1 < Int(self.parts) ? parts[index + 1].firstRow / Int32(Tile.rows) : tileRows
    var matrix = self
    matrix.tiles += UInt64(Int(first) * Int(tilesPerRow) * Tile.bytes)
    matrix.tileRows = end - first
    matrix.parts = 1
    matrix.part.0 = parts[index]
    matrix.part.0.firstRow = 0
    return matrix
  }

  /// Bytes of a row of codes.
  package var paddedColumns: Int { Int(tilesPerRow) * Tile.columns }
}

extension MatrixRole {
  /// The role's number in CUDAKernels.h.
  var onDevice: Int {
    switch self {
    case .queryKeyValue: roleQueryKeyValue
    case .attentionOutput: roleAttentionOutput
    case .gateUp: roleGateUp
    case .down: roleDown
    }
  }
}

extension DeviceWeights {
  var outputHead: Head {
    Head(
      table: head, norm: finalNorm, epsilon: Float(configuration.normEpsilon), hidden: Int32(configuration.hiddenSize),
      vocabulary: Int32(configuration.vocabularySize), unused: 0)
  }
}

extension DeviceWeights.Layer {
  fileprivate var decodeLayer: DecodeLayer {
    var layer = DecodeLayer()
    fill(&layer.matrices, with: matrices)
    fill(&layer.norms, with: MatrixRole.allCases.sorted { $0.onDevice < $1.onDevice }.map { self[$0.inputNorm] })
    return layer
  }
}

/// Fills an array of a C struct, which Swift sees as a tuple, from its first element on.
func fill<Tuple: BitwiseCopyable, Element: BitwiseCopyable>(_ tuple: inout Tuple, with values: [Element]) {
  withUnsafeMutableBytes(of: &tuple) { bytes in
    values.withUnsafeBytes { values in
      precondition(values.count <= bytes.count, "an array holds no more than its elements")
      bytes.copyMemory(from: values)
    }
  }
}

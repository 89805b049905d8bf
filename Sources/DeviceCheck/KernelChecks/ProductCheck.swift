import BitNetCUDADriver
package import BitNetCUDAEngine
import CBitNetCUDAKernels
import BitNetInference
package import BitNetRandomModels
import BitNetTernary

/// One product of a random matrix with random activations.
package struct ProductCheck: KernelCheck {
  private let path: Products.Path
  private let outcome: Products.Outcome
  private let matrix: TernaryMatrix
  package var tokens: Int
  /// The number of warps that share a tile row, and the number of blocks in the grid.
  package var split: Int
  package var blocks: Int
  /// The number of pipeline stages on the paths for many tokens; at most as many as the device has room for.
  package var stages: Int
  private let x: [Float]
  private let xStride: Int
  private let norm: [Float]?
  private let epsilon: Float = 1e-5
  private let isSquaredReLU: Bool
  /// The quantised activations, for kernels without quantiser: rows of `codeStride` bytes, the last row cut to whole
  /// tiles.
  private let codeStride: Int
  private let codes: [ScalarArithmetic.Codes]
  /// The initial contents of the output, and the distance between two tokens in elements.
  private let before: [Float]
  private let stride: Int

  /// - Parameters:
  ///   - shape: the rows of each part, and the columns; random when nil.
  ///   - count: the number of tokens; random when nil.
  package init(
    _ path: Products.Path, _ outcome: Products.Outcome, _ generator: inout SplitMix64,
    shape: (rows: [Int], columns: Int)? = nil,
    tokens count: Int? = nil
  ) throws {
    (self.path, self.outcome) = (path, outcome)
    // Sometimes enough columns to use every stage several times.
    let longest = path.gemm != nil && generator.chance(30) ? 4000 : 600
    // Two widths that the quantiser keeps entirely in registers, and one that it does not.
    func randomColumns() -> Int {
      path == .few && generator.chance(30) ? [2560, 6912, 7000][generator.int(0...2)] : generator.int(1...longest)
    }
    let columns: Int
    let rows: [Int]
    if let shape {
      (rows, columns) = shape
    } else if outcome == .activate {
      rows = Array(repeating: generator.int(1...150), count: 2)
      columns = randomColumns()
    } else {
      rows = (0..<generator.int(1...3)).map { _ in generator.int(1...90) }
      columns = randomColumns()
    }
    let matrix = try generator.matrix(rows: rows, columns: columns)
    let tokens =
      switch path {
      case .gemv: 1
      case .few: count ?? generator.int(1...(generator.chance(50) ? 8 : 20))
      default: count ?? generator.int(1...150)
      }
    (self.matrix, self.tokens) = (matrix, tokens)
    split = (outcome == .activate ? [1, 2, 4] : [1, 2, 4, 8]).randomElement(using: &generator)!
    let needed = (matrix.paddedRows / Tile.rows * split + 7) / 8
    blocks = generator.chance(20) ? 1 : generator.int(1...needed + 2)
    stages = generator.int((path.gemm?.fewestStages ?? 1)...GemmTile.mostStages)
    isSquaredReLU = generator.chance(50)
    let norm = generator.chance(70) ? generator.norm(columns) : nil
    let xStride = columns + generator.int(0...3)
    let x = (0..<tokens).flatMap { _ in
      generator.awkwardFloats(columns) + Array(repeating: .nan, count: xStride - columns)
    }
    (self.norm, self.xStride, self.x) = (norm, xStride, x)
    codeStride = matrix.paddedColumns + 16 * generator.int(0...2)
    if outcome == .exact {
      let padding = matrix.paddedColumns - columns
      codes = (0..<tokens).map { _ in
        ScalarArithmetic.Codes(codes: generator.codes(columns) + Array(repeating: 0, count: padding), scale: 1)
      }
    } else {
      codes = (0..<tokens).map { [epsilon] token in
        let row = x[token * xStride..<token * xStride + columns]
        return ScalarArithmetic.quantized(
          ScalarArithmetic.normalized(row, norm, epsilon: epsilon), padded: matrix.paddedColumns)
      }
    }
    let width =
      switch outcome {
      case .exact: matrix.paddedRows
      case .activate: rows[0]
      case .project, .add: rows.reduce(0, +)
      }
    let stride = width + generator.int(0...5)
    self.stride = stride
    before = (0..<(tokens - 1) * stride + width).map { _ in generator.float() }
  }

  package var shape: String {
    "rows \(matrix.parts.map { "\($0.rows)" }.joined(separator: "+")) × \(matrix.columns), \(tokens) tokens, "
      + (path.gemm == nil
        ? "\(blocks) blocks, \(split) warps a row, \(norm == nil ? "without" : "with") norm" : "\(stages) stages")
  }

  /// The sums over the columns, `[rows][tokens]`.
  private func sums() -> [[Int32]] {
    (0..<matrix.paddedRows).map { row in
      if tokens < 3 { return codes.prefix(tokens).map { matrix.dot(row: row, activations: $0.codes) } }
      let weights = (0..<matrix.columns).map { Int32(matrix.code(row: row, column: $0)) }
      return codes.prefix(tokens).map { token in
        token.codes.withUnsafeBufferPointer { codes in
          var sum: Int32 = 0
          for column in weights.indices { sum &+= weights[column] &* Int32(codes[column]) }
          return sum
        }
      }
    }
  }

  /// The output of the kernels that write floats. Elements without a product keep their initial values.
  private func expected() -> [Float] {
    var out = before
    let sums = sums()
    for token in 0..<tokens {
      let factors = matrix.parts.map { Float($0.scale) / codes[token].scale }
      var place = token * stride
      if outcome == .activate {
        for row in 0..<matrix.parts[0].rows {
          let gate = Float(sums[row][token]) * factors[0],
            up = Float(sums[matrix.parts[1].firstRow + row][token]) * factors[1]
          out[place + row] = gated(isSquaredReLU ? .squaredReLU : .silu, gate: gate, up: up)
        }
        continue
      }
      for (part, factor) in zip(matrix.parts, factors) {
        for row in 0..<part.rows {
          let y = Float(sums[part.firstRow + row][token]) * factor
          out[place] = outcome == .add ? out[place] + y : y
          place += 1
        }
      }
    }
    return out
  }

  private func expectedSums() -> [Int32] {
    var out = before.map { Int32(bitPattern: $0.bitPattern) }
    for (row, sums) in sums().enumerated() {
      for token in 0..<tokens { out[token * stride + row] = sums[token] }
    }
    return out
  }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let m = Matrix(matrix, tiles: try matrix.tiles.withUnsafeBytes { try device.buffer(bytes: $0).address })
    let out = try device.buffer(before)
    let target = Target(out: out.address, stride: Int32(stride), isSquaredReLU: isSquaredReLU ? 1 : 0)
    let kernel = Products.kernel(path, outcome)
    let rows = codes.map { $0.codes + Array(repeating: 0x55, count: codeStride - $0.codes.count) }
    let bytes = Array(rows.joined().dropLast(codeStride - matrix.paddedColumns))
    let groups = CUDAGrid(blocks, (tokens + 7) / 8)
    switch (path, outcome) {
    case (.gemv, .exact):
      try device.run(
        kernel, CUDAGrid(blocks), sharedBytes: Products.gemvBytes(m),
        GemvExactParameters(
          matrix: m, target: target, codes: device.address(bytes), sum: codes[0].sum, split: Int32(split)))
    case (.gemv, _):
      try device.run(
        kernel, CUDAGrid(blocks), sharedBytes: Products.gemvBytes(m),
        GemvParameters(
          matrix: m, target: target, x: device.address(Array(x[..<matrix.columns])), norm: device.address(norm),
          epsilon: epsilon, split: Int32(split)))
    case (.few, .exact):
      try device.run(
        kernel, groups, sharedBytes: Products.fewBytes(m),
        FewExactParameters(
          matrix: m, target: target, codes: device.address(bytes), sums: device.address(codes.map(\.sum)),
          codeStride: Int32(codeStride), tokens: Int32(tokens), split: Int32(split)))
    case (.few, _):
      try device.run(
        kernel, groups, sharedBytes: Products.fewBytes(m),
        FewParameters(
          matrix: m, target: target,
          x: device.address(Array(x[..<((tokens - 1) * xStride + matrix.columns)])), norm: device.address(norm),
          epsilon: epsilon, xStride: Int32(xStride), tokens: Int32(tokens), split: Int32(split)))
    default:
      let tile = path.gemm!
      let stages = min(stages, tile.mostStages(sharedBytes: device.library.context.device.sharedMemoryPerBlock))
      // The engine does not use these blocks on a device without enough shared memory.
      guard stages >= tile.fewestStages else { return KernelComparison() }
      // The grid has a block for each piece of work; an additional block has none.
      let grid = tile.grid(tokens: tokens, m), more = blocks == 1 ? 1 : 0
      try device.run(
        kernel, CUDAGrid(grid.x + more, grid.y), sharedBytes: tile.sharedBytes(stages: stages),
        GemmParameters(
          matrix: m, target: target, codes: device.address(bytes), scales: device.address(codes.map(\.scale)),
          sums: device.address(codes.map(\.sum)), codeStride: Int32(codeStride), tokens: Int32(tokens),
          stages: Int32(stages)))
    }
    var comparison = KernelComparison()
    if outcome == .exact {
      comparison.compare(try out.values(), expectedSums(), width: stride)
    } else {
      comparison.compare(try out.values(), expected(), width: stride)
    }
    return comparison
  }
}

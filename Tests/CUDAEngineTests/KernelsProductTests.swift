import CUDADriver
import CUDAEngine
import CUDAKernels
import TestSupport
import Ternary
import Testing

/// One product of a random matrix with random activations.
struct ProductCase {
  let path: Products.Path
  let outcome: Products.Outcome
  let matrix: TernaryMatrix
  var tokens: Int
  /// Warps that share a tile row, and blocks of the grid.
  var split: Int
  var blocks: Int
  let x: [Float]
  let xStride: Int
  let norm: [Float]?
  let epsilon: Float = 1e-5
  let isSquaredReLU: Bool
  /// What the products start from, for kernels without quantiser: rows of `codeStride` bytes, the last one cut to whole tiles.
  let codeStride: Int
  let codes: [Canonical.Codes]
  /// What the output holds before, and elements from one token to the next.
  let before: [Float]
  let stride: Int

  /// - Parameter shape: rows of each part and columns; random ones when nil.
  init(
    _ path: Products.Path, _ outcome: Products.Outcome, _ generator: inout SeededGenerator, shape: (rows: [Int], columns: Int)? = nil
  ) throws {
    (self.path, self.outcome) = (path, outcome)
    let columns: Int
    let rows: [Int]
    if let shape {
      (rows, columns) = shape
    } else if outcome == .activate {
      rows = Array(repeating: generator.int(1...150), count: 2)
      columns = generator.int(1...600)
    } else {
      rows = (0..<generator.int(1...3)).map { _ in generator.int(1...90) }
      columns = generator.int(1...600)
    }
    matrix = try generator.matrix(rows: rows, columns: columns)
    tokens =
      switch path {
      case .gemv: 1
      case .few: generator.int(1...(generator.chance(50) ? 8 : 20))
      case .gemm: generator.int(1...150)
      }
    split = (outcome == .activate ? [1, 2, 4] : [1, 2, 4, 8]).randomElement(using: &generator)!
    let needed = (matrix.paddedRows / Tile.rows * split + 7) / 8
    blocks = generator.chance(20) ? 1 : generator.int(1...needed + 2)
    isSquaredReLU = generator.chance(50)
    norm = generator.chance(70) ? generator.norm(columns) : nil
    xStride = columns + generator.int(0...3)
    x = (0..<tokens).flatMap { [xStride] _ in generator.awkwardFloats(columns) + Array(repeating: .nan, count: xStride - columns) }
    codeStride = matrix.paddedColumns + 16 * generator.int(0...2)
    if outcome == .exact {
      let padding = matrix.paddedColumns - columns
      codes = (0..<tokens).map { _ in
        Canonical.Codes(codes: generator.codes(columns) + Array(repeating: 0, count: padding), scale: 1)
      }
    } else {
      codes = (0..<tokens).map { [x, xStride, norm, epsilon, matrix] token in
        let row = x[token * xStride..<token * xStride + columns]
        return Canonical.quantized(Canonical.normalized(row, norm, epsilon: epsilon), padded: matrix.paddedColumns)
      }
    }
    let width =
      switch outcome {
      case .exact: matrix.paddedRows
      case .activate: rows[0]
      case .project, .add: rows.reduce(0, +)
      }
    stride = width + generator.int(0...5)
    before = (0..<(tokens - 1) * stride + width).map { _ in generator.float() }
  }

  var description: String {
    "rows \(matrix.parts.map(\.rows)) × \(matrix.columns), \(tokens) tokens, \(blocks) blocks, split \(split), norm \(norm != nil)"
  }

  /// Sums over the columns, for all rows and tokens.
  private func products(_ body: (_ token: Int, _ dot: (_ row: Int) -> Int32) -> Void) {
    for token in 0..<tokens {
      codes[token].codes.withUnsafeBufferPointer { codes in body(token) { matrix.dot(row: $0, activations: codes.baseAddress!) } }
    }
  }

  /// The output of the kernels that end in floats: what no product goes to stays.
  private func expected() -> [Float] {
    var out = before
    products { token, dot in
      let factors = matrix.parts.map { Float($0.scale) / codes[token].scale }
      var place = token * stride
      if outcome == .activate {
        for row in 0..<matrix.parts[0].rows {
          let gate = Float(dot(row)) * factors[0], up = Float(dot(matrix.parts[1].firstRow + row)) * factors[1]
          out[place + row] = Canonical.gated(isSquaredReLU: isSquaredReLU, gate: gate, up: up)
        }
        return
      }
      for (part, factor) in zip(matrix.parts, factors) {
        for row in 0..<part.rows {
          let y = Float(dot(part.firstRow + row)) * factor
          out[place] = outcome == .add ? out[place] + y : y
          place += 1
        }
      }
    }
    return out
  }

  private func expectedSums() -> [Int32] {
    var out = before.map { Int32(bitPattern: $0.bitPattern) }
    products { token, dot in
      for row in 0..<matrix.paddedRows { out[token * stride + row] = dot(row) }
    }
    return out
  }

  /// Runs the kernel on a device; says what is wrong with the output.
  func mistake(on device: DeviceUnderTest) throws -> String? {
    let m = Matrix(matrix, tiles: try matrix.tiles.withUnsafeBytes { try device.buffer(bytes: $0).address })
    let out = try device.buffer(before)
    let target = Target(out: out.address, stride: Int32(stride), isSquaredReLU: isSquaredReLU ? 1 : 0)
    let kernel = Products.kernel(path, outcome)
    let rows = codes.map { $0.codes + Array(repeating: 0x55, count: codeStride - $0.codes.count) }
    let bytes = Array(rows.joined().dropLast(codeStride - matrix.paddedColumns))
    switch (path, outcome) {
    case (.gemv, .exact):
      try device.run(
        kernel, CUDAGrid(blocks), sharedBytes: Products.gemvBytes(m), .value(m), .count(split), .address(device.address(bytes)),
        .int(codes[0].sum), .value(target))
    case (.gemv, _):
      try device.run(
        kernel, CUDAGrid(blocks), sharedBytes: Products.gemvBytes(m), .value(m), .count(split),
        .address(device.address(Array(x[..<matrix.columns]))), .address(device.address(norm)), .float(epsilon), .value(target))
    case (.few, .exact):
      try device.run(
        kernel, CUDAGrid(blocks, (tokens + 7) / 8), sharedBytes: Products.fewBytes(m), .value(m), .count(split),
        .address(device.address(bytes)), .count(codeStride), .address(device.address(codes.map(\.sum))), .count(tokens), .value(target))
    case (.few, _):
      try device.run(
        kernel, CUDAGrid(blocks, (tokens + 7) / 8), sharedBytes: Products.fewBytes(m), .value(m), .count(split),
        .address(device.address(Array(x[..<((tokens - 1) * xStride + matrix.columns)]))), .count(xStride),
        .address(device.address(norm)), .float(epsilon), .count(tokens), .value(target))
    case (.gemm, _):
      // Its blocks are as many as there is work for; more have none.
      let more = blocks == 1 ? 1 : 0
      try device.run(
        kernel, CUDAGrid((matrix.paddedRows + 127) / 128 + more, (tokens + 63) / 64), sharedBytes: Int(gemmScratchBytes), .value(m),
        .address(device.address(bytes)), .count(codeStride), .address(device.address(codes.map(\.scale))),
        .address(device.address(codes.map(\.sum))), .count(tokens), .value(target))
    }
    let wrong = outcome == .exact ? difference(try out.values(), expectedSums()) : difference(try out.values(), expected())
    return wrong.map { "\(description): \($0)" }
  }
}

extension KernelTests {
  @Suite("Products of ternary matrices")
  struct ProductTests {
    @Test(arguments: [Products.Path.gemv, .few, .gemm], [Products.Outcome.project, .add, .activate, .exact])
    func randomShapes(path: Products.Path, outcome: Products.Outcome) {
      KernelTests.run(0..<24) { device, generator in try ProductCase(path, outcome, &generator).mistake(on: device) }
    }

    @Test("A hidden row as long as a large model's", arguments: [Products.Path.gemv, .few, .gemm], [Products.Outcome.add, .exact])
    func longRows(path: Products.Path, outcome: Products.Outcome) {
      KernelTests.run(100..<102) { device, generator in
        var product = try ProductCase(path, outcome, &generator, shape: ([40], 7000))
        product.tokens = min(product.tokens, 20)
        return try product.mistake(on: device)
      }
    }

    @Test("Every split of the smallest shapes", arguments: [Products.Path.gemv, .few], [1, 2, 4, 8])
    func smallShapes(path: Products.Path, split: Int) {
      KernelTests.run(200..<216) { device, generator in
        let rows = generator.int(1...33), columns = generator.int(1...140)
        let outcome: Products.Outcome = split < 8 && generator.chance(50) ? .activate : .exact
        let parts = outcome == .activate ? [rows, rows] : [rows]
        var product = try ProductCase(path, outcome, &generator, shape: (parts, columns))
        product.split = split
        product.blocks = generator.int(1...3)
        return try product.mistake(on: device)
      }
    }
  }
}

import BitNetCUDAEngine
import BitNetCUDADriver
import CBitNetCUDAKernels
import BitNetInference
package import BitNetRandomModels
import BitNetTernary

/// Norms and quantiser of random rows for each of a matrix's stacked parts.
package struct PartQuantizerCheck: KernelCheck {
  private let x: [Float]
  private let xStride: Int
  private let columns: Int
  private let rows: Int
  /// Rows that there is room for.
  private let capacity: Int
  private let norm: [Float]?
  private let partNorms: [[Float]?]
  private let codeStride: Int
  private let epsilon: Float = 1e-6
  private let partEpsilon: Float = 1e-4

  package init(_ generator: inout SplitMix64) {
    let columns = generator.chance(30) ? generator.int(1500...3500) : generator.int(1...900)
    self.init(&generator, columns: columns, rows: generator.int(1...4))
  }

  init(_ generator: inout SplitMix64, columns: Int, rows: Int) {
    (self.columns, self.rows) = (columns, rows)
    capacity = rows + generator.int(0...2)
    let stride = columns + generator.int(0...3)
    xStride = stride
    norm = generator.chance(60) ? generator.norm(columns) : nil
    partNorms = (0..<generator.int(1...3)).map { _ in generator.chance(80) ? generator.norm(columns) : nil }
    x = (0..<rows).flatMap { _ in generator.awkwardFloats(columns) + Array(repeating: .nan, count: stride - columns) }
    codeStride = Tile.padded(columns, to: Tile.columns) + 16 * generator.int(0...3)
  }

  package var shape: String {
    "\(rows) × \(columns), \(norm == nil ? "without" : "with") a common norm, "
      + "\(partNorms.count { $0 != nil }) of \(plural(partNorms.count, "part")) with norms"
  }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let count = partNorms.count * capacity
    let codes = try device.buffer([Int8](repeating: 0x55, count: count * codeStride))
    let (scales, sums) = (
      try device.buffer([Float](repeating: 7, count: count)), try device.buffer([Int32](repeating: 7, count: count))
    )
    var parameters = QuantizePartsParameters()
    parameters.x = try device.address(x.dropLast(xStride - columns))
    parameters.norm = try device.address(norm)
    let addresses = try partNorms.map { try device.address($0) } + [0, 0]
    parameters.partNorms = (addresses[0], addresses[1], addresses[2])
    (parameters.codes, parameters.scales, parameters.sums) = (codes.address, scales.address, sums.address)
    (parameters.epsilon, parameters.partEpsilon) = (epsilon, partEpsilon)
    (parameters.columns, parameters.xStride) = (Int32(columns), Int32(xStride))
    (parameters.codeStride, parameters.partRows) = (Int32(codeStride), Int32(capacity))
    try device.run(
      .quantizeParts, CUDAGrid(rows, partNorms.count), sharedBytes: Int(rowScratchBytes), parameters)

    var expected: (codes: [Int8], scales: [Float], sums: [Int32]) = ([], [], [])
    for partNorm in partNorms {
      for row in 0..<capacity {
        guard row < rows else {
          expected.codes += [Int8](repeating: 0x55, count: codeStride)
          expected.scales.append(7)
          expected.sums.append(7)
          continue
        }
        let common = ScalarArithmetic.normalized(x[row * xStride..<row * xStride + columns], norm, epsilon: epsilon)
        let own = ScalarArithmetic.normalized(common[...], partNorm, epsilon: partEpsilon)
        let quantized = ScalarArithmetic.quantized(own, padded: codeStride)
        expected.codes += quantized.codes
        expected.scales.append(quantized.scale)
        expected.sums.append(quantized.sum)
      }
    }
    var comparison = KernelComparison()
    comparison.compare(try codes.values(), expected.codes, "codes", width: codeStride)
    comparison.compare(try scales.values(), expected.scales, "scales")
    comparison.compare(try sums.values(), expected.sums, "sums")
    return comparison
  }
}

/// Norms of the heads of random queries and keys.
package struct HeadNormCheck: KernelCheck {
  private let heads: Heads
  private let qkv: [Float]
  private let norms: [[Float]?]
  private let epsilon: Float = 1e-6

  package init(_ generator: inout SplitMix64) {
    let heads = Heads(
      keyValueHeads: generator.int(1...4), group: generator.int(1...5), size: 2 * generator.int(1...150))
    self.init(&generator, heads, rows: generator.int(1...4))
  }

  init(_ generator: inout SplitMix64, _ heads: Heads, rows: Int) {
    self.heads = heads
    qkv = (0..<rows).flatMap { _ in generator.awkwardFloats(heads.width) }
    let size = Int(heads.size), first = generator.int(0...1)
    norms = (0..<2).map { $0 == first || generator.chance(70) ? generator.norm(size) : nil }
  }

  package var shape: String {
    let names = zip(["queries", "keys"], norms).compactMap { $1 == nil ? nil : $0 }
    return "\(qkv.count / heads.width) rows, \(heads.shape), norms of \(names.joined(separator: " and "))"
  }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let found = try device.buffer(qkv)
    let (rows, count) = (qkv.count / heads.width, Int(heads.queryHeads + heads.keyValueHeads))
    try device.run(
      .normalizeHeads, CUDAGrid(rows, (count + 7) / 8),
      NormalizeHeadsParameters(
        heads: heads, qkv: found.address, queryNorm: device.address(norms[0]), keyNorm: device.address(norms[1]),
        epsilon: epsilon))
    var expected = qkv
    let size = Int(heads.size)
    for row in 0..<rows {
      for head in 0..<count {
        let range = row * heads.width + head * size..<row * heads.width + (head + 1) * size
        let norm = norms[head < Int(heads.queryHeads) ? 0 : 1]
        expected.replaceSubrange(range, with: ScalarArithmetic.normalized(qkv[range], norm, epsilon: epsilon))
      }
    }
    var comparison = KernelComparison()
    comparison.compare(try found.values(), expected, width: heads.width)
    return comparison
  }
}

/// The outputs of blocks that are added to a residual stream.
package struct BranchCheck: KernelCheck {
  private let (hidden, rows): (Int, Int)
  private let x: [Float]
  private let branch: [Float]
  private let norm: [Float]?
  private let scale: Float
  private let epsilon: Float = 1e-5

  package init(_ generator: inout SplitMix64) {
    self.init(&generator, hidden: generator.int(1...1500), rows: generator.int(1...4))
  }

  init(_ generator: inout SplitMix64, hidden: Int, rows: Int) {
    (self.hidden, self.rows) = (hidden, rows)
    x = (0..<rows).flatMap { _ in generator.floats(hidden) }
    branch = (0..<rows).flatMap { _ in generator.awkwardFloats(hidden) }
    norm = generator.chance(70) ? generator.norm(hidden) : nil
    scale = generator.chance(50) ? 1 : generator.float(0.1...2)
  }

  package var shape: String { "\(rows) × \(hidden), \(norm == nil ? "without" : "with") norm, scale \(scale)" }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let found = try device.buffer(x)
    try device.run(
      .addBranch, CUDAGrid(rows), sharedBytes: Int(rowScratchBytes),
      AddBranchParameters(
        x: found.address, branch: device.address(branch), norm: device.address(norm), epsilon: epsilon, scale: scale,
        hidden: Int32(hidden)))
    let expected = (0..<rows).flatMap { row in
      let range = row * hidden..<(row + 1) * hidden
      let added = ScalarArithmetic.normalized(branch[range], norm, epsilon: epsilon)
      return zip(x[range], added).map { $0.addingProduct($1, scale) }
    }
    var comparison = KernelComparison()
    comparison.compare(try found.values(), expected, width: hidden)
    return comparison
  }
}

/// Gated activations of random products.
package struct GateCheck: KernelCheck {
  private let (width, outStride, rows): (Int, Int, Int)
  private let gateUp: [Float]
  private let activation: ModelConfiguration.Activation

  package init(_ generator: inout SplitMix64) {
    self.init(&generator, width: generator.int(1...1500), rows: generator.int(1...4))
  }

  init(_ generator: inout SplitMix64, width: Int, rows: Int) {
    (self.width, self.rows) = (width, rows)
    outStride = width + generator.int(0...3)
    gateUp = (0..<rows).flatMap { _ in generator.awkwardFloats(2 * width) }
    activation = [.geluTanh, .geluTanh, .silu, .squaredReLU].randomElement(using: &generator)!
  }

  package var shape: String { "\(rows) × \(width), \(activation.rawValue)" }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let found = try device.buffer([Float](repeating: 7, count: rows * outStride))
    try device.run(
      .gateRows, CUDAGrid(rows),
      GateParameters(
        gateUp: device.address(gateUp), out: found.address, width: Int32(width), outStride: Int32(outStride),
        activation: Int32(activation.onDevice)))
    var expected: [Float] = []
    for row in 0..<rows {
      let start = row * 2 * width
      let (gates, ups) = (gateUp[start..<start + width], gateUp[start + width..<start + 2 * width])
      for (gate, up) in zip(gates, ups) { expected.append(gated(activation, gate: gate, up: up)) }
      expected += [Float](repeating: 7, count: outStride - width)
    }
    var comparison = KernelComparison()
    comparison.compare(try found.values(), expected, width: outStride)
    return comparison
  }
}

/// Normalised and scaled rows of some outputs.
package struct OutputScaleCheck: KernelCheck {
  private let hidden: Int
  private let x: [Float]
  private let norm: [Float]
  /// The outputs' rows.
  private let rows: [Int]
  private let scale: Float
  private let epsilon: Float = 1e-5

  package init(_ generator: inout SplitMix64) {
    self.init(&generator, hidden: generator.int(1...1500), rowCount: generator.int(1...6))
  }

  init(_ generator: inout SplitMix64, hidden: Int, rowCount: Int) {
    self.hidden = hidden
    x = (0..<rowCount).flatMap { _ in generator.awkwardFloats(hidden) }
    norm = generator.norm(hidden)
    rows = Array((0..<rowCount).shuffled(using: &generator).prefix(generator.int(1...rowCount)))
    scale = generator.float(0.1...3)
  }

  package var shape: String { "rows \(rows) of \(x.count / hidden) × \(hidden), scale \(scale)" }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    var expected = [Float](repeating: 7, count: x.count)
    let found = try device.buffer(expected)
    try device.run(
      .scaleOutputs, CUDAGrid(rows.count), sharedBytes: Int(rowScratchBytes),
      ScaleOutputsParameters(
        x: device.address(x), rows: device.address(rows.map(Int32.init)), norm: device.address(norm),
        out: found.address, epsilon: epsilon, scale: scale, hidden: Int32(hidden)))
    for row in rows {
      let range = row * hidden..<(row + 1) * hidden
      let scaled = ScalarArithmetic.normalized(x[range], norm, epsilon: epsilon).map { $0 * scale }
      expected.replaceSubrange(range, with: scaled)
    }
    var comparison = KernelComparison()
    comparison.compare(try found.values(), expected, width: hidden)
    return comparison
  }
}

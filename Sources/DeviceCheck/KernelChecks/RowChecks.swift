import BitNetCUDAEngine
import BitNetCUDADriver
import CBitNetCUDAKernels
import BitNetInference
package import BitNetRandomModels
import BitNetTernary

/// Rows of a random embedding table.
package struct EmbeddingCheck: KernelCheck {
  private let vocabulary: Int
  private let hidden: Int
  private let table: [UInt16]
  private let tokens: [Int32]
  private let scale: Float

  package init(_ generator: inout SplitMix64) {
    self.init(&generator, vocabulary: generator.int(1...40), hidden: generator.int(1...600), rows: generator.int(1...7))
  }

  package init(_ generator: inout SplitMix64, vocabulary: Int, hidden: Int, rows: Int) {
    (self.vocabulary, self.hidden) = (vocabulary, hidden)
    table = (0..<vocabulary * hidden).map { _ in UInt16(truncatingIfNeeded: generator.next()) }
    tokens = (0..<rows).map { _ in Int32(generator.int(0...vocabulary - 1)) }
    scale = generator.chance(50) ? 1 : generator.float(0.1...40)
  }

  package var shape: String { "\(tokens.count) rows of a table of \(vocabulary) × \(hidden)" }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let x = try device.buffer([Float](repeating: 7, count: tokens.count * hidden))
    try device.run(
      .embedRows, CUDAGrid(tokens.count),
      EmbedParameters(
        tokens: device.address(tokens), table: device.address(table), x: x.address, hidden: Int32(hidden),
        scale: scale))
    let expected = tokens.flatMap { token in
      table[Int(token) * hidden..<(Int(token) + 1) * hidden].map { Float(bfloat16Bits: $0) * scale }
    }
    var comparison = KernelComparison()
    comparison.compare(try x.values(), expected, width: hidden)
    return comparison
  }
}

/// Norm and quantiser of random rows.
package struct QuantizerCheck: KernelCheck {
  private let x: [Float]
  private let xStride: Int
  private let columns: Int
  private let rows: Int
  private let norm: [Float]?
  private let codeStride: Int
  private let epsilon: Float = 1e-6

  package init(_ generator: inout SplitMix64) {
    let columns = generator.chance(30) ? generator.int(2500...7000) : generator.int(1...900)
    self.init(&generator, columns: columns, rows: generator.int(1...5))
  }

  package init(_ generator: inout SplitMix64, columns: Int, rows: Int) {
    (self.columns, self.rows) = (columns, rows)
    let stride = columns + generator.int(0...3)
    xStride = stride
    norm = generator.chance(50) ? generator.norm(columns) : nil
    x = (0..<rows).flatMap { _ in generator.awkwardFloats(columns) + Array(repeating: .nan, count: stride - columns) }
    codeStride = Tile.padded(columns, to: Tile.columns) + 16 * generator.int(0...3)
  }

  package var shape: String { "\(rows) × \(columns), \(norm == nil ? "without" : "with") norm" }

  package func comparison(on device: KernelCheckDevice) throws -> KernelComparison {
    let codes = try device.buffer([Int8](repeating: 0x55, count: rows * codeStride))
    let (scales, sums) = (
      try device.buffer([Float](repeating: 0, count: rows)), try device.buffer([Int32](repeating: 0, count: rows))
    )
    try device.run(
      .quantizeRows, CUDAGrid(rows), sharedBytes: Int(rowScratchBytes),
      QuantizeParameters(
        x: device.address(x.dropLast(xStride - columns)), norm: device.address(norm), codes: codes.address,
        scales: scales.address, sums: sums.address, epsilon: epsilon, columns: Int32(columns), xStride: Int32(xStride),
        codeStride: Int32(codeStride)))
    let expected = (0..<rows).map { row in
      let values = ScalarArithmetic.normalized(x[row * xStride..<row * xStride + columns], norm, epsilon: epsilon)
      return ScalarArithmetic.quantized(values, padded: codeStride)
    }
    var comparison = KernelComparison()
    comparison.compare(try codes.values(), expected.flatMap(\.codes), "codes", width: codeStride)
    comparison.compare(try scales.values(), expected.map(\.scale), "scales")
    comparison.compare(try sums.values(), expected.map(\.sum), "sums")
    return comparison
  }
}

import CUDADriver
import CUDAEngine
import CUDAKernels
import TestSupport
import Ternary
import Testing

/// Norm and quantiser of random rows.
struct QuantizerCase {
  let x: [Float]
  let xStride: Int
  let columns: Int
  let rows: Int
  let norm: [Float]?
  let codeStride: Int
  let epsilon: Float = 1e-6

  init(_ generator: inout SeededGenerator) {
    (columns, rows) = (generator.int(1...900), generator.int(1...5))
    xStride = columns + generator.int(0...3)
    norm = generator.chance(50) ? generator.norm(columns) : nil
    x = (0..<rows).flatMap { [columns, xStride] _ in generator.awkwardFloats(columns) + Array(repeating: .nan, count: xStride - columns) }
    codeStride = Tile.padded(columns, to: Tile.columns) + 16 * generator.int(0...3)
  }

  func mistake(on device: DeviceUnderTest) throws -> String? {
    let codes = try device.buffer([Int8](repeating: 0x55, count: rows * codeStride))
    let (scales, sums) = (try device.buffer([Float](repeating: 0, count: rows)), try device.buffer([Int32](repeating: 0, count: rows)))
    try device.run(
      .quantizeRows, CUDAGrid(rows), sharedBytes: Int(rowScratchBytes), .address(device.address(x.dropLast(xStride - columns))),
      .count(xStride), .address(device.address(norm)), .float(epsilon), .count(columns), .address(codes.address), .count(codeStride),
      .address(scales.address), .address(sums.address))
    let expected = (0..<rows).map { row in
      let values = Canonical.normalized(x[row * xStride..<row * xStride + columns], norm, epsilon: epsilon)
      return Canonical.quantized(values, padded: codeStride)
    }
    return try difference(codes.values(), expected.flatMap(\.codes), "codes")
      ?? difference(scales.values(), expected.map(\.scale), "scales") ?? difference(sums.values(), expected.map(\.sum), "sums")
  }
}

extension KernelTests {
  @Suite("Rows")
  struct RowTests {
    @Test func embeds() {
      KernelTests.run(0..<12) { device, generator in
        let (vocabulary, hidden, rows) = (generator.int(1...40), generator.int(1...600), generator.int(1...7))
        let table = (0..<vocabulary * hidden).map { _ in UInt16.random(in: 0...UInt16.max, using: &generator) }
        let tokens = (0..<rows).map { _ in Int32(generator.int(0...vocabulary - 1)) }
        let x = try device.buffer([Float](repeating: 7, count: rows * hidden))
        try device.run(
          .embedRows, CUDAGrid(rows), .address(device.address(tokens)), .address(device.address(table)), .count(hidden), .address(x.address)
        )
        let expected = tokens.flatMap { token in table[Int(token) * hidden..<(Int(token) + 1) * hidden].map { Float(bfloat16Bits: $0) } }
        return difference(try x.values(), expected)
      }
    }

    @Test("Quantises, with values that are not finite too")
    func quantizes() {
      KernelTests.run(0..<80) { device, generator in try QuantizerCase(&generator).mistake(on: device) }
    }
  }
}

import CUDADriver
import CUDAKernels
import TestSupport
import Ternary
import Testing

/// Tests of single kernels on the stand-in, one after the other: it has one device.
///
/// Each draws its cases from seeds, which a failure names. The order of threads is drawn from the same seed; seeds divisible by four
/// keep the plain order. Under odd seeds blocks take turns.
@Suite("Each kernel gives the bits of its scalar specification", .serialized)
enum KernelTests {
  /// Runs a case for each seed, up to the first that goes wrong.
  ///
  /// - Parameter body: runs a case on a device and says what is wrong with the result; nil when it is right.
  static func run(
    _ seeds: Range<UInt64>, at location: SourceLocation = #_sourceLocation,
    _ body: (DeviceUnderTest, inout SeededGenerator) throws -> String?
  ) {
    for seed in seeds {
      do {
        var generator = SeededGenerator(seed: seed)
        let device = try DeviceUnderTest(seed: seed % 4 == 0 ? 0 : seed, runsBlocksTogether: seed % 2 == 1)
        guard let mistake = try body(device, &generator) else { continue }
        Issue.record("seed \(seed): \(mistake)", sourceLocation: location)
      } catch {
        Issue.record("seed \(seed): \(error)", sourceLocation: location)
      }
      return
    }
  }
}

extension SeededGenerator {
  mutating func int(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }
  mutating func chance(_ percent: Int) -> Bool { int(1...100) <= percent }
  mutating func float(_ range: ClosedRange<Float> = -1...1) -> Float { Float.random(in: range, using: &self) }

  /// Values of one magnitude or of many.
  mutating func floats(_ count: Int) -> [Float] {
    let magnitude: Float = [1e-3, 1, 1, 1, 50].randomElement(using: &self)!
    let isSpiky = chance(20)
    return (0..<count).map { _ in float() * magnitude * (isSpiky && chance(5) ? 100 : 1) }
  }

  /// Such values, some of them in places zero, not finite, or so small or large that sums of squares are not.
  mutating func awkwardFloats(_ count: Int) -> [Float] {
    var values = floats(count)
    let odd: [Float] = [0, -0.0, .nan, .infinity, -.infinity, 1e-30, 1e30, -Float(bitPattern: 700), 127.5]
    switch int(0...5) {
    case 0: for _ in 0..<int(1...3) { values[int(0...count - 1)] = odd.randomElement(using: &self)! }
    case 1: values = values.map { _ in odd.randomElement(using: &self)! }
    case 2: values = values.map { _ in 0 }
    case 3: values = values.map { $0 * 1e-7 }
    case 4: values = values.map { ($0 * 8).rounded() / 2 }  // many ties
    default: break
    }
    return values
  }

  mutating func norm(_ count: Int) -> [Float] { (0..<count).map { _ in float(0.5...1.5) } }

  mutating func codes(_ count: Int) -> [Int8] {
    // Sums as large as can be, now and then.
    if chance(15) { return Array(repeating: -128, count: count) }
    return (0..<count).map { _ in Int8.random(in: -128...127, using: &self) }
  }

  /// Stacked ternary matrices; now and then all their codes are the same.
  mutating func matrix(rows: [Int], columns: Int) throws -> TernaryMatrix {
    let buffer = AlignedBuffer(count: TernaryMatrix.byteCount(rows: rows, columns: columns))
    Tile.fillWithZeros(buffer.bytes)
    let constant: Int8? = chance(15) ? [-1, 1].randomElement(using: &self)! : nil
    var firstRow = 0
    for count in rows {
      let codes = (0..<count * columns).map { _ in constant ?? Int8.random(in: -1...1, using: &self) }
      let packer = TilePacker(columns: columns, tiles: buffer.bytes, firstRow: firstRow)
      try codes.withUnsafeBufferPointer { try packer.pack(codes: $0, rows: 0..<count) }
      firstRow += Tile.padded(count, to: Tile.rows)
    }
    let scales = rows.map { _ in Double.random(in: 0.01...3, using: &self) }
    return try TernaryMatrix(rows: rows, columns: columns, scales: scales, tiles: buffer.shared)
  }
}

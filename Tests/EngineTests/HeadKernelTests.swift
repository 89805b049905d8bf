import BitNetCPUEngine
import BitNetInference
import BitNetRandomModels
import BitNetTernary
import CBitNetTernary
import TestSupport
import Testing

@Suite("The kernels' logits")
struct HeadKernelTests {
  /// Numbers of all signs and magnitudes. Many products are zeros of either sign, and many are too small for a Float, so
  /// that their sums may be -0 in one order of operations and 0 in another.
  private static func numbers(_ count: Int, _ random: inout SeededGenerator) -> [Float] {
    let scale: Float = [1, 1, 1e-3, 1e-22, 1e-30].randomElement(using: &random)!
    let isNegative = Bool.random(using: &random) ? Bool.random(using: &random) : nil
    let zeros = [0, 3, 30, 32].randomElement(using: &random)!  // of 32
    return (0..<count).map { _ in
      let number = Int.random(in: 0..<32, using: &random) < zeros ? 0 : Float.random(in: 0...scale, using: &random)
      return isNegative ?? Bool.random(using: &random) ? -number : number
    }
  }

  @Test("are the canonical sums, for any number of columns, rows and tokens", arguments: 0..<24)
  func sums(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let columns = [1, 64, 256, 300, 512, 1000, 1024, 1300].randomElement(using: &random)!
    let (rows, tokens) = (Int.random(in: 1...40, using: &random), Int.random(in: 1...80, using: &random))
    let matrix = (0..<rows).flatMap { _ in Self.numbers(columns, &random).map(\.bfloat16Bits) }
    let x = (0..<tokens).map { _ in Self.numbers(columns, &random) }
    let expected = x.map { x in
      (0..<rows).map { row in
        LaneOrder.row.sum(columns) { (Float(bfloat16Bits: matrix[row * columns + $0]), x[$0]) }.bitPattern
      }
    }
    for set in InstructionSet.available {
      var logits = [Float](repeating: .nan, count: tokens * (rows + 3))
      set.kernels.head(matrix, columns, rows, matrix, x.flatMap { $0 }, columns, tokens, &logits, rows + 3)
      for (token, expected) in expected.enumerated() {
        let found = logits[token * (rows + 3)..<token * (rows + 3) + rows].map(\.bitPattern)
        let what = "\(set.rawValue), seed \(seed): token \(token) of \(tokens), \(rows) rows of \(columns)"
        #expect(found == expected, "\(what)")
        #expect(logits[token * (rows + 3) + rows].isNaN, "\(what): written beyond")
      }
    }
  }
}

import BitNetTernary
import BitNetInference
import BitNetRandomModels
import TestSupport
import Testing

@Suite("Random models")
struct RandomWeightsTests {
  @Test("Random weights are valid codes, with zeros in the padding, and the same for the same seed")
  func randomWeights() throws {
    var generator = SeededGenerator(seed: 4)
    for seed in 0..<10 as Range<UInt64> {
      let configuration = ModelConfiguration.random(using: &generator)
      let weights = try ModelWeights(random: configuration, seed: seed)
      let again = try ModelWeights(random: configuration, seed: seed)
      for (layer, other) in zip(weights.layers, again.layers) {
        for (matrix, same) in zip(layer.matrices, other.matrices) {
          #expect(matrix.firstInvalidRow() == nil)
          let isEqual = matrix.tiles.withUnsafeBytes { a in same.tiles.withUnsafeBytes { Array(a) == Array($0) } }
          #expect(isEqual && matrix.parts == same.parts)
          var nonzero = 0
          for row in 0..<matrix.paddedRows {
            let isPadding = !matrix.parts.contains { $0.firstRow..<$0.firstRow + $0.rows ~= row }
            for column in 0..<matrix.paddedColumns where isPadding || column >= matrix.columns {
              nonzero += matrix.code(row: row, column: column) == 0 ? 0 : 1
            }
          }
          #expect(nonzero == 0)
        }
      }
    }
    var broken = ModelConfiguration.bitNet2B4T
    broken.headSize = 3
    #expect(throws: ConfigurationError.self) { try ModelWeights(random: broken, seed: 1) }
  }
}

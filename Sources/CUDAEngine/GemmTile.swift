package import BitNetCUDADriver
package import CBitNetCUDAKernels

/// The blocks of a product of many tokens (gemm.cu): their share of a matrix, and how long they should take for it.
package struct GemmTile {
  package let rows: Int
  package let tokens: Int
  private let stageBytes: Int
  package let fewestStages: Int
  /// Groups of warps that divide the columns.
  private let groups: Int

  /// Rounds of columns on the way or in use, at most.
  package static let mostStages = 5

  init(_ rows: Int, _ tokens: Int, _ stageBytes: Int, _ fewestStages: Int, groups: Int) {
    (self.rows, self.tokens, self.stageBytes, self.fewestStages, self.groups) = (
      rows, tokens, stageBytes, fewestStages, groups
    )
  }

  /// As in "32x64".
  package var name: String { "\(rows)x\(tokens)" }

  package func sharedBytes(stages: Int) -> Int { stages * stageBytes + 8 * tokens }

  /// The most stages that so many bytes have room for.
  package func mostStages(sharedBytes: Int) -> Int { min(Self.mostStages, (sharedBytes - 8 * tokens) / stageBytes) }

  package func grid(tokens: Int, _ matrix: Matrix) -> CUDAGrid {
    CUDAGrid((Int(matrix.tileRows) * 16 + rows - 1) / rows, (tokens + self.tokens - 1) / self.tokens)
  }

  /// As many stages as fit, in half a multiprocessor if blocks have to share it.
  func stages(tokens: Int, _ matrix: Matrix, multiprocessors: Int, sharedMemoryPerBlock: Int) -> Int {
    let grid = grid(tokens: tokens, matrix)
    // A multiprocessor has 1 KB more than a block may use, and keeps 1 KB for each block.
    let half = (sharedMemoryPerBlock - 1024) / 2
    let stages = mostStages(sharedBytes: grid.x * grid.y > multiprocessors ? half : sharedMemoryPerBlock)
    return stages >= fewestStages ? stages : mostStages(sharedBytes: sharedMemoryPerBlock)
  }

  /// An estimate of the product's clocks, for comparing tiles; the launch, which all have, is left out.
  func clocks(tokens: Int, _ matrix: Matrix, multiprocessors: Int) -> Double {
    let grid = grid(tokens: tokens, matrix)
    let share = Double((grid.x * grid.y + multiprocessors - 1) / multiprocessors)
    // Per column: bytes from the second-level cache, and products, at two thirds of an H100's measured speed.
    let cache = Double(min(tokens, self.tokens) + rows / 4) / 32
    let products = Double(rows * self.tokens) / (2690 * 0.67)
    // Until the first copies arrive, and to add up and store.
    let ends = 1500 + Double(rows * self.tokens * groups) / 16
    let chunks = (Int(matrix.tilesPerRow) + 4 * groups - 1) / (4 * groups) * groups
    return share * (max(cache, products) * 128 * Double(chunks) + ends)
  }
}

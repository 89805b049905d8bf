import CUDADriver
import CUDAKernels
import Ternary

/// How the W2A8 kernels are launched: which one for how many tokens, how the rows are dealt out, and what shared memory they need.
package struct Products {
  /// The kernels of one outcome.
  package enum Outcome {
    case project, add, activate, exact
  }

  package enum Path {
    /// One token, dp4a.
    case gemv
    /// Groups of up to eight tokens, tensor cores.
    case few
    /// Many tokens, tensor cores, activations quantised beforehand.
    case gemm
  }

  /// Up to this many tokens go in groups of eight: beyond, reading the weights once for each 64 costs less.
  private static let fewLimit = 32

  let library: KernelLibrary
  private let device: CUDADevice

  package init(_ library: KernelLibrary) {
    self.library = library
    device = library.context.device
  }

  package func path(tokens: Int, _ matrix: Matrix) -> Path {
    if tokens == 1 { return .gemv }
    return tokens <= Self.fewLimit && Self.fewBytes(matrix) <= device.sharedMemoryPerBlock ? .few : .gemm
  }

  package static func kernel(_ path: Path, _ outcome: Outcome) -> Kernel {
    switch (path, outcome) {
    case (.gemv, .project): .gemvProject
    case (.gemv, .add): .gemvAdd
    case (.gemv, .activate): .gemvActivate
    case (.gemv, .exact): .gemvExact
    case (.few, .project): .fewProject
    case (.few, .add): .fewAdd
    case (.few, .activate): .fewActivate
    case (.few, .exact): .fewExact
    case (.gemm, .project): .gemmProject
    case (.gemm, .add): .gemmAdd
    case (.gemm, .activate): .gemmActivate
    case (.gemm, .exact): .gemmExact
    }
  }

  /// Shared memory of a GEMV: the codes, and the norm's weights where the row is kept in registers.
  package static func gemvBytes(_ matrix: Matrix) -> Int {
    gemvScratchBytes + matrix.paddedColumns + stagedNormBytes(matrix)
  }
  /// Shared memory of a product with up to eight tokens, the norm's weights as before.
  package static func fewBytes(_ matrix: Matrix) -> Int {
    fewScratchBytes + 8 * ((Int(matrix.tilesPerRow) + 3) / 4 * 128 + 16) + stagedNormBytes(matrix)
  }
  private static func stagedNormBytes(_ matrix: Matrix) -> Int {
    let columns = Int(matrix.columns)
    return columns <= longestStagedRow ? (4 * columns + 15) / 16 * 16 : 0
  }

  /// How many warps share a tile row, and how many blocks there are, so that the last round of blocks is about as full as the others.
  ///
  /// - Parameters:
  ///   - resident: blocks that the device runs at once.
  ///   - warps: those of a block, a power of two.
  ///   - isPaired: whether gate and up rows take turns; then a block has at least two rows at a time.
  package static func plan(_ matrix: Matrix, resident: Int, warps: Int = 8, isPaired: Bool) -> (split: Int, blocks: Int) {
    let (rows, groups) = (Int(matrix.tileRows), (Int(matrix.tilesPerRow) + 3) / 4)
    var best = (split: 1, blocks: 1, cost: Int.max)
    for split in sequence(first: isPaired ? warps / 2 : warps, next: { $0 > 1 ? $0 / 2 : nil }) {
      let teams = warps / split, blocks = (rows + teams - 1) / teams
      let cost = (blocks + resident - 1) / resident * ((groups + split - 1) / split)
      if cost < best.cost { best = (split, min(blocks, resident), cost) }
    }
    return (best.split, best.blocks)
  }

  /// Shared memory of a path's kernels.
  private static func sharedBytes(_ path: Path, _ matrix: Matrix) -> Int {
    switch path {
    case .gemv: gemvBytes(matrix)
    case .few: fewBytes(matrix)
    case .gemm: gemmScratchBytes
    }
  }

  /// The plan for this device. The path for many tokens has none: its blocks follow from the shape.
  package func plan(_ path: Path, _ outcome: Outcome, _ matrix: Matrix) throws(CUDAError) -> (split: Int, blocks: Int) {
    let resident = try library.residentBlocks(Self.kernel(path, outcome), sharedBytes: Self.sharedBytes(path, matrix))
    return Self.plan(matrix, resident: resident, isPaired: outcome == .activate)
  }

  /// x · matrix for rows of floats, with the norm (0: none) and the quantiser before it.
  func multiply(
    _ outcome: Outcome, _ matrix: Matrix, tokens: Int, x: UInt64, xStride: Int, norm: UInt64, epsilon: Float, target: Target,
    quantized: QuantizedRows
  ) throws(CUDAError) {
    let path = path(tokens: tokens, matrix)
    let (kernel, bytes) = (Self.kernel(path, outcome), Self.sharedBytes(path, matrix))
    switch path {
    case .gemv:
      let plan = try plan(path, outcome, matrix)
      try library.launch(
        kernel, CUDAGrid(plan.blocks), sharedBytes: bytes, .value(matrix), .int(Int32(plan.split)), .address(x), .address(norm),
        .float(epsilon), .value(target))
    case .few:
      let plan = try plan(path, outcome, matrix)
      try library.launch(
        kernel, CUDAGrid(plan.blocks, (tokens + 7) / 8), sharedBytes: bytes, .value(matrix), .int(Int32(plan.split)), .address(x),
        .int(Int32(xStride)), .address(norm), .float(epsilon), .int(Int32(tokens)), .value(target))
    case .gemm:
      try library.launch(
        .quantizeRows, CUDAGrid(tokens), sharedBytes: rowScratchBytes, .address(x), .int(Int32(xStride)), .address(norm),
        .float(epsilon), .int(matrix.columns), .address(quantized.codes), .int(Int32(quantized.stride)), .address(quantized.scales),
        .address(quantized.sums))
      try multiplyCodes(outcome, matrix, tokens: tokens, quantized, target: target)
    }
  }

  /// The bare integer product of rows that are quantised already, on any path: what kernels are checked and compared by.
  ///
  /// - Parameters:
  ///   - firstSum: the sum of token 0's codes, which the kernel for one token takes as a number.
  ///   - plan: of `plan`, or any other split of 1, 2, 4 or 8 and number of blocks.
  func multiplyExactly(
    _ path: Path, _ matrix: Matrix, tokens: Int, _ quantized: QuantizedRows, firstSum: Int32, plan: (split: Int, blocks: Int),
    target: Target
  ) throws(CUDAError) {
    let (kernel, bytes) = (Self.kernel(path, .exact), Self.sharedBytes(path, matrix))
    switch path {
    case .gemv:
      try library.launch(
        kernel, CUDAGrid(plan.blocks), sharedBytes: bytes, .value(matrix), .int(Int32(plan.split)), .address(quantized.codes),
        .int(firstSum), .value(target))
    case .few:
      try library.launch(
        kernel, CUDAGrid(plan.blocks, (tokens + 7) / 8), sharedBytes: bytes, .value(matrix), .int(Int32(plan.split)),
        .address(quantized.codes), .int(Int32(quantized.stride)), .address(quantized.sums), .int(Int32(tokens)), .value(target))
    case .gemm: try multiplyCodes(.exact, matrix, tokens: tokens, quantized, target: target)
    }
  }

  /// The product of rows that are quantised already, on the path for many tokens.
  private func multiplyCodes(
    _ outcome: Outcome, _ matrix: Matrix, tokens: Int, _ quantized: QuantizedRows, target: Target
  ) throws(CUDAError) {
    try library.launch(
      Self.kernel(.gemm, outcome), CUDAGrid((Int(matrix.tileRows) + 7) / 8, (tokens + 63) / 64), sharedBytes: gemmScratchBytes,
      .value(matrix), .address(quantized.codes), .int(Int32(quantized.stride)), .address(quantized.scales), .address(quantized.sums),
      .int(Int32(tokens)), .value(target))
  }
}

/// Where quantised activations are: codes `[tokens][stride]`, scales and sums `[tokens]`. stride is a multiple of 16.
package struct QuantizedRows {
  package var codes: UInt64
  package var stride: Int
  package var scales: UInt64
  package var sums: UInt64

  package init(codes: UInt64, stride: Int, scales: UInt64, sums: UInt64) {
    self.codes = codes
    self.stride = stride
    self.scales = scales
    self.sums = sums
  }
}

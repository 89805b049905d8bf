package import BitNetCUDADriver
package import CBitNetCUDAKernels
import BitNetTernary

/// Launches the W2A8 kernels: chooses one by the number of tokens, deals out the rows, and sizes the shared memory.
package struct Products {
  /// The kernels of one outcome.
  package enum Outcome {
    case project, add, activate, exact
  }

  package enum Path: CaseIterable {
    /// One token, dp4a.
    case gemv
    /// Two to eight tokens, tensor cores.
    case few
    /// Many tokens, tensor cores, activations quantised beforehand; called by the rows and tokens of a block.
    case gemm32x64, gemm64x64, gemm128x64, gemm96x128, gemm128x128, gemm256x128

    /// The blocks of a path for many tokens; nil for the others.
    package var gemm: GemmTile? {
      switch self {
      case .gemv, .few: nil
      case .gemm32x64: GemmTile(32, 64, gemm32x64StageBytes, gemm32x64FewestStages, groups: 4)
      case .gemm64x64: GemmTile(64, 64, gemm64x64StageBytes, gemm64x64FewestStages, groups: 4)
      case .gemm128x64: GemmTile(128, 64, gemm128x64StageBytes, gemm128x64FewestStages, groups: 2)
      case .gemm96x128: GemmTile(96, 128, gemm96x128StageBytes, gemm96x128FewestStages, groups: 2)
      case .gemm128x128: GemmTile(128, 128, gemm128x128StageBytes, gemm128x128FewestStages, groups: 2)
      case .gemm256x128: GemmTile(256, 128, gemm256x128StageBytes, gemm256x128FewestStages, groups: 1)
      }
    }
  }

  /// Tokens that the kernels for few take at a time. More would read the weights again and quantise in every block, so
  /// that a product of 64 tokens with codes quantised beforehand takes no longer.
  private static let fewLimit = 8

  package let library: KernelLibrary
  private let device: CUDADevice

  package init(_ library: KernelLibrary) {
    self.library = library
    device = library.context.device
  }

  package func path(tokens: Int, _ matrix: Matrix) -> Path {
    if tokens == 1 { return .gemv }
    if tokens <= Self.fewLimit && canRun(.few, matrix) { return .few }
    return Self.gemmPath(
      tokens: tokens, matrix, multiprocessors: device.multiprocessorCount,
      sharedMemoryPerBlock: device.sharedMemoryPerBlock)
  }

  /// The path for many tokens whose blocks should be done first.
  package static func gemmPath(tokens: Int, _ matrix: Matrix, multiprocessors: Int, sharedMemoryPerBlock: Int) -> Path {
    let clocks = Path.allCases.compactMap { path -> (path: Path, clocks: Double)? in
      guard let tile = path.gemm, tile.sharedBytes(stages: tile.fewestStages) <= sharedMemoryPerBlock else {
        return nil
      }
      return (path, tile.clocks(tokens: tokens, matrix, multiprocessors: multiprocessors))
    }
    return clocks.min { $0.clocks < $1.clocks }!.path
  }

  /// Whether the device has the shared memory for a path.
  package func canRun(_ path: Path, _ matrix: Matrix) -> Bool {
    let limit = device.sharedMemoryPerBlock
    if let tile = path.gemm { return tile.sharedBytes(stages: tile.fewestStages) <= limit }
    return (path == .gemv ? Self.gemvBytes(matrix) : Self.fewBytes(matrix)) <= limit
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
    case (.gemm32x64, .project): .gemm32x64Project
    case (.gemm32x64, .add): .gemm32x64Add
    case (.gemm32x64, .activate): .gemm32x64Activate
    case (.gemm32x64, .exact): .gemm32x64Exact
    case (.gemm64x64, .project): .gemm64x64Project
    case (.gemm64x64, .add): .gemm64x64Add
    case (.gemm64x64, .activate): .gemm64x64Activate
    case (.gemm64x64, .exact): .gemm64x64Exact
    case (.gemm128x64, .project): .gemm128x64Project
    case (.gemm128x64, .add): .gemm128x64Add
    case (.gemm128x64, .activate): .gemm128x64Activate
    case (.gemm128x64, .exact): .gemm128x64Exact
    case (.gemm96x128, .project): .gemm96x128Project
    case (.gemm96x128, .add): .gemm96x128Add
    case (.gemm96x128, .activate): .gemm96x128Activate
    case (.gemm96x128, .exact): .gemm96x128Exact
    case (.gemm128x128, .project): .gemm128x128Project
    case (.gemm128x128, .add): .gemm128x128Add
    case (.gemm128x128, .activate): .gemm128x128Activate
    case (.gemm128x128, .exact): .gemm128x128Exact
    case (.gemm256x128, .project): .gemm256x128Project
    case (.gemm256x128, .add): .gemm256x128Add
    case (.gemm256x128, .activate): .gemm256x128Activate
    case (.gemm256x128, .exact): .gemm256x128Exact
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

  /// How many warps share a tile row, and how many blocks there are, so that the last round of blocks is about as full
  /// as the others.
  ///
  /// - Parameters:
  ///   - resident: blocks that the device runs at once.
  ///   - warps: warps of a block, a power of two.
  ///   - isPaired: whether gate and up rows take turns; then a block has at least two rows at a time.
  package static func plan(_ matrix: Matrix, resident: Int, warps: Int = 8, isPaired: Bool) -> (split: Int, blocks: Int)
  {
    let (rows, groups) = (Int(matrix.tileRows), (Int(matrix.tilesPerRow) + 3) / 4)
    var best = (split: 1, blocks: 1, cost: Int.max)
    for split in sequence(first: isPaired ? warps / 2 : warps, next: { $0 > 1 ? $0 / 2 : nil }) {
      let teams = warps / split, blocks = (rows + teams - 1) / teams
      let cost = (blocks + resident - 1) / resident * ((groups + split - 1) / split)
      if cost < best.cost { best = (split, min(blocks, resident), cost) }
    }
    return (best.split, best.blocks)
  }

  /// The plan of a path for few tokens on this device.
  package func plan(_ path: Path, _ outcome: Outcome, _ matrix: Matrix) throws(CUDAError) -> (split: Int, blocks: Int) {
    let bytes = path == .gemv ? Self.gemvBytes(matrix) : Self.fewBytes(matrix)
    let resident = try library.residentBlocks(Self.kernel(path, outcome), sharedBytes: bytes)
    // The driver says why a block finds no room.
    return Self.plan(matrix, resident: max(1, resident), isPaired: outcome == .activate)
  }

  /// The product of rows of floats with a matrix, with the norm (0: none) and the quantiser before it.
  func multiply(
    _ outcome: Outcome, _ matrix: Matrix, tokens: Int, x: DeviceRows, norm: UInt64, epsilon: Float, target: Target,
    quantized: QuantizedRows
  ) throws(CUDAError) {
    let path = path(tokens: tokens, matrix)
    let kernel = Self.kernel(path, outcome)
    switch path {
    case .gemv:
      let plan = try plan(path, outcome, matrix)
      try library.launch(
        kernel, CUDAGrid(plan.blocks), sharedBytes: Self.gemvBytes(matrix),
        GemvParameters(
          matrix: matrix, target: target, x: x.address, norm: norm, epsilon: epsilon, split: Int32(plan.split)))
    case .few:
      let plan = try plan(path, outcome, matrix)
      try library.launch(
        kernel, CUDAGrid(plan.blocks, (tokens + 7) / 8), sharedBytes: Self.fewBytes(matrix),
        FewParameters(
          matrix: matrix, target: target, x: x.address, norm: norm, epsilon: epsilon, xStride: Int32(x.stride),
          tokens: Int32(tokens), split: Int32(plan.split)))
    default:
      try library.launch(
        .quantizeRows, CUDAGrid(tokens), sharedBytes: rowScratchBytes,
        QuantizeParameters(
          x: x.address, norm: norm, codes: quantized.codes, scales: quantized.scales, sums: quantized.sums,
          epsilon: epsilon, columns: matrix.columns, xStride: Int32(x.stride), codeStride: Int32(quantized.stride)))
      try multiplyCodes(
        path, outcome, matrix, tokens: tokens, quantized, stages: stages(path, tokens: tokens, matrix), target: target)
    }
  }

  /// The product of rows of floats with a matrix whose stacked parts have norms of their own.
  ///
  /// - Parameters:
  ///   - norm: of all parts' input; 0: none.
  ///   - partNorms: of each part's own input, after it; 0: none.
  ///   - quantized: with room for each part's codes, scales and sums, `[parts][capacity]`.
  func multiplyParts(
    _ outcome: Outcome, _ matrix: Matrix, tokens: Int, x: DeviceRows, norm: UInt64, epsilon: Float,
    partNorms: [UInt64], partEpsilon: Float, target: Target, quantized: QuantizedRows, capacity: Int
  ) throws(CUDAError) {
    var parameters = QuantizePartsParameters()
    parameters.x = x.address
    parameters.norm = norm
    fill(&parameters.partNorms, with: partNorms)
    (parameters.codes, parameters.scales, parameters.sums) = (quantized.codes, quantized.scales, quantized.sums)
    (parameters.epsilon, parameters.partEpsilon) = (epsilon, partEpsilon)
    (parameters.columns, parameters.xStride) = (matrix.columns, Int32(x.stride))
    (parameters.codeStride, parameters.partRows) = (Int32(quantized.stride), Int32(capacity))
    try library.launch(
      .quantizeParts, CUDAGrid(tokens, partNorms.count), sharedBytes: rowScratchBytes, parameters)
    for index in partNorms.indices {
      let part = matrix.only(part: index)
      let path = Self.gemmPath(
        tokens: tokens, part, multiprocessors: device.multiprocessorCount,
        sharedMemoryPerBlock: device.sharedMemoryPerBlock)
      try multiplyCodes(
        path, outcome, part, tokens: tokens, quantized.skipping(index * capacity),
        stages: stages(path, tokens: tokens, part), target: target)
    }
  }

  /// The bare integer product of rows that are quantised already, on any path, by which kernels are checked and
  /// compared.
  ///
  /// - Parameters:
  ///   - firstSum: the sum of token 0's codes, which the kernel for one token takes as a number.
  ///   - plan: of `plan` when nil, or any other split of 1, 2, 4 or 8 and number of blocks; not used for many tokens.
  ///   - stages: of `stages` when nil, or any other number that fits; used for many tokens alone.
  package func multiplyExactly(
    _ path: Path, _ matrix: Matrix, tokens: Int, _ quantized: QuantizedRows, firstSum: Int32,
    plan: (split: Int, blocks: Int)? = nil, stages: Int? = nil, target: Target
  ) throws(CUDAError) {
    let kernel = Self.kernel(path, .exact)
    switch path {
    case .gemv:
      let plan = if let plan { plan } else { try self.plan(path, .exact, matrix) }
      try library.launch(
        kernel, CUDAGrid(plan.blocks), sharedBytes: Self.gemvBytes(matrix),
        GemvExactParameters(
          matrix: matrix, target: target, codes: quantized.codes, sum: firstSum, split: Int32(plan.split)))
    case .few:
      let plan = if let plan { plan } else { try self.plan(path, .exact, matrix) }
      try library.launch(
        kernel, CUDAGrid(plan.blocks, (tokens + 7) / 8), sharedBytes: Self.fewBytes(matrix),
        FewExactParameters(
          matrix: matrix, target: target, codes: quantized.codes, sums: quantized.sums,
          codeStride: Int32(quantized.stride), tokens: Int32(tokens), split: Int32(plan.split)))
    default:
      try multiplyCodes(
        path, .exact, matrix, tokens: tokens, quantized, stages: stages ?? self.stages(path, tokens: tokens, matrix),
        target: target)
    }
  }

  /// The product of rows that are quantised already, on a path for many tokens.
  private func multiplyCodes(
    _ path: Path, _ outcome: Outcome, _ matrix: Matrix, tokens: Int, _ quantized: QuantizedRows, stages: Int,
    target: Target
  ) throws(CUDAError) {
    let tile = path.gemm!
    try library.launch(
      Self.kernel(path, outcome), tile.grid(tokens: tokens, matrix), sharedBytes: tile.sharedBytes(stages: stages),
      GemmParameters(
        matrix: matrix, target: target, codes: quantized.codes, scales: quantized.scales, sums: quantized.sums,
        codeStride: Int32(quantized.stride), tokens: Int32(tokens), stages: Int32(stages)))
  }

  private func stages(_ path: Path, tokens: Int, _ matrix: Matrix) -> Int {
    path.gemm!.stages(
      tokens: tokens, matrix, multiprocessors: device.multiprocessorCount,
      sharedMemoryPerBlock: device.sharedMemoryPerBlock)
  }
}

/// Quantised activations in device memory: codes `[tokens][stride]`, scales and sums `[tokens]`. stride is a multiple
/// of 16.
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

  /// The rows after some others.
  func skipping(_ count: Int) -> QuantizedRows {
    QuantizedRows(
      codes: codes + UInt64(count * stride), stride: stride, scales: scales + UInt64(4 * count),
      sums: sums + UInt64(4 * count))
  }
}

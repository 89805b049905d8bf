import BitNetCUDADriver
import BitNetCUDAEngine
import CBitNetCUDAKernels
package import BitNetDeviceCheck
import BitNetInference
import BitNetRandomModels
import BitNetTernary

extension Verification {
  /// Multiplies random matrices of awkward shapes on all paths, and compares every product with the integers of
  /// `TernaryMatrix.dot`. Also multiplies a few matrices as large as those of real models, and compares some of their
  /// rows.
  ///
  /// - Parameters:
  ///   - shapes: the number of random shapes.
  ///   - isShort: whether to use smaller shapes, and no large matrices.
  ///   - progress: called with the finished share, 0…1.
  ///   - report: called with a check for each path.
  package func products(
    shapes: Int, isShort: Bool = false, progress: (Double) -> Void = { _ in }, _ report: EqualityCheck.Report
  ) rethrows {
    let large = isShort ? [] : [(13824, 2560), (2560, 6912), (20480, 3200)]
    let paths = Products.Path.allCases
    let cases = plural(shapes + large.count, "shape")
    for (place, path) in paths.enumerated() {
      let total = Double(paths.count * (shapes + large.count))
      func advance(_ done: Int) { progress(Double(place * (shapes + large.count) + done) / total) }
      try report(
        EqualityCheck("products, \(Products.kernel(path, .exact).rawValue)", cases: cases) { check in
          for index in 0..<shapes {
            // The same matrices for every path.
            var generator = SplitMix64(seed: seed &+ UInt64(index) << 32)
            let problem = try ProductProblem(random: &generator, isSmall: isShort)
            try CheckError.naming(problem.shape) { try compareAll(problem, path, &check, using: &generator) }
            advance(index + 1)
          }
          for (index, (rows, columns)) in large.enumerated() {
            var generator = SplitMix64(seed: seed &+ UInt64(shapes + index) << 32)
            let problem = try ProductProblem(
              rows: [rows], columns: columns, tokens: 200, codeUnit: Tile.columns, using: &generator)
            let tokens = path == .gemv ? 1 : path == .few ? 8 : 200
            try CheckError.naming(problem.shape) {
              try compareSome(problem, path, tokens: tokens, &check, using: &generator)
            }
            advance(shapes + index + 1)
          }
        })
    }
  }

  /// Compares every product of a small matrix, for every split of its rows or number of stages.
  private func compareAll(
    _ problem: ProductProblem, _ path: Products.Path, _ check: inout EqualityCheck, using generator: inout SplitMix64
  ) throws {
    let device = try DeviceProduct(problem, library)
    guard Products(library).canRun(path, device.matrix) else { return }
    let tokens = path == .gemv ? 1 : path == .few ? Int.random(in: 2...32, using: &generator) : problem.tokens
    let rows = problem.matrix.paddedRows
    if let tile = path.gemm {
      for stages in tile.fewestStages...tile.mostStages(sharedBytes: self.device.sharedMemoryPerBlock) {
        check.compare(
          try device.multiply(path, tokens: tokens, stages: stages), problem.products(tokens: tokens, rows: 0..<rows)
        ) {
          "\(problem.shape), \(tokens) tokens, \(stages) stages: "
            + "the product of row \($0 % rows) with token \($0 / rows)"
        }
      }
      return
    }
    for split in [1, 2, 4, 8] {
      // With fewer blocks than rows, blocks take several rows in turn.
      let blocks = Int.random(in: 1...Int(device.matrix.tileRows), using: &generator)
      let found = try device.multiply(path, tokens: tokens, plan: (split, blocks))
      check.compare(found, problem.products(tokens: tokens, rows: 0..<rows)) {
        "\(problem.shape), \(tokens) tokens, \(split) warps a row, \(blocks) blocks: "
          + "the product of row \($0 % rows) with token \($0 / rows)"
      }
    }
  }

  /// Compares some rows of a large matrix's products.
  private func compareSome(
    _ problem: ProductProblem, _ path: Products.Path, tokens: Int, _ check: inout EqualityCheck,
    using generator: inout SplitMix64
  ) throws {
    let device = try DeviceProduct(problem, library)
    guard Products(library).canRun(path, device.matrix) else { return }
    let found = try device.multiply(path, tokens: tokens)
    let rows = problem.matrix.paddedRows
    for _ in 0..<4 {
      let first = Int.random(in: 0..<rows / Tile.rows, using: &generator) * Tile.rows
      let range = first..<first + Tile.rows
      check.compare(
        (0..<tokens).flatMap { found[$0 * rows..<($0 + 1) * rows][rebased: range] },
        problem.products(tokens: tokens, rows: range)
      ) {
        "\(problem.shape), \(tokens) tokens: the product of row \(first + $0 % Tile.rows) with token \($0 / Tile.rows)"
      }
    }
  }
}

extension ArraySlice {
  /// Elements by their offsets from the slice's start.
  fileprivate subscript(rebased range: Range<Int>) -> ArraySlice {
    self[startIndex + range.lowerBound..<startIndex + range.upperBound]
  }
}

extension ProductProblem {
  /// Rows and columns, as in "30+7x200".
  fileprivate var shape: String { "\(matrix.parts.map { "\($0.rows)" }.joined(separator: "+"))x\(columns)" }

  /// An awkward shape.
  fileprivate init(random generator: inout SplitMix64, isSmall: Bool) throws {
    let longest = isSmall ? 50 : 200
    let rows = (0..<Int.random(in: 1...3, using: &generator)).map { _ in Int.random(in: 1...longest, using: &generator)
    }
    // Sometimes whole groups of tiles, or long rows.
    let columns =
      switch Int.random(in: 0..<8, using: &generator) {
      case 0: 128 * Int.random(in: 1...(isSmall ? 3 : 20), using: &generator)
      case 1: Int.random(in: 1...(isSmall ? 1000 : 16000), using: &generator)
      default: Int.random(in: 1...(isSmall ? 300 : 1000), using: &generator)
      }
    let tokens = Int.random(in: 32...(isSmall ? 70 : 150), using: &generator)
    try self.init(rows: rows, columns: columns, tokens: tokens, codeUnit: Tile.columns, using: &generator)
  }
}

/// A problem in device memory.
private struct DeviceProduct {
  let problem: ProductProblem
  let matrix: Matrix
  private let library: KernelLibrary
  private let tiles: CUDABuffer
  private let codes: CUDABuffer
  private let sums: CUDABuffer

  init(_ problem: ProductProblem, _ library: KernelLibrary) throws(CUDAError) {
    self.problem = problem
    self.library = library
    let context = library.context
    tiles = try CUDABuffer(context, byteCount: problem.matrix.tiles.count)
    codes = try CUDABuffer(context, byteCount: problem.codes.count)
    sums = try CUDABuffer(context, byteCount: 4 * problem.sums.count)
    matrix = Matrix(problem.matrix, tiles: tiles.address)
    try problem.matrix.tiles.withUnsafeBytes { (bytes) throws(CUDAError) in try tiles.copy(from: bytes) }
    try problem.codes.withUnsafeBufferPointer { (values) throws(CUDAError) in
      try codes.copy(from: UnsafeRawBufferPointer(values))
    }
    try problem.sums.withUnsafeBufferPointer { (values) throws(CUDAError) in
      try sums.copy(from: UnsafeRawBufferPointer(values))
    }
  }

  /// `[tokens][paddedRows]`.
  func multiply(
    _ path: Products.Path, tokens: Int, plan: (split: Int, blocks: Int)? = nil, stages: Int? = nil
  ) throws(CUDAError) -> [Int32] {
    let count = tokens * problem.matrix.paddedRows
    let out = try CUDABuffer(library.context, byteCount: 4 * count)
    // No product has this value, so places that the kernel does not write are found.
    try out.fill(byte: 0x55)
    let target = Target(out: out.address, stride: Int32(problem.matrix.paddedRows), isSquaredReLU: 0)
    let rows = QuantizedRows(codes: codes.address, stride: problem.codeStride, scales: 0, sums: sums.address)
    try Products(library).multiplyExactly(
      path, matrix, tokens: tokens, rows, firstSum: problem.sums[0], plan: plan, stages: stages, target: target)
    try library.stream.synchronize()
    var found = [Int32](repeating: 0, count: count)
    try found.withUnsafeMutableBufferPointer { (found) throws(CUDAError) in
      try out.copy(to: UnsafeMutableRawBufferPointer(found))
    }
    return found
  }
}

package import BitNetCUDADriver
import BitNetCUDAEngine
import CBitNetCUDAKernels
import BitNetTernary

/// A matrix whose products are timed: its copies on the device, and the activations to multiply.
package final class CUDAKernelBenchmarkMatrix {
  private let benchmark: CUDAKernelBenchmark
  private let tiles: RotatedCopies
  private let codes: CUDABuffer
  private let problem: ProductProblem
  private let deviceSums: CUDABuffer
  /// Weights in bfloat16 for cuBLAS, or the reason why there are none.
  private let dense: Result<RotatedCopies, CUDAError>?

  private var stream: CUDAStream { benchmark.race.stream }

  private var matrix: TernaryMatrix { problem.matrix }

  init(_ benchmark: CUDAKernelBenchmark, _ problem: ProductProblem) throws(CUDAError) {
    self.benchmark = benchmark
    self.problem = problem
    let matrix = problem.matrix
    let stream = benchmark.race.stream
    let tiles = try RotatedCopies(benchmark, byteCount: matrix.tiles.count)
    try matrix.tiles.withUnsafeBytes { (bytes) throws(CUDAError) in
      try tiles.fill(bytes, byteCount: bytes.count, stream)
    }
    self.tiles = tiles
    self.codes = try Self.upload(problem.codes, benchmark)
    deviceSums = try Self.upload(problem.sums, benchmark)
    dense = benchmark.cublas == nil ? nil : Self.denseWeights(benchmark, count: matrix.parts[0].rows * matrix.columns)
  }

  private static func upload<Element>(_ values: [Element], _ benchmark: CUDAKernelBenchmark) throws(CUDAError)
    -> CUDABuffer
  {
    let buffer = try CUDABuffer(benchmark.context, byteCount: values.count * MemoryLayout<Element>.stride)
    try values.withUnsafeBufferPointer { (values) throws(CUDAError) in
      try buffer.copy(from: UnsafeRawBufferPointer(values))
    }
    return buffer
  }

  private static func denseWeights(_ benchmark: CUDAKernelBenchmark, count: Int) -> Result<RotatedCopies, CUDAError> {
    do throws(CUDAError) {
      let byteCount = count * MemoryLayout<UInt16>.stride
      let copies = try RotatedCopies(benchmark, byteCount: byteCount)
      // The values do not matter, except that zeros would take less power.
      try randomBFloat16(min(count, 1 << 23)).withUnsafeBufferPointer { (values) throws(CUDAError) in
        try copies.fill(UnsafeRawBufferPointer(values), byteCount: byteCount, benchmark.race.stream)
      }
      return .success(copies)
    } catch {
      return .failure(error)
    }
  }

  /// Numbers of either sign between 0.5 and 2, in bfloat16.
  private static func randomBFloat16(_ count: Int) -> [UInt16] {
    var state: UInt64 = 1
    return (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return UInt16(truncatingIfNeeded: state >> 40) & 0x80FF | 0x3F00
    }
  }

  /// Multiplies the problem's first tokens, and times the product.
  ///
  /// - Parameters:
  ///   - tokens: 1 to the number of tokens of the problem.
  ///   - block: one of `CUDAKernelBenchmark.blocks`; the engine's choice when nil.
  /// - Throws: `CUDAError.parameter` for an unknown block, or one that needs more shared memory than the device has.
  package func measure(tokens: Int, block: String? = nil) throws(CUDAError) -> CUDAKernelBenchmark.Measurement {
    let stride = matrix.paddedRows
    let out = try CUDABuffer(benchmark.context, byteCount: tokens * stride * MemoryLayout<Int32>.stride)
    // No product has this value, so places that the kernel does not write are found.
    try out.fill(byte: 0x55)
    let (kernel, launch) = try product(tokens: tokens, block: block, out: out)
    var contenders = Self.coldAndWarm(tiles, launch)

    var absence = benchmark.cublasAbsence
    var held: [CUDABuffer] = []
    if let cublas = benchmark.cublas, let dense {
      do throws(CUDAError) {
        let (launch, buffers) = try denseProduct(cublas, dense.get(), tokens: tokens)
        contenders += Self.coldAndWarm(try dense.get(), launch)
        held = buffers
      } catch {
        absence = error.description
      }
    }
    let samples = try benchmark.race.run(contenders)
    withExtendedLifetime(held) {}

    var products = [Int32](repeating: 0, count: tokens * stride)
    try products.withUnsafeMutableBufferPointer { (products) throws(CUDAError) in
      try out.copy(to: UnsafeMutableRawBufferPointer(products))
    }
    var bfloat16: CUDAKernelBenchmark.Times?
    if contenders.count == 4, let copyCount = try? dense?.get().count {
      bfloat16 = .init(copyCount: copyCount, cold: samples[2], warm: samples[3])
    }
    return .init(
      kernel: kernel.rawValue, products: products, stride: stride,
      times: .init(copyCount: tiles.count, cold: samples[0], warm: samples[1]), bfloat16: bfloat16,
      bfloat16Absence: bfloat16 == nil ? absence : nil)
  }

  private typealias Launch = (_ weights: UInt64) throws(CUDAError) -> Void

  /// The same launch, cycling through all copies and with the first copy alone.
  private static func coldAndWarm(_ copies: RotatedCopies, _ launch: @escaping Launch) -> [KernelRace.Contender] {
    [copies.count, 1].map { count in
      KernelRace.Contender(copyCount: count) { (copy) throws(CUDAError) in try launch(copies.address(copy)) }
    }
  }

  /// The exact kernel for this number of tokens: without norm, quantiser and scales.
  private func product(tokens: Int, block: String?, out: CUDABuffer) throws(CUDAError) -> (Kernel, Launch) {
    let (products, firstSum) = (benchmark.products, problem.sums[0])
    let shape = Matrix(matrix, tiles: 0)
    let target = Target(out: out.address, stride: Int32(matrix.paddedRows), isSquaredReLU: 0)
    let quantized = QuantizedRows(codes: codes.address, stride: problem.codeStride, scales: 0, sums: deviceSums.address)
    var path = products.path(tokens: tokens, shape)
    if let block {
      let chosen = Products.Path.allCases.first { $0.gemm?.name == block && products.canRun($0, shape) }
      guard let chosen else {
        let names = Products.Path.allCases.filter { products.canRun($0, shape) }.compactMap(\.gemm?.name)
        throw .parameter(
          name: "the block", found: block, expected: "one of \(names.joined(separator: ", ")) on this device")
      }
      path = chosen
    }
    return (
      Products.kernel(path, .exact),
      { (weights) throws(CUDAError) in
        var matrix = shape
        matrix.tiles = weights
        try products.multiplyExactly(path, matrix, tokens: tokens, quantized, firstSum: firstSum, target: target)
      }
    )
  }

  /// cuBLAS's product, run once as a test, and the buffers it needs.
  private func denseProduct(
    _ cublas: CuBLAS, _ dense: RotatedCopies, tokens: Int
  ) throws(CUDAError) -> (Launch, [CUDABuffer]) {
    let (rows, columns) = (matrix.parts[0].rows, matrix.columns)
    let x = try Self.upload(Self.randomBFloat16(tokens * columns), benchmark)
    let out = try CUDABuffer(benchmark.context, byteCount: tokens * rows * MemoryLayout<UInt16>.stride)
    let launch: Launch = { (weights) throws(CUDAError) in
      try cublas.multiply(
        weights: weights, rows: rows, columns: columns, x: x.address, tokens: tokens, out: out.address)
    }
    try launch(dense.address(0))
    try stream.synchronize()
    return (launch, [x, out])
  }
}

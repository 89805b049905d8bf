package import BitNetCUDADriver
import BitNetCUDAEngine
import CBitNetCUDAKernels
import BitNetTernary

/// Times the kernels of the W2A8 product alone, without a model around them, alternating with cuBLAS's bfloat16
/// product.
///
/// ```swift
/// let benchmark = try CUDAKernelBenchmark(device: 0)
/// let loaded = try benchmark.load(ProductProblem(rows: 2560, columns: 2560, tokens: 1))
/// let decode = try loaded.measure(tokens: 1)
/// ```
package final class CUDAKernelBenchmark {
  /// The results of a product, and its times.
  package struct Measurement: Sendable {
    /// The kernel's name in Sources/CUDAKernels.
    package let kernel: String
    /// `[tokens][stride]`, as the timed launches left them.
    package let products: [Int32]
    /// The distance between two tokens' products: the rows, padded to whole tiles.
    package let stride: Int
    package let times: Times
    /// The times of cuBLAS's bfloat16 product of the same shape; nil when it could not be measured.
    package let bfloat16: Times?
    /// The reason why `bfloat16` is nil, in a sentence.
    package let bfloat16Absence: String?
  }

  /// The time of one product in seconds, for each sample. A sample is a graph of many launches.
  package struct Times: Sendable {
    /// The number of copies of the weights, which the launches cycle through.
    package let copyCount: Int
    /// With weights from memory: all copies together exceed twice the second-level cache. (Not on an emulated device,
    /// and not for matrices of a few tiles, which have at most 65,536 copies.)
    package let cold: [Double]
    /// With one copy, from the second-level cache if it fits.
    package let warm: [Double]
  }

  package let device: CUDADevice
  /// In the form of `cuDriverGetVersion`: 12010 is 12.1.
  package let driverVersion: Int
  /// Whether the device is a stand-in that runs kernels on the CPU: then times mean nothing.
  package let isEmulated: Bool
  /// The version of cuBLAS, as in "12.4.5"; nil without cuBLAS.
  package var cublasVersion: String? { cublas?.version }
  /// The reason why there is no cuBLAS, in a sentence.
  package let cublasAbsence: String?

  let context: CUDAContext
  let products: Products
  let cublas: CuBLAS?
  let race: KernelRace

  /// The most columns of a product; sums of more do not fit 32 bits.
  package static let columnLimit = 65536

  /// The blocks in which many tokens can be multiplied, named by rows and tokens, as in "32x64".
  package static let blocks = Products.Path.allCases.compactMap(\.gemm?.name)

  /// - Parameters:
  ///   - ordinal: the driver's number for the GPU, from 0.
  ///   - isQuick: fewer and shorter samples.
  ///   - cublasLibraries: names or paths of cuBLAS to try; the usual ones when nil, but none if the device is emulated.
  /// - Throws: `CUDAError` when there is no driver, no such GPU, or it is too old.
  package init(device ordinal: Int = 0, isQuick: Bool = false, cublasLibraries: [String]? = nil) throws(CUDAError) {
    let driver = try CUDADriver.load()
    driverVersion = driver.version
    device = try driver.device(ordinal)
    isEmulated = device.isEmulated
    context = try CUDAContext(device)
    products = Products(try KernelLibrary(context))
    race = try KernelRace(products.library.stream, effort: isEmulated ? .emulated : isQuick ? .quick : .full)
    let libraries = cublasLibraries ?? (isEmulated ? [] : CuBLAS.usualLibraries)
    if libraries.isEmpty {
      (cublas, cublasAbsence) = (nil, "cuBLAS is not looked for" + (isEmulated ? ", as the device is emulated" : ""))
    } else {
      do throws(CuBLAS.Unavailable) {
        (cublas, cublasAbsence) = (try CuBLAS.open(context, stream: race.stream, libraries: libraries), nil)
      } catch {
        (cublas, cublasAbsence) = (nil, "no cuBLAS: \(error)")
      }
    }
  }

  /// The bytes per second that a copy in device memory reads and writes together; the median of several copies.
  package func copyBytesPerSecond() throws(CUDAError) -> Double {
    let byteCount = isEmulated ? 1 << 20 : max(1 << 20, min(1 << 30, try context.memory().free / 4))
    let (source, target) = (
      try CUDABuffer(context, byteCount: byteCount), try CUDABuffer(context, byteCount: byteCount)
    )
    try source.fill(byte: 1)
    let samples = try race.run([
      KernelRace.Contender(copyCount: 1) { (_) throws(CUDAError) in
        try self.race.stream.copy(device: source.address, to: target.address, byteCount: byteCount)
      }
    ])
    return 2 * Double(byteCount) / samples[0].sorted()[samples[0].count / 2]
  }

  /// Copies a problem's weights to the device, as many times as the measurement needs.
  ///
  /// - Parameter problem: of a matrix of one part, at most `columnLimit` columns.
  /// - Throws: `CUDAError.parameter` for several parts or too many columns, `.outOfMemory`.
  package func load(_ problem: ProductProblem) throws(CUDAError) -> CUDAKernelBenchmarkMatrix {
    guard problem.matrix.parts.count == 1 else {
      throw .parameter(name: "the number of stacked matrices", found: "\(problem.matrix.parts.count)", expected: "1")
    }
    guard problem.columns <= Self.columnLimit else {
      throw .parameter(
        name: "the number of columns", found: "\(problem.columns)", expected: "at most \(Self.columnLimit)")
    }
    return try CUDAKernelBenchmarkMatrix(self, problem)
  }
}

package import BitNetCUDADriver

/// NVIDIA's library of dense products, with which other kernels are compared. It is loaded at run time.
///
/// Only benchmarks use it.
package final class CuBLAS {
  /// The reason why the library cannot be used, in a sentence.
  package struct Unavailable: Error, Sendable, CustomStringConvertible {
    package let description: String
  }

  /// The names to try: first for the system's loader, then the toolkit's usual folder.
  package static let usualLibraries =
    ["libcublas.so.13", "libcublas.so.12", "libcublas.so.11", "libcublas.so", "/usr/local/cuda/lib64/libcublas.so"]

  package let context: CUDAContext
  /// The version, as in "12.4.5".
  package let version: String
  private let stream: CUDAStream
  private let functions: Functions
  private let handle: OpaquePointer
  /// Memory for the products' sums. It is allocated in advance so that products can be recorded in graphs.
  private let workspace: CUDABuffer

  /// NVIDIA's recommendation for Hopper; older devices need less.
  private static let workspaceByteCount = 32 << 20

  /// Opens the first of the libraries that works on the context's device, for products on one stream.
  ///
  /// - Parameters:
  ///   - stream: a stream of the same context.
  ///   - libraries: names for the system's loader, or paths.
  /// - Throws: `Unavailable` when none works, or the GPU's memory is full.
  package static func open(
    _ context: CUDAContext, stream: CUDAStream, libraries: [String] = usualLibraries
  ) throws(Unavailable) -> CuBLAS {
    // An older library may work where the newest needs a newer driver.
    var reasons: [String] = []
    for name in libraries {
      guard let library = try? SharedLibrary(name) else { continue }
      do throws(CUDAError) {
        return try CuBLAS(context, stream, Functions(library))
      } catch .functionMissing(let function) {
        reasons.append("\(name) has no function \(function)")
      } catch {
        reasons.append("\(name): \(error)")
      }
    }
    throw Unavailable(
      description: reasons.isEmpty
        ? "none of \(libraries.joined(separator: ", ")) can be opened" : reasons.joined(separator: "; "))
  }

  private init(_ context: CUDAContext, _ stream: CUDAStream, _ functions: Functions) throws(CUDAError) {
    self.context = context
    self.stream = stream
    self.functions = functions
    version = try functions.version()
    workspace = try CUDABuffer(context, byteCount: Self.workspaceByteCount)
    try context.makeCurrent()
    handle = try functions.create()
    // From here on `deinit` destroys the handle. Set the stream first, because that resets the workspace.
    try Functions.check(functions.setStream(handle, stream.handle), "cublasSetStream")
    try Functions.check(functions.setWorkspace(handle, workspace.address, workspace.byteCount), "cublasSetWorkspace")
  }

  deinit {
    try? context.makeCurrent()
    _ = functions.destroy(handle)
  }

  /// Starts out = x · weightsᵀ in bfloat16 with sums in Float, on the library's stream.
  ///
  /// - Parameters:
  ///   - weights: the address of `[rows][columns]`.
  ///   - x: the address of `[tokens][columns]`.
  ///   - out: the address of `[tokens][rows]`.
  package func multiply(weights: UInt64, rows: Int, columns: Int, x: UInt64, tokens: Int, out: UInt64) throws(CUDAError)
  {
    try context.makeCurrent()
    var (one, zero): (Float, Float) = (1, 0)
    // The library is column-major: it sees the weights as [columns][rows], to be transposed, and the tokens as columns.
    let status = functions.gemm(
      handle, Transposition.yes, Transposition.no, Int32(rows), Int32(tokens), Int32(columns), &one, weights,
      DataType.bfloat16,
      Int32(columns), x, DataType.bfloat16, Int32(columns), &zero, out, DataType.bfloat16, Int32(rows),
      ComputeType.float,
      Algorithm.automatic)
    try Functions.check(status, "cublasGemmEx", "\(rows)×\(columns), \(tokens) tokens")
  }
}

// The numbers of cublas_api.h and library_types.h.
private enum Transposition {
  static let no: Int32 = 0
  static let yes: Int32 = 1
}
private enum DataType { static let bfloat16: Int32 = 14 }
private enum ComputeType { static let float: Int32 = 68 }
private enum Algorithm { static let automatic: Int32 = -1 }

/// The library's functions that are used.
private struct Functions {
  typealias Status = Int32

  let setStream: @convention(c) (OpaquePointer, CUstream?) -> Status
  let setWorkspace: @convention(c) (OpaquePointer, CUdeviceptr, Int) -> Status
  let gemm:
    @convention(c) (
      OpaquePointer, _ transposeA: Int32, _ transposeB: Int32, _ m: Int32, _ n: Int32, _ k: Int32,
      _ alpha: UnsafePointer<Float>,
      _ a: CUdeviceptr, _ typeA: Int32, _ strideA: Int32, _ b: CUdeviceptr, _ typeB: Int32, _ strideB: Int32,
      _ beta: UnsafePointer<Float>, _ c: CUdeviceptr, _ typeC: Int32, _ strideC: Int32, _ compute: Int32,
      _ algorithm: Int32
    ) -> Status
  let destroy: @convention(c) (OpaquePointer) -> Status
  private let cublasCreate: @convention(c) (UnsafeMutablePointer<OpaquePointer?>) -> Status
  private let getProperty: @convention(c) (Int32, UnsafeMutablePointer<Int32>) -> Status

  init(_ library: SharedLibrary) throws(CUDAError) {
    setStream = try library.function("cublasSetStream_v2")
    setWorkspace = try library.function("cublasSetWorkspace_v2")
    gemm = try library.function("cublasGemmEx")
    destroy = try library.function("cublasDestroy_v2")
    cublasCreate = try library.function("cublasCreate_v2")
    getProperty = try library.function("cublasGetProperty")
  }

  func create() throws(CUDAError) -> OpaquePointer {
    var handle: OpaquePointer?
    let status = cublasCreate(&handle)
    try Self.check(status, "cublasCreate")
    guard let handle else { throw .call(function: "cublasCreate", result: Self.result(status), detail: "no handle") }
    return handle
  }

  /// The version, from its major, minor and patch numbers.
  func version() throws(CUDAError) -> String {
    var parts: [String] = []
    for property: Int32 in 0...2 {
      var value: Int32 = 0
      try Self.check(getProperty(property, &value), "cublasGetProperty")
      parts.append("\(value)")
    }
    return parts.joined(separator: ".")
  }

  static func check(_ status: Status, _ function: String, _ detail: @autoclosure () -> String = "") throws(CUDAError) {
    guard status != 0 else { return }
    throw .call(function: function, result: result(status), detail: detail())
  }

  private static func result(_ status: Status) -> CUDAResult {
    let (name, text) =
      switch status {
      case 1: ("NOT_INITIALIZED", "the library could not be started on this device")
      case 3: ("ALLOC_FAILED", "memory could not be allocated")
      case 7: ("INVALID_VALUE", "an argument is invalid")
      case 8: ("ARCH_MISMATCH", "the device lacks a feature")
      case 11: ("MAPPING_ERROR", "memory could not be accessed")
      case 13: ("EXECUTION_FAILED", "the product failed on the device")
      case 14: ("INTERNAL_ERROR", "an internal operation failed")
      case 15: ("NOT_SUPPORTED", "the operation is not supported")
      default: ("unnamed", "unknown error")
      }
    return CUDAResult(
      code: UInt32(bitPattern: status), name: name == "unnamed" ? name : "CUBLAS_STATUS_\(name)", text: text)
  }
}

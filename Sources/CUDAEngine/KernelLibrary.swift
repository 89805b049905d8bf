import CUDADriver
import CUDAKernels

/// The kernels, by the names they have in Sources/CUDAKernels.
package enum Kernel: String, CaseIterable {
  case embedRows = "embed_rows"
  case quantizeRows = "quantize_rows"
  case gemvProject = "gemv_project"
  case gemvAdd = "gemv_add"
  case gemvActivate = "gemv_activate"
  case gemvExact = "gemv_exact"
  case fewProject = "few_project"
  case fewAdd = "few_add"
  case fewActivate = "few_activate"
  case fewExact = "few_exact"
  case gemmProject = "gemm_project"
  case gemmAdd = "gemm_add"
  case gemmActivate = "gemm_activate"
  case gemmExact = "gemm_exact"
  case rotateAndAppend = "rotate_and_append"
  case attendDecode = "attend_decode"
  case attendPrompt = "attend_prompt"
  case head1 = "head_1"
  case head4 = "head_4"
  case head8 = "head_8"
  case screenBuild = "screen_build"
  case screen1 = "screen_1"
  case screen4 = "screen_4"
  case screenRescore = "screen_rescore"
  case sampleRows = "sample_rows"
  case decodeOne = "decode_one"
  case decodeFew = "decode_few"
  case decodeOneSmall = "decode_one_small"
  case decodeOneTraced = "decode_one_traced"
  case decodeOneSmallTraced = "decode_one_small_traced"
  case decodeFewTraced = "decode_few_traced"

  /// The file that holds it.
  package var image: String {
    switch self {
    case .embedRows, .quantizeRows: "rows"
    case .gemvProject, .gemvAdd, .gemvActivate, .gemvExact: "gemv"
    case .fewProject, .fewAdd, .fewActivate, .fewExact: "few"
    case .gemmProject, .gemmAdd, .gemmActivate, .gemmExact: "gemm"
    case .rotateAndAppend: "rotary"
    case .attendDecode: "attention_decode"
    case .attendPrompt: "attention_prompt"
    case .head1, .head4, .head8: "head"
    case .screenBuild, .screen1, .screen4, .screenRescore: "screen"
    case .sampleRows: "sample"
    case .decodeOne, .decodeOneSmall: "decode_one"
    case .decodeFew: "decode"
    case .decodeOneTraced, .decodeOneSmallTraced, .decodeFewTraced: "decode_traced"
    }
  }

  /// Threads of a block.
  package var threads: Int {
    switch self {
    case .gemmProject, .gemmAdd, .gemmActivate, .gemmExact, .attendPrompt: 128
    case .decodeOne, .decodeOneSmall, .decodeOneTraced, .decodeOneSmallTraced: 512
    case .sampleRows: 1024
    default: 256
    }
  }
}

/// The kernels on one device, each loaded when it is first wanted, and the stream they are launched on.
package final class KernelLibrary {
  package let context: CUDAContext
  package let stream: CUDAStream
  private var modules: [String: CUDAModule] = [:]
  private var functions: [Kernel: CUDAFunction] = [:]
  /// Dynamic shared memory that each function has been allowed.
  private var allowed: [Kernel: Int] = [:]
  private struct Residency: Hashable {
    let kernel: Kernel
    let sharedBytes: Int
  }
  private var residencies: [Residency: Int] = [:]
  /// What every function may have without being allowed more.
  private static let commonSharedBytes = 48 << 10

  package init(_ context: CUDAContext) throws(CUDAError) {
    self.context = context
    stream = try CUDAStream(context)
  }

  @discardableResult
  package func function(_ kernel: Kernel) throws(CUDAError) -> CUDAFunction {
    if let function = functions[kernel] { return function }
    let module: CUDAModule
    if let loaded = modules[kernel.image] {
      module = loaded
    } else {
      module = try KernelImages.withImage(kernel.image) { (ptx) throws(CUDAError) in
        try CUDAModule(context, ptx: ptx, name: kernel.image)
      }
      modules[kernel.image] = module
    }
    let function = try module.function(kernel.rawValue)
    functions[kernel] = function
    return function
  }

  /// Loads a kernel and lets it have the shared memory it will be launched with.
  @discardableResult
  package func prepared(_ kernel: Kernel, sharedBytes: Int) throws(CUDAError) -> CUDAFunction {
    let function = try function(kernel)
    if sharedBytes > max(Self.commonSharedBytes, allowed[kernel] ?? 0) {
      try function.allowSharedMemory(sharedBytes)
      allowed[kernel] = sharedBytes
    }
    return function
  }

  package func launch(
    _ kernel: Kernel, _ grid: CUDAGrid, sharedBytes: Int = 0, cooperative: Bool = false, _ arguments: CUDAArgument...
  ) throws(CUDAError) {
    try launch(kernel, grid, sharedBytes: sharedBytes, cooperative: cooperative, arguments: arguments)
  }

  package func launch(
    _ kernel: Kernel, _ grid: CUDAGrid, sharedBytes: Int = 0, cooperative: Bool = false, arguments: [CUDAArgument]
  ) throws(CUDAError) {
    try stream.launch(
      prepared(kernel, sharedBytes: sharedBytes), grid: grid, threads: kernel.threads, sharedBytes: sharedBytes, cooperative: cooperative,
      arguments: arguments)
  }

  /// Blocks of a kernel that the whole device runs at once.
  package func residentBlocks(_ kernel: Kernel, sharedBytes: Int) throws(CUDAError) -> Int {
    let key = Residency(kernel: kernel, sharedBytes: sharedBytes)
    if let blocks = residencies[key] { return blocks }
    let function = try prepared(kernel, sharedBytes: sharedBytes)
    let blocks = try function.maximumBlocksPerMultiprocessor(threads: kernel.threads, sharedBytes: sharedBytes)
    residencies[key] = blocks * context.device.multiprocessorCount
    return residencies[key]!
  }
}

extension CUDAArgument {
  /// A struct of CUDAKernels.h, byte by byte.
  package static func value<Value: BitwiseCopyable>(_ value: Value) -> CUDAArgument { .bytes(withUnsafeBytes(of: value) { Array($0) }) }
}

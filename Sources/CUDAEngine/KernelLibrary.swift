package import BitNetCUDADriver
import CBitNetCUDAKernels

/// The kernels, by the names they have in Sources/CUDAKernels.
package enum Kernel: String, CaseIterable {
  case embedRows = "embed_rows"
  case quantizeRows = "quantize_rows"
  case quantizeParts = "quantize_parts"
  case normalizeHeads = "normalize_heads"
  case addBranch = "add_branch"
  case gateRows = "gate_rows"
  case scaleOutputs = "scale_outputs"
  case gemvProject = "gemv_project"
  case gemvAdd = "gemv_add"
  case gemvActivate = "gemv_activate"
  case gemvExact = "gemv_exact"
  case fewProject = "few_project"
  case fewAdd = "few_add"
  case fewActivate = "few_activate"
  case fewExact = "few_exact"
  case gemm32x64Project = "gemm32x64_project"
  case gemm32x64Add = "gemm32x64_add"
  case gemm32x64Activate = "gemm32x64_activate"
  case gemm32x64Exact = "gemm32x64_exact"
  case gemm64x64Project = "gemm64x64_project"
  case gemm64x64Add = "gemm64x64_add"
  case gemm64x64Activate = "gemm64x64_activate"
  case gemm64x64Exact = "gemm64x64_exact"
  case gemm128x64Project = "gemm128x64_project"
  case gemm128x64Add = "gemm128x64_add"
  case gemm128x64Activate = "gemm128x64_activate"
  case gemm128x64Exact = "gemm128x64_exact"
  case gemm96x128Project = "gemm96x128_project"
  case gemm96x128Add = "gemm96x128_add"
  case gemm96x128Activate = "gemm96x128_activate"
  case gemm96x128Exact = "gemm96x128_exact"
  case gemm128x128Project = "gemm128x128_project"
  case gemm128x128Add = "gemm128x128_add"
  case gemm128x128Activate = "gemm128x128_activate"
  case gemm128x128Exact = "gemm128x128_exact"
  case gemm256x128Project = "gemm256x128_project"
  case gemm256x128Add = "gemm256x128_add"
  case gemm256x128Activate = "gemm256x128_activate"
  case gemm256x128Exact = "gemm256x128_exact"
  case rotateAndAppend = "rotate_and_append"
  case attendDecode = "attend_decode"
  case attendPrompt = "attend_prompt"
  case attendWindow = "attend_window"
  case head1 = "head_1"
  case head4 = "head_4"
  case head8 = "head_8"
  case screenBuild = "screen_build"
  case screen1 = "screen_1"
  case screen4 = "screen_4"
  case screenTokens = "screen_tokens"
  case screenMany = "screen_many"
  case screenCuts = "screen_cuts"
  case screenRescore = "screen_rescore"
  case adjustRows = "adjust_rows"
  case sampleRows = "sample_rows"
  case describeRows = "describe_rows"
  case decodeOne = "decode_one"
  case decodeFew = "decode_few"
  case decodeOneSmall = "decode_one_small"
  case decodeResident = "decode_resident"
  case decodeOneTraced = "decode_one_traced"
  case decodeOneSmallTraced = "decode_one_small_traced"
  case decodeFewTraced = "decode_few_traced"
  case decodeResidentTraced = "decode_resident_traced"

  /// The file that holds it.
  package var image: String {
    switch self {
    case .embedRows, .quantizeRows: "rows"
    case .quantizeParts, .normalizeHeads, .addBranch, .gateRows, .scaleOutputs: "normed"
    case .gemvProject, .gemvAdd, .gemvActivate, .gemvExact: "gemv"
    case .fewProject, .fewAdd, .fewActivate, .fewExact: "few"
    case .gemm32x64Project, .gemm32x64Add, .gemm32x64Activate, .gemm32x64Exact, .gemm64x64Project, .gemm64x64Add,
      .gemm64x64Activate, .gemm64x64Exact, .gemm128x64Project, .gemm128x64Add, .gemm128x64Activate, .gemm128x64Exact,
      .gemm96x128Project, .gemm96x128Add, .gemm96x128Activate, .gemm96x128Exact, .gemm128x128Project, .gemm128x128Add,
      .gemm128x128Activate, .gemm128x128Exact, .gemm256x128Project, .gemm256x128Add, .gemm256x128Activate,
      .gemm256x128Exact:
      "gemm"
    case .rotateAndAppend: "rotary"
    case .attendDecode: "attention_decode"
    case .attendPrompt: "attention_prompt"
    case .attendWindow: "attention_window"
    case .head1, .head4, .head8: "head"
    case .screenBuild, .screen1, .screen4, .screenTokens, .screenMany, .screenRescore: "screen"
    case .screenCuts: "screen_cuts"
    case .adjustRows, .sampleRows, .describeRows: "sample"
    case .decodeOne, .decodeOneSmall: "decode_one"
    case .decodeFew: "decode"
    case .decodeResident: "decode_resident"
    case .decodeOneTraced, .decodeOneSmallTraced, .decodeFewTraced: "decode_traced"
    case .decodeResidentTraced: "resident_traced"
    }
  }

  /// The first compute capability that has the kernel's instructions: 90 is 9.0.
  package var capability: Int {
    switch self {
    case .decodeResident, .decodeResidentTraced: 90
    default: 80
    }
  }

  /// Threads of a block.
  package var threads: Int {
    switch self {
    case .attendPrompt, .attendWindow: 128
    case .decodeOne, .decodeOneSmall, .decodeResident, .decodeOneTraced, .decodeOneSmallTraced, .decodeResidentTraced:
      512
    case .adjustRows, .sampleRows, .describeRows: 1024
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
  /// Dynamic shared memory that a function may have without being allowed more.
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

  /// Starts a kernel.
  ///
  /// - Parameter parameters: the kernel's struct in CUDAKernels.h.
  package func launch<Parameters: BitwiseCopyable>(
    _ kernel: Kernel, _ grid: CUDAGrid, sharedBytes: Int = 0, cooperative: Bool = false, _ parameters: Parameters
  ) throws(CUDAError) {
    try stream.launch(
      prepared(kernel, sharedBytes: sharedBytes), grid: grid, threads: kernel.threads, sharedBytes: sharedBytes,
      cooperative: cooperative, .value(parameters))
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

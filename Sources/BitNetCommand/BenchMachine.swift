import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDiagnostics
import BitNetInference
import BitNetModelFiles
import BitNetTokenization

/// What the kernels are measured on.
enum BenchMachine {
  case cuda(CUDAKernelBenchmark)
  case cpu(CPUKernelBenchmark)

  /// What a product gave and how long it took, whatever computed it.
  struct Measurement {
    let kernel: String
    let products: [Int32]
    let stride: Int
    let copies: Int
    let cold: [Double]
    let warm: [Double]
    let bf16: CUDAKernelBenchmark.Times?
    let bf16Absence: String?
  }

  /// - Returns: the machine, and why it is this one.
  static func choose(
    _ device: DeviceChoice, threads: Int?, instructionSet: InstructionSet?, isQuick: Bool
  ) throws -> (BenchMachine, reason: String) {
    func processor() -> BenchMachine {
      .cpu(CPUKernelBenchmark(threads: threads, instructionSet: instructionSet, isQuick: isQuick))
    }
    switch device {
    case .cpu: return (processor(), "as asked for")
    case .cuda(let ordinal): return (.cuda(try CUDAKernelBenchmark(device: ordinal, isQuick: isQuick)), "as asked for")
    case .auto:
      do {
        return (.cuda(try CUDAKernelBenchmark(isQuick: isQuick)), "a driver and a GPU are there")
      } catch {
        return (processor(), "no GPU can be used: \(error)")
      }
    }
  }

  /// Describes the machine, which includes measuring its memory.
  func describe(reason: String) -> BenchReport.Machine {
    switch self {
    case .cuda(let benchmark):
      let memory = Result { () throws(CUDAError) in try benchmark.copyBytesPerSecond() }
      return .init(
        device: "cuda:\(benchmark.device.ordinal)", name: benchmark.device.name, reason: reason,
        emulated: benchmark.isEmulated,
        driver: CUDADriver.versionName(benchmark.driverVersion), threads: nil, memoryBytesPerSecond: try? memory.get(),
        memoryMeasure: "copy", memoryError: memory.failure, bf16Library: benchmark.cublasVersion.map { "cuBLAS \($0)" })
    case .cpu(let benchmark):
      return .init(
        device: "cpu", name: benchmark.instructionSet.rawValue, reason: reason, emulated: false, driver: nil,
        threads: benchmark.threads,
        memoryBytesPerSecond: benchmark.readBytesPerSecond(), memoryMeasure: "read", memoryError: nil, bf16Library: nil)
    }
  }

  /// - Returns: a function that multiplies the problem's first tokens, on a GPU in blocks of a certain shape if told,
  ///   and times it.
  func load(_ problem: ProductProblem) throws -> (_ tokens: Int, _ block: String?) throws -> Measurement {
    switch self {
    case .cuda(let benchmark):
      let loaded = try benchmark.load(problem)
      return { tokens, block in
        let m = try loaded.measure(tokens: tokens, block: block)
        return Measurement(
          kernel: m.kernel, products: m.products, stride: m.stride, copies: m.times.copyCount, cold: m.times.cold,
          warm: m.times.warm,
          bf16: m.bfloat16, bf16Absence: m.bfloat16Absence)
      }
    case .cpu(let benchmark):
      let loaded = benchmark.load(problem)
      return { tokens, _ in
        let m = loaded.measure(tokens: tokens)
        return Measurement(
          kernel: benchmark.instructionSet.rawValue, products: m.products, stride: m.stride, copies: loaded.copyCount,
          cold: m.cold,
          warm: m.warm, bf16: nil, bf16Absence: "it is measured on GPUs only")
      }
    }
  }
}

extension Result {
  /// The error as a sentence.
  var failure: String? {
    guard case .failure(let error) = self else { return nil }
    return "\(error)"
  }
}

import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetDiagnostics

/// The device whose kernels are measured.
enum BenchMachine {
  case cuda(CUDAKernelBenchmark)
  case cpu(CPUKernelBenchmark)

  /// The results of a product and its times, on any device.
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

  /// - Returns: the machine, and the reason for the choice.
  static func choose(
    _ device: DeviceChoice, threads: Int?, instructionSet: InstructionSet?, isQuick: Bool
  ) throws -> (BenchMachine, reason: String) {
    func processor() -> BenchMachine {
      .cpu(CPUKernelBenchmark(threads: threads, instructionSet: instructionSet, isQuick: isQuick))
    }
    switch device {
    case .cpu: return (processor(), "chosen by --device")
    case .cuda(let ordinal):
      return (.cuda(try CUDAKernelBenchmark(device: ordinal, isQuick: isQuick)), "chosen by --device")
    case .auto:
      do {
        return (.cuda(try CUDAKernelBenchmark(isQuick: isQuick)), "a GPU is available")
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

  /// - Returns: a function that multiplies the problem's first tokens and times the product. On a GPU, `block` names
  ///   the shape of the blocks, or is nil for the engine's choice.
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
          warm: m.warm, bf16: nil, bf16Absence: "measured only on GPUs")
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

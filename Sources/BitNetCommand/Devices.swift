import ArgumentParser
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetDiagnostics

struct Devices: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "List the CPU and the GPUs that models can run on.",
    discussion: """
      Examples:
        bitnet devices
        bitnet devices --bandwidth
        bitnet devices --bandwidth --threads 1 --json
      """)

  private struct Report: Encodable {
    struct CPU: Encodable {
      let threads: Int
      let instructionSets: [String]
      /// With --bandwidth: bytes read from memory per second.
      let bytesPerSecond: Double?
    }
    struct GPU: Encodable {
      /// The value for --device.
      let device: String
      let name: String
      let computeCapability: String
      let multiprocessors: Int
      let memoryBytes: Int
      /// Computed from the bus width and the clock that the driver reports.
      let nominalBytesPerSecond: Double?
      /// With --bandwidth: bytes that a copy reads and writes per second.
      let bytesPerSecond: Double?
    }
    let cpu: CPU
    let gpus: [GPU]
    /// The reason why no GPU can be used; nil if there are GPUs.
    let noGPU: String?
    /// The driver's CUDA version.
    let cudaVersion: String?
  }

  @Flag(
    help: "Measure the memory bandwidth, which bounds the speed of decoding. Takes a second and 0.5 GB of memory.")
  var bandwidth = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The number of threads that read memory. (default: one per physical core)", valueName: "count"))
  var threads: Int?

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    try ProcessorOptions.check(threads: threads)
    let report = try makeReport()
    if json { return try ByteOutput.standard.write(jsonText(report)) }
    var rows = [
      ("  threads by default", "\(report.cpu.threads)"),
      ("  instruction sets", "\(report.cpu.instructionSets.joined(separator: ", ")) (the first is the default)"),
    ]
    if let speed = report.cpu.bytesPerSecond { rows.append(("  memory", "\((speed / 1e9).decimals(1)) GB/s read")) }
    try ByteOutput.standard.write("cpu\n" + table(rows))
    for gpu in report.gpus {
      var rows = [
        ("  name", gpu.name), ("  compute capability", gpu.computeCapability),
        ("  multiprocessors", "\(gpu.multiprocessors)"),
      ]
      let nominal = gpu.nominalBytesPerSecond.map { ", \(($0 / 1e9).decimals(0)) GB/s nominal" } ?? ""
      rows.append(("  memory", "\((Double(gpu.memoryBytes) / 1e9).decimals(1)) GB" + nominal))
      if let speed = gpu.bytesPerSecond {
        rows.append(("  copy", "\((speed / 1e9).decimals(1)) GB/s read and written"))
      }
      try ByteOutput.standard.write(gpu.device + "\n" + table(rows))
    }
    if let reason = report.noGPU { try ByteOutput.standard.write("cuda\n" + table([("  none", reason)])) }
  }

  private func makeReport() throws -> Report {
    let cpu = Report.CPU(
      threads: CPUEngine.defaultThreads, instructionSets: InstructionSet.available.map(\.rawValue),
      bytesPerSecond: bandwidth ? MemoryBandwidth.measure(threads: threads) : nil)
    do {
      let driver = try CUDADriver.load()
      let gpus = try driver.devices().map { device in
        Report.GPU(
          device: "cuda:\(device.ordinal)", name: device.name,
          computeCapability: "\(device.capability.major).\(device.capability.minor)",
          multiprocessors: device.multiprocessorCount, memoryBytes: device.memoryByteCount,
          nominalBytesPerSecond: device.memoryBytesPerSecond,
          bytesPerSecond: bandwidth ? try DeviceBandwidth.measure(device) : nil)
      }
      return Report(
        cpu: cpu, gpus: gpus, noGPU: gpus.isEmpty ? "\(CUDAError.noDevice)" : nil,
        cudaVersion: CUDADriver.versionName(driver.version))
    } catch let error as CUDAError {
      return Report(cpu: cpu, gpus: [], noGPU: "\(error)", cudaVersion: nil)
    }
  }
}

import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles
import BitNetTokenization
import Foundation
import TestSupport
import Testing

#if canImport(FoundationXML)
  import FoundationXML
#endif

@Suite("bitnet bench kernels")
struct BenchKernelsTests {
  private struct Report: Decodable {
    struct Machine: Decodable {
      let device: String
      let name: String
      let reason: String
      let emulated: Bool
      let driver: String?
      let threads: Int?
      let memory_bytes_per_second: Double?
      let memory_error: String?
    }
    struct Times: Decodable {
      let median: Double
      let minimum: Double
      let percentile10: Double
      let percentile90: Double
      let samples: Int
    }
    struct Timing: Decodable {
      let copies: Int
      let copied_bytes: Int
      let cold: Times
      let warm: Times
    }
    struct Check: Decodable {
      let exact: Bool
      let products: Int
      let compared: Int
      let rows_of_every_token: Int
      let wrong: Int
    }
    struct Result: Decodable {
      let shape: String
      let rows: Int
      let columns: Int
      let tokens: Int
      let kernel: String
      let check: Check
      let w2a8: Timing
      let bf16: Timing?
      let bf16_absence: String?
      let speedup: Double?
      let bytes_per_second: Double
      let share_of_memory: Double?
    }
    struct Failure: Decodable {
      let shape: String
      let rows: Int
      let columns: Int
      let tokens: Int
      let error: String
    }
    struct End: Decodable {
      let products: Int
      let wrong: Int
      let failed: Int
      let equal: Bool
    }
    let machine: Machine
    let results: [Result]

    /// Decodes a report without failures.
    init(_ bytes: Data) throws {
      let lines = try JSONLines(bytes)
      machine = try lines.one("machine")
      results = try lines.all("product")
      let end = try lines.one("end", as: End.self)
      #expect(lines.kinds == ["machine"] + results.map { _ in "product" } + ["end"])
      #expect(end.products == results.count && end.wrong == 0 && end.failed == 0 && end.equal)
    }
  }

  private static let shapes = ["64x128", "16x32", "1x1", "17x100", "130x257"]
  private static let shapeArguments = shapes.flatMap { ["--shape", $0] }

  private func check(_ report: Report, batches: [Int]) {
    let cases = Self.shapes.flatMap { shape in batches.map { "\(shape), \($0)" } }
    #expect(report.results.map { "\($0.shape), \($0.tokens)" } == cases)
    for result in report.results {
      let name = "\(result.shape), \(result.tokens) tokens"
      #expect(result.check.exact && result.check.wrong == 0, "\(name)")
      // These shapes are small enough to compare all numbers.
      #expect(
        result.check.products == result.rows * result.tokens && result.check.compared == result.check.products,
        "\(name)")
      #expect(result.check.rows_of_every_token == result.rows, "\(name)")
      for times in [result.w2a8.cold, result.w2a8.warm] {
        #expect(times.samples >= 2 && times.minimum > 0, "\(name)")
        #expect(
          times.minimum <= times.percentile10 && times.percentile10 <= times.median
            && times.median <= times.percentile90, "\(name)")
      }
      #expect(result.bf16 == nil && result.speedup == nil && result.bf16_absence != nil, "\(name)")
      let speed = Double(result.rows * result.columns) / 4 / result.w2a8.cold.median
      #expect(abs(result.bytes_per_second / speed - 1) < 1e-9, "\(name)")
      let (share, memory) = (result.share_of_memory ?? 0, report.machine.memory_bytes_per_second ?? 0)
      #expect(abs(share * memory / speed - 1) < 1e-9, "\(name)")
    }
  }

  #if os(Linux)
    @Test("measures an emulated GPU, finds every kernel exact, and says that the times mean nothing")
    func gpu() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        let plot = folder["plot.svg"]
        let output = try await BitNetProgram.run(
          [
            "bench", "kernels", "--quick", "--device", "cuda", "--batch", "1,2,8,20,64,70", "--json", "--plot",
            plot.path,
          ]
            + Self.shapeArguments, environment: environment)
        #expect(output.status == 0, "\(output.errors)")
        let report = try Report(output.bytes)
        #expect(
          report.machine.device == "cuda:0" && report.machine.name.contains("emulated") && report.machine.emulated)
        #expect(report.machine.driver == "12.1" && report.machine.threads == nil)
        check(report, batches: [1, 2, 8, 20, 64, 70])
        for result in report.results {
          if result.tokens == 1 {
            #expect(result.kernel == "gemv_exact")
          } else {
            #expect(result.tokens <= 8 ? result.kernel == "few_exact" : result.kernel.hasPrefix("gemm"))
          }
        }
        let drawing = try XMLElements(plot)
        #expect(drawing.names.first == "svg")
        #expect(drawing.names.count { $0 == "rect" } == 1 + 1 + Self.shapes.count)
        #expect(Self.shapes.allSatisfy(drawing.text.contains) && drawing.text.contains("the times mean nothing"))

        let table = try await BitNetProgram.run(
          ["bench", "kernels", "--quick", "--shape", "17x100", "--batch", "1,8"], environment: environment)
        #expect(table.status == 0, "\(table.errors)")
        #expect(
          table.text.hasPrefix(
            "cuda:0 (CUDA on CPU (emulated), driver for CUDA 12.1): a GPU is available\nNOTE: "))
        #expect(table.text.contains("all 17\n") && table.text.contains("all 136\n"))
        #expect(table.text.contains("BF16 -: cuBLAS is not looked for, as the device is emulated.\n"))
      }
    }

    @Test("A product that cannot be measured is reported in its place, and the others are measured")
    func failures() async throws {
      try await TemporaryFolder.with { folder in
        // Enough memory for the small products, but not for the large one or for measuring the memory.
        let environment = try emulatedGPU(folder).merging(["CUDA_ON_CPU_MEMORY": "1000000"]) { $1 }
        let arguments = ["bench", "kernels", "--quick", "--device", "cuda", "--batch", "1,8"]
        let shapes = ["64x128", "2000x2000", "16x32"]
        let options = shapes.flatMap { ["--shape", $0] }
        let plot = folder["plot.svg"]
        let output = try await BitNetProgram.run(
          arguments + options + ["--json", "--plot", plot.path], environment: environment)
        #expect(output.status == 1)
        let sentence =
          "Error: 2 of 6 products could not be measured, the first 2000x2000 with 1 token: out of GPU memory: "
        #expect(output.errors.hasPrefix(sentence), "\(output.errors)")
        let lines = try JSONLines(output.bytes)
        let machine = try lines.one("machine", as: Report.Machine.self), end = try lines.one("end", as: Report.End.self)
        #expect(
          machine.memory_bytes_per_second == nil && machine.memory_error?.hasPrefix("out of GPU memory: ") == true)
        #expect(lines.kinds == ["machine"] + Array(repeating: "product", count: 6) + ["end"])
        #expect(end.products == 6 && end.failed == 3 && end.wrong == 0 && !end.equal)
        struct Product: Decodable {
          let shape: String
          let tokens: Int
          let error: String?
          let w2a8: Report.Timing?
        }
        let products = try lines.all("product", as: Product.self)
        #expect(products.map { "\($0.shape), \($0.tokens)" } == shapes.flatMap { ["\($0), 1", "\($0), 8"] })
        #expect(products.map { $0.error == nil } == [true, true, false, false, true, true])
        #expect(products.allSatisfy { ($0.error == nil) == ($0.w2a8 != nil) })
        let drawing = try XMLElements(plot)
        #expect(drawing.text.contains("16x32") && !drawing.text.contains("2000x2000"))

        let table = try await BitNetProgram.run(arguments + options, environment: environment)
        #expect(table.status == 1 && table.text.contains("\nmemory: FAILED: out of GPU memory: "), "\(table.text)")
        let rows = table.text.split(separator: "\n")
        let failed = rows.indices.filter { rows[$0].hasPrefix("2000x2000") }
        #expect(
          failed.count == 2
            && failed.allSatisfy { rows[$0].contains(" FAILED ") && rows[$0 + 1].hasPrefix("  out of GPU memory: ") })
        #expect(rows.contains { $0.hasPrefix("16x32") && $0.hasSuffix(" all 128") }, "\(table.text)")
      }
    }

    @Test("reports a missing GPU, and a GPU with too little memory")
    func noGPU() async throws {
      try await TemporaryFolder.with { folder in
        var environment = try emulatedGPU(folder)
        let arguments = ["bench", "kernels", "--quick", "--shape", "64x128", "--batch", "1"]
        for (device, more, sentence) in [
          ("cuda:3", ["CUDA_ON_CPU_DEVICES": "1"], "there is no GPU 3; expected 0, the only one"),
          ("cuda", ["CUDA_ON_CPU_DEVICES": "0"], "no NVIDIA GPU: the driver is installed but finds none"),
          (
            "cuda", ["CUDA_ON_CPU_MEMORY": "1000"],
            "1 of 1 product could not be measured, the first 64x128 with 1 token: out of GPU"
          ),
        ] {
          let output = try await BitNetProgram.run(
            arguments + ["--device", device], environment: environment.merging(more) { $1 })
          #expect(output.status == 1 && output.errors.hasPrefix("Error: \(sentence)"), "\(output.errors)")
        }
        environment["CUDA_ON_CPU_DEVICES"] = "0"
        let output = try await BitNetProgram.run(arguments, environment: environment)
        #expect(output.status == 0, "\(output.errors)")
        #expect(
          output.text.hasPrefix("cpu (") && output.text.contains("no GPU can be used: no NVIDIA GPU"), "\(output.text)")
      }
    }
  #endif

  @Test("measures the CPU and finds its kernels exact", arguments: ["portable", nil])
  func cpu(instructionSet: String?) async throws {
    try await TemporaryFolder.with { folder in
      let arguments =
        ["bench", "kernels", "--quick", "--device", "cpu"] + (instructionSet.map { ["--instruction-set", $0] } ?? [])
      let plot = folder["plot.svg"]
      let output = try await BitNetProgram.run(
        arguments + ["--threads", "2", "--batch", "1,2,8,65", "--json", "--plot", plot.path] + Self.shapeArguments)
      #expect(output.status == 0, "\(output.errors)")
      let report = try Report(output.bytes)
      #expect(report.machine.device == "cpu" && report.machine.threads == 2 && !report.machine.emulated)
      if let instructionSet { #expect(report.machine.name == instructionSet) }
      check(report, batches: [1, 2, 8, 65])
      for result in report.results {
        // Tiles of 16 rows and 32 columns, with two bits per weight.
        let bytes = (result.rows + 15) / 16 * ((result.columns + 31) / 32) * 128
        #expect(result.w2a8.copied_bytes == result.w2a8.copies * bytes && result.w2a8.copied_bytes > 64 << 20)
      }
      #expect(try XMLElements(plot).names.first == "svg")
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: folder.url.path).filter { $0.contains("partial") }.isEmpty)

      let table = try await BitNetProgram.run(arguments + ["--shape", "17x100", "--batch", "2"])
      #expect(table.status == 0, "\(table.errors)")
      #expect(table.text.hasPrefix("cpu (\(report.machine.name), "))
      #expect(table.text.contains("all 34\n") && table.text.contains("BF16 -: measured only on GPUs.\n"))
    }
  }

  @Test(
    "Mistakes get one sentence",
    arguments: [
      Mistake(
        arguments: ["--shape", "0x5"], sentence: "--shape is \"0x5\"; expected ROWSxCOLUMNS, each from 1 to 1048576"),
      Mistake(arguments: ["--shape", "5"], sentence: "--shape is \"5\"; expected"),
      Mistake(arguments: ["--shape", "2560 x 2560"], sentence: "--shape is \"2560 x 2560\"; expected"),
      Mistake(arguments: ["--shape", "16x16x16"], sentence: "--shape is \"16x16x16\"; expected"),
      Mistake(arguments: ["--shape", "1048577x1"], sentence: "--shape is \"1048577x1\"; expected"),
      Mistake(
        arguments: ["--shape", "99999999999999999999x1"], sentence: "--shape is \"99999999999999999999x1\"; expected"),
      Mistake(
        arguments: ["--shape", "1048576x1048576"],
        sentence: "--shape 1048576x1048576 has 274.88 GB of weights; expected at most"),
      Mistake(arguments: ["--batch", "0"], sentence: "--batch has \"0\"; expected numbers from 1 to 16384"),
      Mistake(arguments: ["--batch", "-1"], sentence: "--batch has \"-1\"; expected"),
      Mistake(arguments: ["--batch", "1,,2"], sentence: "--batch has \"\"; expected"),
      Mistake(arguments: ["--batch", "many"], sentence: "--batch has \"many\"; expected"),
      Mistake(
        arguments: ["--shape", "1048576x16", "--batch", "1,2048"],
        sentence: "--batch has 2048; expected at most 1024 with --shape 1048576x16"),
      Mistake(arguments: ["--threads", "0"], sentence: "--threads is 0; expected 1 to 1024"),
      Mistake(
        arguments: ["--instruction-set", "sse9"],
        sentence: "the instruction set is sse9; expected one that this machine has"),
      Mistake(arguments: ["--plot", "/no/such/folder/plot.svg"], sentence: "/no/such/folder/plot.svg: "),
      Mistake(arguments: ["--device", "tpu"], sentence: "'tpu' is invalid", status: 64),
      Mistake(arguments: ["--device", "cuda:-1"], sentence: "'cuda:-1' is invalid", status: 64),
    ])
  func mistakes(_ mistake: Mistake) async throws {
    let device = mistake.arguments.contains("--device") ? [] : ["--device", "cpu"]
    let output = try await BitNetProgram.run(["bench", "kernels", "--quick"] + device + mistake.arguments)
    #expect(output.status == mistake.status)
    #expect(output.errors.hasPrefix("Error: ") && output.errors.contains(mistake.sentence), "\(output.errors)")
    if mistake.status == 1 { #expect(output.errors.split(separator: "\n").count == 1, "\(output.errors)") }
    #expect(output.text.isEmpty)
  }
}

/// The names of an XML file's elements, in order, and their text. Throws for files that are not well-formed.
private final class XMLElements: NSObject, XMLParserDelegate {
  private(set) var names: [String] = []
  private(set) var text = ""

  private struct NotWellFormed: Error {
    let reason: String
  }

  init(_ url: URL) throws {
    super.init()
    let parser = XMLParser(data: try Data(contentsOf: url))
    parser.delegate = self
    guard parser.parse() else {
      throw NotWellFormed(reason: "\(parser.parserError.map { "\($0)" } ?? "") in line \(parser.lineNumber)")
    }
  }

  func parser(
    _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
    attributes: [String: String]
  ) {
    names.append(name)
  }

  func parser(_ parser: XMLParser, foundCharacters characters: String) { text += characters }
}

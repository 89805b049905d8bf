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

@Suite("bitnet bench model")
struct BenchModelTests {
  private struct Report: Decodable {
    struct Machine: Decodable {
      let name: String
      let emulated: Bool
      let memory_bytes_per_second: Double?
      let memory_measure: String
      let cooperative: Bool?
      let graph: Bool?
      let graph_reason: String?
      let screened: Bool
      let model: Model
      let rounds: Int
    }
    struct Model: Decodable {
      let parameters: Int
      let context_length: Int
      let ternary_bytes: Int
      let head_bytes: Int
      let head_is_screened: Bool
      let cache_bytes_per_position: Int
    }
    struct Rate: Decodable {
      let median: Double
      let minimum: Double
      let maximum: Double
    }
    struct Prompt: Decodable {
      let tokens: Int
      let tokens_per_second: Rate
    }
    struct Decoding: Decodable {
      let sequences: Int
      let depth: Int
      let tokens: Int
      let tokens_per_second: Rate
      let memory_bytes_per_second: Double
      let floor_tokens_per_second: Double
      let share_of_floor: Double
      let ratio_to_one: Double?
    }
    struct Memory: Decodable {
      let weights: Int
      let buffers: Int?
      let cache: Int?
    }
    struct LeftOut: Decodable {
      let sentence: String
    }
    struct End: Decodable {
      let measured: Int
      let failed: Int
      let graph: Bool?
      let graph_reason: String?
    }
    let kinds: [String]
    let machine: Machine
    let prompts: [Prompt]
    let decoding: [Decoding]
    let batches: [Decoding]
    let memory: Memory
    let leftOut: [LeftOut]
    let end: End
    var model: Model { machine.model }

    /// Decodes a report without failures.
    init(_ bytes: Data) throws {
      let lines = try JSONLines(bytes)
      kinds = lines.kinds
      machine = try lines.one("machine")
      prompts = try lines.all("prompt")
      decoding = try lines.all("depth")
      batches = try lines.all("batch")
      memory = try lines.one("memory")
      leftOut = try lines.all("left_out")
      end = try lines.one("end")
    }
  }

  private func check(_ report: Report) throws {
    let configuration = try Fixture.all[0].load().weights.configuration
    #expect(report.model.parameters == configuration.parameterCount && report.machine.rounds == 2)
    #expect(
      report.model.head_bytes == 2 * configuration.vocabularySize * configuration.hiddenSize
        && !report.model.head_is_screened)
    #expect(report.prompts.map(\.tokens) == [3, 16])
    #expect(report.decoding.map(\.depth) == [0, 9] && report.decoding.allSatisfy { $0.sequences == 1 })
    #expect(report.batches.map(\.sequences) == [1, 2] && report.batches.allSatisfy { $0.depth == 0 })
    #expect(
      report.kinds == ["machine", "prompt", "prompt", "depth", "depth", "left_out", "batch", "batch", "memory", "end"])
    #expect(report.end.measured == 6 && report.end.failed == 0)
    #expect(report.leftOut[0].sentence.hasPrefix("decoding after 1000000 tokens: it needs 1000002 positions"))
    for rate in report.prompts.map(\.tokens_per_second) + (report.decoding + report.batches).map(\.tokens_per_second) {
      #expect(rate.minimum > 0 && rate.minimum <= rate.median && rate.median <= rate.maximum)
    }
    for result in report.decoding + report.batches {
      let positions = Double(result.sequences) * (Double(result.depth) + 1)  // on average, in a round of two tokens
      let bytes =
        Double(report.model.ternary_bytes + report.model.head_bytes) + positions
        * Double(report.model.cache_bytes_per_position)
      let floor = Double(result.sequences) * result.memory_bytes_per_second / bytes
      #expect(abs(result.floor_tokens_per_second / floor - 1) < 1e-9 && result.tokens == 2)
      // On the CPU every burst has its own floor.
      #expect(result.share_of_floor > 0 && result.share_of_floor.isFinite)
      if report.machine.memory_measure == "copy" {
        #expect(abs(result.share_of_floor * floor / result.tokens_per_second.median - 1) < 1e-9)
      }
    }
    let ratio = report.batches[1].tokens_per_second.median / report.batches[0].tokens_per_second.median
    #expect(report.batches[0].ratio_to_one == 1 && abs((report.batches[1].ratio_to_one ?? 0) / ratio - 1) < 1e-9)
  }

  private static let arguments = [
    "bench", "model", "--quick", "--model", Fixture.all[0].path, "--prompt", "3,16", "--depth", "0,9,1000000",
    "--tokens", "2",
  ]

  #if os(Linux)
    @Test("measures an emulated GPU and says that the figures mean nothing")
    func gpu() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder).merging(["CUDA_ON_CPU_MEMORY": "200000000"]) { $1 }
        let output = try await BitNetProgram.run(
          Self.arguments + ["--device", "cuda", "--json"], environment: environment)
        #expect(output.status == 0, "\(output.errors)")
        let report = try Report(output.bytes)
        #expect(report.machine.name == "cuda:0 (CUDA on CPU (emulated))" && report.machine.emulated)
        #expect(report.machine.memory_measure == "copy" && report.machine.memory_bytes_per_second ?? 0 > 0)
        #expect(
          report.machine.cooperative == true && report.machine.graph == true && report.machine.graph_reason == nil)
        #expect(!report.machine.screened && report.end.graph == true)
        #expect(report.memory.weights > 0 && (report.memory.buffers ?? 0) > 0 && (report.memory.cache ?? 0) > 0)
        try check(report)

        let table = try await BitNetProgram.run(
          [
            "bench", "model", "--device", "cuda", "--model", Fixture.all[0].path, "--prompt", "4", "--depth",
            "3,1000000", "--batch", "2",
          ]
            + ["--rounds", "1", "--tokens", "1"], environment: environment)
        #expect(table.status == 0, "\(table.errors)")
        #expect(table.text.hasPrefix("cuda:0 (CUDA on CPU (emulated))\nNOTE: this device is emulated"))
        #expect(table.text.contains("\nprompt of 4 ") && table.text.contains("\ndecode after 3 "))
        #expect(!table.text.contains("\ndecoding ") && table.text.contains("\ndecode 2 sequences "))
        #expect(table.text.contains("\nLeft out: decoding after 1000000 tokens: "))
      }
    }

    private static let short = [
      "bench", "model", "--device", "cuda", "--model", Fixture.all[0].path, "--prompt", "2", "--depth", "1", "--batch",
      "2",
      "--rounds", "1", "--tokens", "1",
    ]

    @Test("--screen and --no-cooperative choose the form of the engine")
    func forms() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        for (options, cooperative, screened) in [
          (["--screen", "on"], true, true), (["--screen", "off", "--no-cooperative"], false, false),
        ] {
          let output = try await BitNetProgram.run(Self.short + options + ["--json"], environment: environment)
          #expect(output.status == 0, "\(output.errors)")
          let machine = try Report(output.bytes).machine
          #expect(machine.cooperative == cooperative && machine.graph == cooperative && machine.graph_reason == nil)
          #expect(machine.screened == screened && machine.model.head_is_screened == screened)
        }
        let table = try await BitNetProgram.run(Self.short + ["--no-cooperative"], environment: environment)
        #expect(table.text.contains("\ndecoding          one kernel per operation"), "\(table.text)")
        // Without a GPU there is nothing to choose.
        let none = environment.merging(["CUDA_ON_CPU_DEVICES": "0"]) { $1 }
        let refused = try await BitNetProgram.run(["bench", "model", "--quick", "--no-cooperative"], environment: none)
        #expect(refused.status == 1 && refused.text.isEmpty)
        #expect(
          refused.errors.hasPrefix(
            "Error: --no-cooperative is given; expected it only with a GPU; no GPU can be used: no NVIDIA GPU"),
          "\(refused.errors)")
      }
    }

    @Test("A driver that cannot record cooperative launches is reported, and still measured")
    func noGraph() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder).merging(["CUDA_ON_CPU_REFUSED_COOPERATIVE_LAUNCHES": "1"]) { $1 }
        let output = try await BitNetProgram.run(Self.short + ["--json"], environment: environment)
        #expect(output.status == 0, "\(output.errors)")
        let report = try Report(output.bytes)
        #expect(report.machine.cooperative == true && report.machine.graph == false && report.end.graph == false)
        #expect(report.machine.graph_reason?.hasPrefix("cuLaunchCooperativeKernel ") == true)
        #expect(report.end.measured == 3 && report.end.failed == 0)
        let table = try await BitNetProgram.run(Self.short, environment: environment)
        #expect(
          table.text.contains(
            "\ndecoding          launched kernel by kernel, because no graph could be recorded: cuLaunchCoop"))
      }
    }

    @Test("A measurement that fails is reported in its place, and the others are made")
    func failures() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder).merging(["CUDA_ON_CPU_REFUSED_COOPERATIVE_LAUNCHES": "2"]) { $1 }
        let options = ["--depth", "0,3", "--batch", "1,9"]
        let output = try await BitNetProgram.run(Self.short + options + ["--json"], environment: environment)
        #expect(output.status == 1 && output.errors == "Error: 3 measurements failed\n", "\(output.errors)")
        struct Line: Decodable {
          let depth: Int?
          let sequences: Int?
          let error: String?
          let tokens_per_second: Report.Rate?
        }
        let lines = try JSONLines(output.bytes)
        #expect(lines.kinds == ["machine", "prompt", "depth", "depth", "batch", "batch", "memory", "end"])
        let measured = try ["prompt", "depth", "batch"].flatMap { try lines.all($0, as: Line.self) }
        // Nine sequences are too many for the cooperative kernel.
        #expect(measured.map { $0.tokens_per_second != nil } == [true, false, false, false, true])
        #expect(measured[1...3].allSatisfy { $0.error?.contains("cuLaunchCooperativeKernel") == true })
        #expect(measured[2].depth == 3 && measured[3].sequences == 1)
        #expect(try lines.one("end", as: Report.End.self).failed == 3)

        let table = try await BitNetProgram.run(Self.short + options, environment: environment)
        #expect(table.status == 1 && table.text.contains("\n3 measurements failed.\n"), "\(table.text)")
        let rows = table.text.split(separator: "\n")
        let failed = rows.indices.filter { rows[$0].hasSuffix(" FAILED") }
        #expect(
          failed.count == 3 && failed.allSatisfy { rows[$0 + 1].contains("cuLaunchCooperativeKernel") }, "\(table.text)"
        )
        #expect(rows.contains { $0.hasPrefix("decode 9 sequences ") && !$0.contains("FAILED") })
      }
    }
  #endif

  @Test("measures the CPU")
  func cpu() async throws {
    let output = try await BitNetProgram.run(Self.arguments + ["--device", "cpu", "--threads", "2", "--json"])
    #expect(output.status == 0, "\(output.errors)")
    let report = try Report(output.bytes)
    #expect(
      report.machine.name.hasPrefix("CPU, ") && report.machine.name.hasSuffix(", 2 threads") && !report.machine.emulated
    )
    #expect(report.machine.memory_measure == "read" && report.memory.buffers == nil)
    #expect(report.machine.cooperative == nil && report.machine.graph == nil && report.end.graph == nil)
    try check(report)
  }

  @Test(
    "Mistakes get one sentence",
    arguments: [
      Mistake(arguments: ["--prompt", "0"], sentence: "--prompt has \"0\"; expected numbers from 1 to 1048576"),
      Mistake(arguments: ["--depth", "1,,2"], sentence: "--depth has \"\"; expected"),
      Mistake(arguments: ["--batch", "-1"], sentence: "--batch has \"-1\"; expected numbers from 1 to 1024"),
      Mistake(arguments: ["--rounds", "0"], sentence: "--rounds is 0; expected 1 to 1000"),
      Mistake(arguments: ["--tokens", "-5"], sentence: "--tokens is -5; expected 1 to 65536"),
      Mistake(
        arguments: ["--random-2b", "--model", "x"],
        sentence: "--random-2b cannot be combined with --model.", status: 64),
      Mistake(
        arguments: ["--screen", "on"], sentence: "--screen is on; expected it only with a GPU; choose --device cuda"),
      Mistake(
        arguments: ["--no-cooperative"],
        sentence: "--no-cooperative is given; expected it only with a GPU; choose --device cuda"),
      Mistake(arguments: ["--screen", "maybe"], sentence: "'maybe' is invalid", status: 64),
      Mistake(arguments: ["--device", "tpu"], sentence: "'tpu' is invalid", status: 64),
    ])
  func mistakes(_ mistake: Mistake) async throws {
    let device = mistake.arguments.contains("--device") ? [] : ["--device", "cpu"]
    let output = try await BitNetProgram.run(["bench", "model", "--quick"] + device + mistake.arguments)
    #expect(output.status == mistake.status)
    #expect(output.errors.hasPrefix("Error: ") && output.errors.contains(mistake.sentence), "\(output.errors)")
    #expect(output.text.isEmpty)
  }
}

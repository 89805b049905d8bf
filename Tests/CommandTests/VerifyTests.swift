import BitNet
import Foundation
import TestSupport
import Testing

@Suite("bitnet verify")
struct VerifyTests {
  private struct Report: Decodable {
    struct Check: Decodable {
      let name: String
      let cases: String
      let compared: Int
      let differing: Int
      let first_difference: String?
    }
    struct Kernel: Decodable {
      let name: String
      let registers: Int
      let local_bytes: Int
    }
    let device: String
    let name: String
    let emulated: Bool
    let driver: String?
    let expected: String
    let seed: UInt64
    let kernels: [Kernel]
    let checks: [Check]
    let equal: Bool
  }

  #if os(Linux)
    @Test("finds an emulated GPU equal to the CPU: products, random models in every form of the engine, and a model")
    func gpu() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        let arguments = ["verify", "--device", "cuda", "--model", Fixture.all[0].path]
        let output = try await BitNetProgram.run(
          arguments + ["--shapes", "1", "--tokens", "3", "--seed", "5", "--json"], environment: environment)
        #expect(output.status == 0, "\(output.errors)")
        let report = try JSONDecoder().decode(Report.self, from: output.bytes)
        #expect(report.device == "cuda:0" && report.name.contains("emulated") && report.emulated && report.driver == "12.1")
        #expect(report.expected.hasPrefix("CPU, ") && report.seed == 5 && report.equal)
        #expect(report.kernels.map(\.name).contains("decode_one") && report.kernels.count > 20)
        #expect(
          report.checks.map(\.name) == [
            "products, gemv_exact", "products, few_exact", "products, gemm_exact", "logits, prompts in chunks",
            "logits and tokens, ragged batches", "decoding, one cooperative kernel, screened head",
            "decoding, one cooperative kernel, full head", "decoding, a kernel an operation, screened head",
            "decoding, a kernel an operation, full head", "logits, the model's prompt", "tokens, the model's likeliest",
            "tokens, drawn from the model",
          ])
        #expect(report.checks.allSatisfy { $0.compared > 0 && $0.differing == 0 && $0.first_difference == nil })
        // Four forms of the engine, three tokens each.
        #expect(report.checks.last?.compared == 12 && report.checks.last?.cases == "4 engines")

        let table = try await BitNetProgram.run(arguments + ["--shapes", "0", "--tokens", "1"], environment: environment)
        #expect(table.status == 0, "\(table.errors)")
        #expect(table.text.hasPrefix("cuda:0 (CUDA on CPU (emulated), driver for CUDA 12.1), compared with CPU, "))
        #expect(table.text.split(separator: "\n").count { $0.hasSuffix(" equal") } == 12, "\(table.text)")
        #expect(table.text.hasSuffix("\neverything is equal, bit for bit\n"))
      }
    }

    @Test("tells a GPU that is not there, and takes the CPU when that was left open")
    func noGPU() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder).merging(["CUDA_ON_CPU_DEVICES": "0"]) { $1 }
        let arguments = ["verify", "--model", Fixture.all[0].path, "--shapes", "0", "--tokens", "2"]
        let missing = try await BitNetProgram.run(arguments + ["--device", "cuda"], environment: environment)
        #expect(missing.status == 1 && missing.text.isEmpty)
        #expect(missing.errors.hasPrefix("Error: no NVIDIA GPU: the driver is installed but finds none"), "\(missing.errors)")
        let open = try await BitNetProgram.run(arguments, environment: environment)
        #expect(open.status == 0, "\(open.errors)")
        #expect(open.text.hasPrefix("cpu (") && open.text.contains("(no GPU: no NVIDIA GPU"), "\(open.text)")
      }
    }
  #endif

  @Test("finds the CPU's engines equal to the reference, for every instruction set")
  func cpu() async throws {
    let output = try await BitNetProgram.run(
      "verify", "--device", "cpu", "--model", Fixture.all[1].path, "--shapes", "2", "--tokens", "8", "--threads", "2", "--json")
    #expect(output.status == 0, "\(output.errors)")
    let report = try JSONDecoder().decode(Report.self, from: output.bytes)
    #expect(report.device == "cpu" && !report.emulated && report.driver == nil && report.kernels.isEmpty && report.equal)
    let sets = InstructionSet.available.map(\.rawValue)
    #expect(report.checks.map(\.name).filter { $0.hasPrefix("decoding, ") } == sets.map { "decoding, \($0)" })
    #expect(report.checks.count == sets.count + 5)
    #expect(report.checks.allSatisfy { $0.compared > 0 && $0.differing == 0 })
  }

  @Test("A difference is counted, and the first one told")
  func differences() throws {
    var generator = SeededGenerator(seed: 1)
    let configuration = ModelConfiguration.random(using: &generator)
    let weights = try ModelWeights(random: configuration, seed: 1)
    let wrong = EngineComparison(
      expected: { try CPUEngine(weights: $0) },
      candidates: [
        .init(name: "itself") { try CPUEngine(weights: $0, threads: 1) },
        // Other weights of the same shape.
        .init(name: "another") { try CPUEngine(weights: ModelWeights(random: $0.configuration, seed: 99)) },
      ], seed: 3)
    let checks = try wrong.randomModels(1, isShort: true)
    #expect(checks.map(\.isEqual) == [false, false, true, false])
    #expect(checks.allSatisfy { $0.isEqual == ($0.first == nil) && $0.differing <= $0.compared })
    #expect(checks[0].first?.hasPrefix("another, hidden ") == true)
    let tokens = try wrong.model(weights, tokens: 5)
    #expect(tokens[0].compared == 2 * configuration.vocabularySize && !tokens[0].isEqual)
  }

  @Test(
    "Mistakes get one sentence",
    arguments: [
      Mistake(arguments: ["--tokens", "0"], sentence: "--tokens is 0; expected 1 to "),
      Mistake(arguments: ["--tokens", "1000000"], sentence: "--tokens is 1000000; expected 1 to "),
      Mistake(arguments: ["--shapes", "-1"], sentence: "--shapes is -1; expected 0 to 100000"),
      Mistake(arguments: ["--threads", "0"], sentence: "--threads is 0; expected 1 to 1024"),
      Mistake(arguments: ["--model", "/no/such/model"], sentence: "/no/such/model"),
      Mistake(arguments: ["--device", "tpu"], sentence: "'tpu' is invalid", status: 64),
      Mistake(arguments: ["--seed", "-1"], sentence: "--seed", status: 64),
    ])
  func mistakes(_ mistake: Mistake) async throws {
    let device = mistake.arguments.contains("--device") ? [] : ["--device", "cpu"]
    let output = try await BitNetProgram.run(["verify"] + device + mistake.arguments)
    #expect(output.status == mistake.status)
    #expect(output.errors.hasPrefix("Error: ") && output.errors.contains(mistake.sentence), "\(output.errors)")
    #expect(output.text.isEmpty)
  }
}

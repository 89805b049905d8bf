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

@Suite("bitnet verify")
struct VerifyTests {
  private struct Machine: Decodable {
    let device: String
    let name: String
    let emulated: Bool
    let driver: String?
    let expected: String
    let model: String
    let seed: UInt64
    let checks: [String]?
  }
  private struct Kernel: Decodable {
    let name: String
    let registers: Int
    let local_bytes: Int
  }
  private struct Check: Decodable {
    let name: String
    let candidate: String?
    let reference: String?
    let cases: String
    let compared: Int
    let differing: Int
    let equal: Bool
    let first_difference: String?
    let error: String?
    let seconds: Double
  }
  private struct End: Decodable {
    let checks: Int
    let failed: Int
    let equal: Bool
  }

  #if os(Linux)
    private static let simple = ["a kernel an operation, screened head", "a kernel an operation, full head"]
    private static let cooperative = ["one cooperative kernel, screened head", "one cooperative kernel, full head"]
    private static let products =
      ["gemv", "few", "gemm32x64", "gemm64x64", "gemm128x64", "gemm96x128", "gemm128x128", "gemm256x128"]
      .map { "products, \($0)_exact" }
    /// The kernels with a separate check: all except the cooperative ones.
    private static func single(_ kernels: [Kernel]) -> Set<String> {
      Set(kernels.map(\.name).filter { !$0.hasPrefix("decode_") })
    }

    private static func modelNames(_ forms: [String], _ label: String = "the model") -> [String] {
      forms.flatMap { form in
        [
          "logits of a prompt", "most likely tokens", "drawn tokens", "tokens of 4 sequences together",
          "tokens of 12 sequences together",
        ].map {
          "\($0), \(label), \(form)"
        }
      }
    }

    private static func names(_ forms: [String]) -> [String] {
      forms.flatMap { form in
        ["logits, prompts in chunks", "logits and tokens, ragged batches", "decoding"].map { "\($0), \(form)" }
      } + modelNames(forms)
    }

    private static let simpleNames =
      names(simple) + simple.map { "hidden states and logits of texts, models for embedding, \($0)" }

    private static let arguments = ["verify", "--device", "cuda", "--model", Fixture.all[0].path]

    @Test("finds an emulated GPU equal to the CPU: products, random models in every form of the engine, and a model")
    func gpu() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        let output = try await BitNetProgram.run(
          Self.arguments + ["--shapes", "1", "--tokens", "3", "--seed", "5", "--json"], environment: environment)
        #expect(output.status == 0, "\(output.errors)")
        let lines = try JSONLines(output.bytes)
        let machine = try lines.one("machine", as: Machine.self), kernels = try lines.all("kernel", as: Kernel.self)
        let checks = try lines.all("check", as: Check.self), end = try lines.one("end", as: End.self)
        #expect(lines.kinds.first == "machine" && lines.kinds.last == "end")
        #expect(
          machine.device == "cuda:0" && machine.name.contains("emulated") && machine.emulated
            && machine.driver == "12.1")
        #expect(machine.expected.hasPrefix("CPU, ") && machine.seed == 5 && machine.model == Fixture.all[0].path)
        #expect(machine.checks == ["kernels", "products", "operations", "cooperative"])
        let single = Self.single(kernels)
        #expect(
          single.count > 20
            && Set(kernels.map(\.name)).isSuperset(of: ["decode_one", "decode_few", "decode_one_traced"]))
        #expect(Set(checks.prefix(single.count).map(\.name)) == single)
        let others = checks.dropFirst(single.count)
        #expect(others.map(\.name) == Self.products + Self.simpleNames + Self.names(Self.cooperative))
        #expect(
          checks.allSatisfy {
            $0.compared > 0 && $0.differing == 0 && $0.equal && $0.first_difference == nil && $0.error == nil
              && $0.seconds > 0
          })
        let engines = others.filter { !$0.name.hasPrefix("products") }
        #expect(engines.allSatisfy { $0.reference == "the CPU engine" && $0.name.hasSuffix($0.candidate ?? "-") })
        // Three tokens of each of twelve sequences, and the logits after them.
        #expect(checks.last?.compared == 12 * (3 + 512) && checks.last?.cases == "12 sequences")
        #expect(end.equal && end.failed == 0 && end.checks == checks.count)

        // The parts of the check of the model, in both forms of the engine.
        let table = try await BitNetProgram.run(
          Self.arguments + ["--shapes", "0", "--tokens", "1", "--checks", "products,cooperative"],
          environment: environment)
        #expect(table.status == 0, "\(table.errors)")
        #expect(table.text.hasPrefix("cuda:0 (CUDA on CPU (emulated), driver for CUDA 12.1), compared with CPU, "))
        #expect(
          table.text.split(separator: "\n").count { $0.hasSuffix(" equal") } == 2 * 5,
          "\(table.text)")
        #expect(table.text.hasSuffix("\neverything is equal, bit for bit\n"))
        let nothing = try await BitNetProgram.run(
          Self.arguments + ["--shapes", "0", "--checks", "kernels,products"], environment: environment)
        #expect(nothing.status == 1 && nothing.errors.contains("leaves nothing to compare"), "\(nothing.errors)")
      }
    }

    @Test("--checks selects parts; soak repeats what the cooperative engine decodes")
    func parts() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        func checks(_ list: String) async throws -> [Check] {
          let output = try await BitNetProgram.run(
            Self.arguments + ["--shapes", "1", "--tokens", "1", "--json", "--checks", list], environment: environment)
          #expect(output.status == 0, "\(output.errors)")
          let lines = try JSONLines(output.bytes)
          #expect(try lines.all("kernel", as: Kernel.self).isEmpty == !list.contains("kernels"))
          return try lines.all("check")
        }
        let kernels = try await checks("kernels")
        #expect(
          kernels.count > 20 && kernels.allSatisfy { $0.equal && $0.cases == "1 shape" && !$0.name.contains(", ") })
        #expect(try await checks("products").map(\.name) == Self.products)
        #expect(try await checks("operations").map(\.name) == Self.simpleNames)
        let soak = try await checks("soak")
        #expect(soak.map(\.cases) == ["3 repetitions", "3 repetitions"])
        #expect(soak.allSatisfy { $0.candidate == Self.cooperative[0] && $0.reference == Self.simple[1] })
        // Twelve tokens and the logits after them, three times, for one sequence and for 2 to 8 together.
        let each = 3 * (12 + 512)
        #expect(soak[0].name == "soak, 1 sequence, the model, \(Self.cooperative[0])" && soak[0].compared == each)
        #expect(soak[1].compared % each == 0 && 2...8 ~= soak[1].compared / each)
      }
    }

    @Test("A check that fails is reported in its place, and the others are made", arguments: [true, false])
    func failure(json: Bool) async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder).merging(["CUDA_ON_CPU_REFUSED_COOPERATIVE_LAUNCHES": "2"]) { $1 }
        let options =
          ["--shapes", "1", "--tokens", "2", "--checks", "products,cooperative,operations,soak"]
          + (json ? ["--json"] : [])
        let output = try await BitNetProgram.run(Self.arguments + options, environment: environment)
        #expect(output.status == 1)
        let reason = "cuLaunchCooperativeKernel"
        #expect(
          output.errors.hasPrefix("Error: ") && output.errors.split(separator: "\n").count == 1, "\(output.errors)")
        guard json else {
          let rows = output.text.split(separator: "\n")
          let failed = rows.indices.filter { rows[$0].hasSuffix(" FAILED") }
          try #require(!failed.isEmpty, "\(output.text)")
          #expect(failed.allSatisfy { rows[$0 + 1].hasPrefix("  ") && rows[$0 + 1].contains(reason) }, "\(output.text)")
          #expect(rows[failed[0] - 1].hasSuffix(" equal") && rows[failed[0] + 2].hasSuffix(" equal"), "\(output.text)")
          return
        }
        let lines = try JSONLines(output.bytes)
        let checks = try lines.all("check", as: Check.self), end = try lines.one("end", as: End.self)
        let soak = checks.suffix(2)
        #expect(
          checks.dropLast(2).map(\.name) == Self.products + Self.simpleNames + Self.names(Self.cooperative))
        #expect(soak.allSatisfy { $0.name.hasPrefix("soak, ") })
        for check in checks {
          // Prompts and their logits, ragged batches that begin with prompts, and twelve sequences need no cooperative
          // launch.
          let needsNone = ["logits", "tokens of 12"].contains { check.name.hasPrefix($0) }
          let fails = check.candidate?.hasPrefix("one cooperative") == true && !needsNone
          #expect(check.equal == (check.error == nil) && check.differing == 0 && check.first_difference == nil)
          if fails { #expect(check.error?.contains(reason) == true, "\(check.name): \(check.error ?? "-")") }
          if !check.name.contains("one cooperative") { #expect(check.equal && check.compared > 0, "\(check.name)") }
        }
        let random = try #require(checks.first { $0.name == "decoding, \(Self.cooperative[0])" })
        #expect(random.error?.hasPrefix("hidden ") == true)
        #expect(
          checks.contains {
            $0.name == "logits of a prompt, the model, \(Self.cooperative[1])" && $0.equal && $0.compared > 0
          })
        #expect(
          !end.equal && end.failed == checks.count { !$0.equal } && end.checks == checks.count
            && lines.kinds.last == "end")
      }
    }

    @Test("A GPU without free memory still lists its kernels, and each product reports its error")
    func noMemory() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder).merging(["CUDA_ON_CPU_MEMORY": "1000"]) { $1 }
        let output = try await BitNetProgram.run(
          Self.arguments + ["--checks", "kernels,products", "--json"], environment: environment)
        let lines = try JSONLines(output.bytes)
        let products = try lines.all("check", as: Check.self).filter { $0.name.hasPrefix("products, ") }
        #expect(
          output.status == 1 && lines.kinds.count { $0 == "kernel" } > 20 && products.count == Self.products.count)
        #expect(products.allSatisfy { $0.error?.contains("out of GPU memory: ") == true && !$0.equal })
      }
    }

    @Test("reports a missing GPU, and uses the CPU if the choice was automatic")
    func noGPU() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder).merging(["CUDA_ON_CPU_DEVICES": "0"]) { $1 }
        let arguments = ["verify", "--model", Fixture.all[0].path, "--shapes", "0", "--tokens", "2"]
        let missing = try await BitNetProgram.run(arguments + ["--device", "cuda"], environment: environment)
        #expect(missing.status == 1 && missing.text.isEmpty)
        #expect(
          missing.errors.hasPrefix("Error: no NVIDIA GPU: the driver is installed but finds none"), "\(missing.errors)")
        let open = try await BitNetProgram.run(arguments, environment: environment)
        #expect(open.status == 0, "\(open.errors)")
        #expect(open.text.hasPrefix("cpu (") && open.text.contains("(no GPU: no NVIDIA GPU"), "\(open.text)")
      }
    }
  #endif

  @Test("finds the CPU's engines equal to the reference, for every instruction set")
  func cpu() async throws {
    let output = try await BitNetProgram.run(
      "verify", "--device", "cpu", "--model", Fixture.all[1].path, "--shapes", "2", "--tokens", "8", "--threads", "2",
      "--json")
    #expect(output.status == 0, "\(output.errors)")
    let lines = try JSONLines(output.bytes)
    let machine = try lines.one("machine", as: Machine.self), checks = try lines.all("check", as: Check.self)
    #expect(machine.device == "cpu" && !machine.emulated && machine.driver == nil && machine.checks == nil)
    #expect(machine.expected == "the reference engine, Float" && !lines.kinds.contains("kernel"))
    let sets = InstructionSet.available.map(\.rawValue)
    #expect(checks.map(\.name).filter { $0.hasPrefix("decoding, ") } == sets.map { "decoding, \($0)" })
    #expect(checks.count == 9 * sets.count)
    #expect(checks.allSatisfy { $0.compared > 0 && $0.differing == 0 && $0.equal })
    #expect(try lines.one("end", as: End.self).equal)
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
      Mistake(arguments: ["--seed", "-1"], sentence: "The value '-1' is invalid for '--seed", status: 64),
      Mistake(
        arguments: ["--checks", "kernels,all"],
        sentence: "--checks has \"all\"; expected a list of kernels, products, operations, "),
      Mistake(
        arguments: ["--checks", "products"], sentence: "--checks is \"products\"; expected no --checks on the CPU"),
      Mistake(
        arguments: ["--random-2b"],
        sentence: "--random-2b compares the forms of the engine on a GPU; expected a GPU; choose --device cuda"),
      Mistake(
        arguments: ["--random-2b", "--model", "x"],
        sentence: "--random-2b cannot be combined with --model.", status: 64),
    ])
  func mistakes(_ mistake: Mistake) async throws {
    let device = mistake.arguments.contains("--device") ? [] : ["--device", "cpu"]
    let output = try await BitNetProgram.run(["verify"] + device + mistake.arguments)
    #expect(output.status == mistake.status)
    #expect(output.errors.hasPrefix("Error: ") && output.errors.contains(mistake.sentence), "\(output.errors)")
    #expect(output.text.isEmpty)
  }
}

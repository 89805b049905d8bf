import Foundation
import TestSupport
import Testing

#if os(Linux)
  @Suite("The command on an emulated GPU")
  struct CUDATests {
    private static let story = ["generate", "--prompt", "Once upon a time", "--max-tokens", "12", "--seed", "3"]

    @Test("--device cuda writes the same story as the CPU, and names the GPU")
    func story() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        let expected = try await BitNetProgram.run(Self.story + ["--device", "cpu"])
        for device in ["cuda", "cuda:0", "auto"] {
          let found = try await BitNetProgram.run(Self.story + ["--device", device], environment: environment)
          #expect(found.status == 0 && found.text == expected.text, "\(device): \(found.errors)")
          #expect(found.errors.contains("CUDA on CPU (emulated)"), "\(found.errors)")
        }
      }
    }

    @Test("several devices share the lines of a batch, whose answers are the same; other commands take one")
    func severalDevices() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder).merging(["CUDA_ON_CPU_DEVICES": "2"]) { $1 }
        let lines = try folder.write((1...24).map { "{\"prompt\": \"A king had \($0) \"}\n" }.joined(), to: "lines")
        let batch = ["generate", "--jsonl", lines, "--max-tokens", "4", "--quiet", "--device"]
        let expected = try await BitNetProgram.run(batch + ["cpu"])
        #expect(expected.status == 0 && expected.text.split(separator: "\n").count == 24, "\(expected.errors)")
        for devices in ["cuda:0,cuda:1", "cpu,cuda:1", "cpu,cpu,cpu"] {
          let found = try await BitNetProgram.run(batch + [devices], environment: environment)
          #expect(found.status == 0 && found.text == expected.text, "\(devices): \(found.errors)")
        }
        let refused = try await BitNetProgram.run(Self.story + ["--device", "cpu,cuda:1"], environment: environment)
        #expect(refused.status != 0 && refused.text.isEmpty)
        #expect(refused.errors.contains("--device is cpu,cuda:1; expected one;"), "\(refused.errors)")
        let missing = try await BitNetProgram.run(batch + ["cpu,cuda:2"], environment: environment)
        #expect(missing.status == 1 && missing.errors.hasPrefix("Error: --device cuda:2: "), "\(missing.errors)")
        let open = try await BitNetProgram.run(batch + ["auto,cpu"])
        #expect(open.status != 0 && open.errors.contains("expected auto alone"), "\(open.errors)")
        for wrong in ["cpu,", ",", "cuda:0,gpu"] {
          let found = try await BitNetProgram.run(Self.story + ["--device", wrong], environment: environment)
          #expect(found.status != 0 && found.errors.contains("'\(wrong)' is invalid"), "\(found.errors)")
        }
      }
    }

    @Test("a chat and log probabilities are the same")
    func others() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        let arguments = [
          "generate", "--prompt", "The king", "--max-tokens", "5", "--seed", "1", "--json", "--logprobs", "2",
        ]
        func tokens(_ device: String) async throws -> String {
          let output = try await BitNetProgram.run(arguments + ["--device", device], environment: environment)
          #expect(output.status == 0, "\(output.errors)")
          let text = output.text
          let start = try #require(text.range(of: "\"tokens\"")),
            end = try #require(text.range(of: "]", range: start.upperBound..<text.endIndex))
          return String(text[start.lowerBound..<end.upperBound])
        }
        #expect(try await tokens("cuda") == tokens("cpu"))
      }
    }

    @Test("bitnet logits --engine cuda gives the bits of --engine cpu")
    func logits() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        let tokens = try folder.write("[1, 17, 300, 4, 4, 90]", to: "tokens.json")
        let arguments = ["logits", "--model", Fixture.all[0].path, "--tokens", tokens, "--output", "-", "--engine"]
        let expected = try await BitNetProgram.run(arguments + ["cpu"])
        let found = try await BitNetProgram.run(arguments + ["cuda"], environment: environment)
        let same = found.bytes == expected.bytes
        #expect(found.status == 0 && expected.bytes.count == 6 * 512 * 4 && same, "\(found.errors)")
      }
    }

    @Test("bitnet devices lists the GPU")
    func devices() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        let table = try await BitNetProgram.run(["devices"], environment: environment)
        #expect(
          table.status == 0 && table.text.contains("cuda:0") && table.text.contains("CUDA on CPU (emulated)"),
          "\(table.text)")
        let json = try await BitNetProgram.run(["devices", "--json"], environment: environment)
        #expect(json.text.contains("\"CUDA on CPU (emulated)\"") && json.text.contains("\"8.0\""), "\(json.text)")
      }
    }

    @Test(
      "what keeps a GPU from being used is one sentence; auto takes the CPU and repeats it",
      arguments: [
        (["CUDA_ON_CPU_DEVICES": "0"], "GPU"), (["CUDA_ON_CPU_DRIVER_VERSION": "11080"], "12.1"),
        (["CUDA_ON_CPU_CAPABILITY": "75"], "8.0"),
        (["CUDA_ON_CPU_MEMORY": "1000000"], "memory"),
      ])
    func refusals(circumstances: [String: String], word: String) async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder).merging(circumstances) { $1 }
        let refused = try await BitNetProgram.run(Self.story + ["--device", "cuda"], environment: environment)
        #expect(refused.status != 0 && refused.text.isEmpty && refused.errors.contains(word), "\(refused.errors)")
        #expect(refused.errors.split(separator: "\n").count == 1, "\(refused.errors)")
        let fallback = try await BitNetProgram.run(Self.story + ["--device", "auto"], environment: environment)
        let expected = try await BitNetProgram.run(Self.story + ["--device", "cpu"])
        #expect(
          fallback.status == 0 && fallback.text == expected.text && fallback.errors.contains(word), "\(fallback.errors)"
        )
        let devices = try await BitNetProgram.run(["devices"], environment: environment)
        #expect(devices.status == 0, "\(devices.errors)")
      }
    }

    @Test("a missing GPU and an unknown device are refused")
    func numbers() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        for device in ["cuda:1", "cuda:-1", "cuda:x", "gpu", ""] {
          let output = try await BitNetProgram.run(Self.story + ["--device", device], environment: environment)
          #expect(output.status != 0 && output.text.isEmpty && !output.errors.isEmpty, "\(device)")
        }
      }
    }

    @Test("the program links no NVIDIA library")
    func links() throws {
      let process = Process()
      process.executableURL = URL(filePath: "/usr/bin/ldd")
      process.arguments = [BitNetProgram.url.path]
      let pipe = Pipe()
      process.standardOutput = pipe
      try process.run()
      let text = String(decoding: try #require(try pipe.fileHandleForReading.readToEnd()), as: UTF8.self)
      process.waitUntilExit()
      #expect(
        process.terminationStatus == 0 && text.contains("libc.so") && !text.contains("cuda")
          && !text.contains("nvidia"), "\(text)")
    }
  }
#endif

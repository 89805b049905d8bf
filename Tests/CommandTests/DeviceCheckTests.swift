import Foundation
import Testing

#if os(Linux)
  @Suite("The check before the first use of an emulated GPU")
  struct DeviceCheckTests {
    private static let story = ["generate", "--prompt", "Once upon a time", "--max-tokens", "4", "--seed", "3"]
    private static let notice =
      "CUDA on CPU (emulated): compiling and checking the kernels, once for this GPU and driver\n"
    private static let failure = "CUDA on CPU (emulated) failed the check before its first use ("
    private static let way = "); run `bitnet verify --device cuda` for details"

    /// An unused GPU, and the folder in which a passed check is recorded.
    private static func withNewGPU(
      _ circumstances: [String: String] = [:],
      _ body: (_ environment: [String: String], _ cache: URL) async throws -> Void
    ) async throws {
      try await TemporaryFolder.with { folder in
        let cache = folder["cache"]
        var environment = try emulatedGPU(folder).merging(circumstances) { $1 }
        environment["XDG_CACHE_HOME"] = cache.path
        try await body(environment, cache.appending(path: "swift-bitnet"))
      }
    }

    private static func files(_ folder: URL) -> [URL] {
      (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
    }

    @Test(
      "A GPU that computes wrong numbers, stalls or never ends is not used: auto says why and uses the CPU, cuda fails",
      arguments: [
        // A wrong product, a wrong decode step, a block that does not reach a grid barrier, threads that do not reach a
        // barrier of their block, and a kernel that never ends.
        ("few_project:selftest_planted_swapped_fragments", "few_project, case 0 of seed 1: rows "),
        (
          "decode_one:selftest_planted_wrong_decode",
          "most likely tokens, a small model, one cooperative kernel, full head: "
        ),
        (
          "decode_one:selftest_planted_absent_block",
          "most likely tokens, a small model, one cooperative kernel, full head: "
        ),
        ("quantize_rows:selftest_planted_unreached_barrier", "CUDA_ERROR_LAUNCH_FAILED"),
        ("embed_rows:selftest_planted_endless", "the kernel embed_rows did not end within 15 seconds"),
      ])
    func failures(planted: String, reason: String) async throws {
      // decode_one needs an A100's shared memory.
      try await Self.withNewGPU(["CUDA_ON_CPU_PLANTED": planted, "CUDA_ON_CPU_SHARED_MEMORY": "\(163 << 10)"]) {
        environment, cache in
        // The emulator prints a line about kernels that fail.
        func lines(_ output: BitNetProgram.Output) -> [Substring] {
          output.errors.split(separator: "\n").filter { !$0.hasPrefix("CUDAOnCPU: ") }
        }
        let expected = try await BitNetProgram.run(Self.story + ["--device", "cpu"])
        let open = try await BitNetProgram.run(Self.story + ["--device", "auto"], environment: environment)
        #expect(open.status == 0 && open.text == expected.text, "\(open.errors)")
        #expect(open.errors.hasPrefix(Self.notice) && open.errors.ranges(of: Self.failure).count == 1, "\(open.errors)")
        let engine = try #require(lines(open).first { $0.hasPrefix("engine ") })
        #expect(engine.contains("CPU, ") && engine.contains(" (no GPU: \(Self.failure)"), "\(engine)")
        #expect(engine.contains(reason) && engine.hasSuffix(Self.way + ")"), "\(engine)")

        let refused = try await BitNetProgram.run(Self.story + ["--device", "cuda"], environment: environment)
        #expect(refused.status == 1 && refused.text.isEmpty && lines(refused).count == 2, "\(refused.errors)")
        let error = try #require(lines(refused).last)
        #expect(
          error.hasPrefix("Error: \(Self.failure)") && error.contains(reason) && error.hasSuffix(Self.way), "\(error)")
        #expect(
          refused.errors.hasPrefix(Self.notice) && Self.files(cache).isEmpty, "a GPU that failed is not remembered")
      }
    }

    @Test("A GPU that passes is reported once, recorded, and not checked again")
    func pass() async throws {
      try await Self.withNewGPU { environment, cache in
        let arguments = Self.story + ["--device", "cuda"]
        let first = try await BitNetProgram.run(arguments, environment: environment)
        #expect(first.status == 0 && first.errors.hasPrefix(Self.notice), "\(first.errors)")
        let file = try #require(Self.files(cache).first)
        let remembered = try String(contentsOf: file, encoding: .utf8)
        #expect(
          Self.files(cache).count == 1
            && remembered.contains("\nname: CUDA on CPU (emulated)\ncompute capability: 8.0\n"))

        // A wrong kernel is not noticed, because nothing is checked.
        let planted = environment.merging(["CUDA_ON_CPU_PLANTED": "few_project:selftest_planted_swapped_fragments"]) {
          $1
        }
        let second = try await BitNetProgram.run(arguments, environment: planted)
        #expect(second.status == 0 && !second.errors.contains("checking"), "\(second.errors)")

        // A different driver is checked again, and so is a GPU whose file has different contents.
        let driver = environment.merging(["CUDA_ON_CPU_DRIVER_VERSION": "12020"]) { $1 }
        let updated = try await BitNetProgram.run(arguments, environment: driver)
        #expect(
          updated.status == 0 && updated.errors.hasPrefix(Self.notice) && Self.files(cache).count == 2,
          "\(updated.errors)")
        for text in ["\u{0}\u{FF}", String(remembered.dropLast())] {
          try Data(text.utf8).write(to: file)
          let again = try await BitNetProgram.run(arguments, environment: environment)
          #expect(again.status == 0 && again.errors.hasPrefix(Self.notice), "\(again.errors)")
          #expect(try String(contentsOf: file, encoding: .utf8) == remembered)
        }
      }
    }

    @Test("If the result cannot be recorded, the GPU is checked each time")
    func noCache() async throws {
      try await Self.withNewGPU { environment, cache in
        // A file in place of the folder: not even the superuser can write there.
        try Data().write(to: cache.deletingLastPathComponent())
        for _ in 0..<2 {
          let output = try await BitNetProgram.run(Self.story + ["--device", "cuda"], environment: environment)
          #expect(
            output.status == 0 && output.errors.hasPrefix(Self.notice) && !output.errors.contains("cache"),
            "\(output.errors)")
        }
        // A folder that exists and cannot be written.
        try FileManager.default.removeItem(at: cache.deletingLastPathComponent())
        try FileManager.default.createDirectory(at: cache, withIntermediateDirectories: true)
        try FileManager.default.setAttributes([.posixPermissions: 0o500], ofItemAtPath: cache.path)
        let output = try await BitNetProgram.run(Self.story + ["--device", "cuda"], environment: environment)
        #expect(output.status == 0 && output.errors.hasPrefix(Self.notice), "\(output.errors)")
        try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: cache.path)
      }
    }

    @Test("--no-device-check skips the check, and bitnet verify runs without it")
    func skipped() async throws {
      let circumstances = ["CUDA_ON_CPU_PLANTED": "few_project:selftest_planted_swapped_fragments"]
      try await Self.withNewGPU(circumstances) { environment, cache in
        let output = try await BitNetProgram.run(
          Self.story + ["--device", "cuda", "--no-device-check"], environment: environment)
        #expect(output.status == 0 && !output.errors.contains("checking"), "\(output.errors)")
        let verified = try await BitNetProgram.run(
          ["verify", "--device", "cuda", "--checks", "kernels", "--shapes", "1"], environment: environment)
        #expect(verified.status == 1 && verified.text.contains("few_project"), "\(verified.errors)")
        #expect(!verified.errors.contains("checking"), "\(verified.errors)")
        #expect(Self.files(cache).isEmpty)
      }
    }

    @Test(
      "A GPU that cannot be used at all is reported without a check",
      arguments: [
        ["CUDA_ON_CPU_DEVICES": "0"], ["CUDA_ON_CPU_DRIVER_VERSION": "11080"], ["CUDA_ON_CPU_CAPABILITY": "75"],
        ["CUDA_ON_CPU_MEMORY": "1000000"], ["LD_LIBRARY_PATH": "/nowhere"],
      ])
    func unusable(circumstances: [String: String]) async throws {
      try await Self.withNewGPU(circumstances) { environment, cache in
        let refused = try await BitNetProgram.run(Self.story + ["--device", "cuda"], environment: environment)
        #expect(refused.status == 1 && refused.text.isEmpty && refused.errors.hasPrefix("Error: "), "\(refused.errors)")
        let sentence = try #require(refused.errors.split(separator: "\n").first).dropFirst(7)
        #expect(refused.errors == "Error: \(sentence)\n" && !sentence.contains("check"), "\(refused.errors)")
        let expected = try await BitNetProgram.run(Self.story + ["--device", "cpu"])
        let open = try await BitNetProgram.run(Self.story, environment: environment)
        #expect(open.status == 0 && open.text == expected.text && !open.errors.contains("checking"), "\(open.errors)")
        // Without a driver, the machine is taken to have no GPU, and how the library was missed is left out.
        let reason = circumstances["LD_LIBRARY_PATH"] == nil ? String(sentence) : "no NVIDIA driver"
        #expect(open.errors.ranges(of: " (no GPU: \(reason))\n").count == 1, "\(open.errors)")
        #expect(sentence.hasPrefix(reason) && Self.files(cache).isEmpty)
      }
    }
  }
#endif

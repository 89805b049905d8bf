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

#if os(Linux)
  @Suite("The decode step on an emulated GPU: its trace, kernels from files, and a block that hangs")
  struct DecodeStepTests {
    private static let model = Fixture.all[0]
    private static let short = ["--rounds", "1", "--tokens", "1"], lists = ["--prompt", "none", "--batch", "none"]
    private static let traced = ["bench", "model", "--model", model.path] + lists + short
    private static let verify = [
      "verify", "--device", "cuda", "--checks", "cooperative", "--shapes", "1", "--tokens", "3",
    ]

    private struct Trace: Decodable {
      struct Phase: Decodable {
        let name: String
        let parts: [Part]
      }
      struct Part: Decodable {
        let name: String
        let median_microseconds: Double
        let maximum_microseconds: Double
      }
      let depth: Int
      let layers_microseconds: Double
      let clocks_per_microsecond: Double
      let phases: [Phase]
    }

    /// The parts of a trace file by depth: a heading, a header, and a row for each hand-over and block.
    private func sections(_ url: URL) throws -> [(heading: String, header: String, rows: [[String]])] {
      var sections: [(heading: String, header: String, rows: [[String]])] = []
      for line in try String(contentsOf: url, encoding: .utf8).split(separator: "\n") {
        if line.hasPrefix("#") {
          sections.append((String(line), "", []))
        } else if line.hasPrefix("hand_over") {
          sections[sections.count - 1].header = String(line)
        } else {
          sections[sections.count - 1].rows.append(line.split(separator: ",").map(String.init))
        }
      }
      return sections
    }

    @Test("bench model --trace FILE writes the times of a step's phases, for each depth")
    func trace() async throws {
      let layers = try Self.model.load().weights.configuration.layerCount
      let names = ["q·k·v", "attention", "attention output", "gate·up", "down"]
      let parts = ["arriving", "asking", "waiting", "reading", "quantizing", "multiplying"]
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        let file = folder["trace.csv"]
        let arguments = Self.traced + ["--device", "cuda", "--depth", "0,70,1000000", "--trace", file.path]
        let output = try await BitNetProgram.run(arguments + ["--json"], environment: environment)
        #expect(output.status == 0, "\(output.errors)")
        let lines = try JSONLines(output.bytes)
        #expect(
          lines.kinds == ["machine", "depth", "depth", "left_out", "trace", "trace", "left_out", "memory", "end"])
        let traces = try lines.all("trace", as: Trace.self)
        #expect(traces.map(\.depth) == [0, 70])
        for trace in traces {
          #expect(trace.layers_microseconds > 0 && trace.clocks_per_microsecond > 0)
          #expect(trace.phases.map(\.name) == names && trace.phases.allSatisfy { $0.parts.map(\.name) == parts })
          for phase in trace.phases {
            for part in phase.parts {
              #expect(
                part.median_microseconds >= 0 && part.median_microseconds <= part.maximum_microseconds,
                "\(phase.name), \(part.name)")
            }
            // The parts of every phase take some clocks, because no two readings of the emulator's clock are equal.
            #expect(
              phase.parts[0...2].allSatisfy { $0.median_microseconds > 0 } && phase.parts[5].median_microseconds > 0,
              "\(phase.name)")
          }
        }

        let sections = try sections(file)
        #expect(sections.map(\.heading) == ["# depth 0", "# depth 70"])
        for section in sections {
          #expect(section.header == "hand_over,phase,block,arrived,asked,released,read,quantized,done")
          let blocks = (section.rows.compactMap { Int($0[2]) }.max() ?? -1) + 1
          // Every block appears at every hand-over, once and in order.
          #expect(blocks > 1 && section.rows.count == 5 * layers * blocks)
          for (index, row) in section.rows.enumerated() {
            let (handOver, block) = index.quotientAndRemainder(dividingBy: blocks)
            try #require(row.count == 9 && row[0...2] == ["\(handOver)", names[handOver % 5], "\(block)"], "\(row)")
            let marks = row[3...].compactMap { UInt32($0) }
            #expect(marks.count == 6 && marks == marks.sorted(), "\(row)")
          }
        }

        // A second run replaces the file and prints the table.
        let table = try await BitNetProgram.run(
          Self.traced + ["--device", "cuda", "--depth", "3", "--trace", file.path], environment: environment)
        #expect(table.status == 0, "\(table.errors)")
        let rows = table.text.split(separator: "\n").map(String.init)
        let heading = try #require(rows.firstIndex { $0.hasPrefix("layers of a step at depth 3: ") }, "\(table.text)")
        #expect(rows[heading].hasSuffix(" µs; medians and maxima over blocks and layers, in µs"))
        #expect(rows[heading + 1].split(separator: " ").map(String.init) == parts)
        for (row, name) in zip(rows[(heading + 2)...], names) {
          let start = row.drop { $0 == " " }
          #expect(start.hasPrefix(name + " ") && row.filter { $0 == "/" }.count == parts.count, "\(row)")
        }
        #expect(try self.sections(file).map(\.heading) == ["# depth 3"])
      }
    }

    @Test("--trace and --kernels need a GPU, and --trace the cooperative kernel; an existing file is kept")
    func traceMistakes() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        let file = try folder.write("before", to: "trace.csv")
        let kernels = Repository.path("Sources/CUDAKernels/ptx")
        for (arguments, status, sentence) in [
          (
            ["--device", "cpu", "--trace", file], 1 as Int32,
            "Error: --trace is given; expected it only with a GPU; choose "
          ),
          (
            ["--device", "cpu", "--kernels", kernels], 1,
            "Error: --kernels is given; expected it only with a GPU; choose "
          ),
          (
            ["--device", "cuda", "--trace", file, "--no-cooperative"], 64,
            "Error: --trace cannot be combined with --no-cooperative.\n"
          ),
          (["--device", "cuda", "--trace", folder["none/trace.csv"].path], 1, "Error: "),
        ] {
          let output = try await BitNetProgram.run(Self.traced + arguments, environment: environment)
          #expect(
            output.status == status && output.text.isEmpty && output.errors.hasPrefix(sentence),
            "\(arguments): \(output.errors)")
        }
        #expect(try String(contentsOfFile: file, encoding: .utf8) == "before")
        #expect(
          try FileManager.default.contentsOfDirectory(atPath: folder.url.path).sorted() == [
            "libcuda.so.1", "trace.csv",
          ])

        // A trace that fails is reported in its place.
        let refused = environment.merging(["CUDA_ON_CPU_REFUSED_COOPERATIVE_LAUNCHES": "2"]) { $1 }
        let output = try await BitNetProgram.run(
          Self.traced + ["--device", "cuda", "--depth", "0", "--trace", file, "--json"], environment: refused)
        struct Line: Decodable {
          let depth: Int?
          let error: String?
        }
        let traces = try JSONLines(output.bytes).all("trace", as: Line.self)
        #expect(
          output.status == 1 && traces.count == 1 && traces[0].error?.contains("cuLaunchCooperativeKernel") == true,
          "\(output.text)")
      }
    }

    @Test(
      "--kernels FOLDER takes kernels from files: a copy gives the same results, and only what a file has is replaced")
    func kernels() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        let kernels = folder["kernels"]
        try FileManager.default.createDirectory(at: kernels, withIntermediateDirectories: true)
        let text = try String(
          contentsOfFile: Repository.path("Sources/CUDAKernels/ptx/decode_one.ptx"), encoding: .utf8)
        func run(_ text: Data, _ command: [String]) async throws -> BitNetProgram.Output {
          try text.write(to: kernels.appending(path: "decode_one.ptx"))
          return try await BitNetProgram.run(command + ["--kernels", kernels.path], environment: environment)
        }
        let bench =
          ["bench", "model", "--device", "cuda", "--model", Self.model.path, "--depth", "1"] + Self.lists + Self.short
        let right = try await run(Data(text.utf8), Self.verify)
        #expect(right.status == 0 && right.text.contains("equal"), "\(right.text)\(right.errors)")
        let measured = try await run(Data(text.utf8), bench)
        #expect(measured.status == 0, "\(measured.errors)")

        // A file that the driver refuses shows that the file is read. Kernels outside decode_one.ptx still work.
        let version = try #require(text.firstMatch(of: #/\.version \d+\.\d+/#)?.output)
        let refused = Data(text.replacingOccurrences(of: version, with: ".version 99.0").utf8)
        for command in [Self.verify, bench] {
          let output = try await run(refused, command)
          #expect(
            output.status == 1 && (output.text + output.errors).contains("99.0"), "\(output.text)\(output.errors)")
        }
        let operations = try await run(refused, Self.verify.map { $0 == "cooperative" ? "operations" : $0 })
        #expect(operations.status == 0, "\(operations.text)\(operations.errors)")
      }
    }

    @Test("--kernels with a path that is no folder of kernels gives one sentence")
    func kernelMistakes() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        let kernels = folder["kernels"], file = kernels.appending(path: "decode.ptx")
        func check(_ sentence: String, path: String? = nil) async throws {
          for command in [Self.verify, Self.traced + ["--device", "cuda"]] {
            let output = try await BitNetProgram.run(
              command + ["--kernels", path ?? kernels.path], environment: environment)
            #expect(
              output.status == 1 && output.text.isEmpty && output.errors.hasPrefix("Error: \(sentence)"),
              "\(output.errors)")
            #expect(output.errors.split(separator: "\n").count == 1, "\(output.errors)")
          }
        }
        let without = "the kernel folder \(kernels.path) is without kernels; expected one or more of "
        try await check(without)
        try FileManager.default.createDirectory(at: kernels, withIntermediateDirectories: true)
        try Data("not a kernel".utf8).write(to: kernels.appending(path: "decoder.ptx"))
        try await check(without)
        try Data().write(to: file)
        try await check("\(file.path) is empty; expected a PTX file")
        try Data(".version 8.1\0".utf8).write(to: file)
        try await check("\(file.path) is not text; expected a PTX file")
        try FileManager.default.removeItem(at: file)
        try FileManager.default.createDirectory(at: file, withIntermediateDirectories: true)
        try await check("\(file.path) is unreadable (Is a directory); expected a PTX file")
        let plain = try folder.write("", to: "plain")
        try await check("\(plain)/", path: plain)
      }
    }

    @Test(
      "When a block hangs, the error names hand-over, phase, layer, a block that waited and the block that hangs",
      arguments: [0, 1, 2])
    func absentBlock(seed: Int) async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder).merging([
          "CUDA_ON_CPU_PLANTED": "decode_one:selftest_planted_absent_block", "CUDA_ON_CPU_SEED": "\(seed)",
        ]) { $1 }
        let output = try await BitNetProgram.run(
          ["generate", "--prompt", "Once", "--max-tokens", "3", "--device", "cuda", "--no-device-check"],
          environment: environment)
        // There is a block on each of four multiprocessors.
        let sentence = try Regex(
          "the GPU kernel of the decode step stalled: block [0-2] waited in vain at hand-over 1, "
            + #"before attention of layer 0 \(ticket 0x[0-9a-f]+, barrier 0x[0-9a-f]+\); "#
            + "1 of 4 blocks did not come, the first of them block 3")
        #expect(output.status == 1 && output.errors.firstMatch(of: sentence) != nil, "\(output.errors)")
      }
    }

    @Test(
      "A GPU of capability 9.0 decodes with a layer's weights in shared memory; mistakes there are found",
      arguments: [
        nil, "decode_resident:selftest_planted_unawaited_weights",
        "decode_resident:selftest_planted_unfenced_attention",
      ])
    func residentLayers(planted: String?) async throws {
      try await TemporaryFolder.with { folder in
        var environment = try emulatedGPU(folder)
        environment["CUDA_ON_CPU_CAPABILITY"] = "90"
        environment["CUDA_ON_CPU_SHARED_MEMORY"] = "\(227 << 10)"
        environment["CUDA_ON_CPU_PLANTED"] = planted
        let story = ["generate", "--prompt", "Once", "--max-tokens", "4", "--seed", "1"]
        let expected = try await BitNetProgram.run(story + ["--device", "cpu"])
        let output = try await BitNetProgram.run(
          story + ["--device", "cuda", "--no-device-check"], environment: environment)
        #expect((output.status == 0 && output.text == expected.text) == (planted == nil), "\(output.errors)")
      }
    }
  }
#endif

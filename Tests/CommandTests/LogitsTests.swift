import BitNetModelFiles
import BitNetInference
import Foundation
import TestSupport
import Testing

@Suite("bitnet logits")
struct LogitsTests {
  private func logits(_ tokens: [Int32], _ arguments: [String], folder: TemporaryFolder) async throws -> Data {
    let file = try folder.write("\(tokens)", to: "tokens.json")
    let output = try await BitNetProgram.run(
      ["logits", "--tokens", file, "--output", folder["logits"].path, "--overwrite"] + arguments)
    #expect(output.status == 0, "\(output.errors)")
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: folder.url.path).filter { $0.contains("partial") }.isEmpty)
    return try Data(contentsOf: folder["logits"])
  }

  @Test(
    "gives the same bits on the CPU and in the Float reference, whole and in chunks, from a folder and converted",
    arguments: Fixture.all)
  func sameBits(fixture: Fixture) async throws {
    try await TemporaryFolder.with { folder in
      let model = ["--model", fixture.path]
      let tokens = try fixture.prompt(64)
      let reference = try await logits(tokens, model + ["--engine", "reference-float"], folder: folder)
      let vocabulary = try fixture.load().weights.configuration.vocabularySize
      #expect(reference.count == 64 * vocabulary * 4)
      for more in [
        ["--threads", "1"], ["--threads", "3", "--chunk", "5"], ["--instruction-set", "portable"], ["--engine", "cpu"],
      ] {
        #expect(try await logits(tokens, model + more, folder: folder) == reference, "\(more)")
      }
      let converted = folder["converted.safetensors"].path
      let conversion = try await BitNetProgram.run(["convert", fixture.path, converted])
      #expect(conversion.status == 0, "\(conversion.errors)")
      #expect(conversion.errors.contains("no tokenizer"))
      #expect(try await logits(tokens, ["--model", converted], folder: folder) == reference)
      #expect(
        try await logits(tokens, ["--model", converted, "--engine", "reference-float"], folder: folder) == reference)
      let widened = try await logits(tokens, model + ["--float64"], folder: folder)
      #expect(values(widened, as: Double.self) == values(reference, as: Float.self).map(Double.init))
    }
  }

  @Test("computes the reference's logits in Double", arguments: Fixture.all)
  func double(fixture: Fixture) async throws {
    try await TemporaryFolder.with { folder in
      let arguments = ["--model", fixture.path, "--engine", "reference"]
      let tokens = try fixture.prompt(7)
      let found = values(try await logits(tokens, arguments + ["--float64"], folder: folder), as: Double.self)
      let expected = try fixture.float64Logits(7)
      #expect(found.count == expected.count)
      let difference = zip(found, expected).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
      #expect((difference / expected.reduce(0) { $0 + $1 * $1 }).squareRoot() < 1e-9)
      let rounded = values(try await logits(tokens, arguments, folder: folder), as: Float.self)
      #expect(rounded == found.map { Float($0) })
    }
  }

  @Test("reads standard input and writes standard output, with the demo model")
  func pipes() async throws {
    let output = try await BitNetProgram.run("logits", "--tokens", "-", "--output", "-", input: "[4093, 2154, 713]")
    #expect(output.status == 0, "\(output.errors)")
    #expect(output.bytes.count == 3 * 4096 * 4)
  }
}

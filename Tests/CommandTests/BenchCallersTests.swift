import TestSupport
import Testing

@Suite("bitnet bench callers")
struct BenchCallersTests {
  private struct Result: Decodable {
    let callers: Int
    let tokens: Int
    let engine_tokens_per_second: Double
    let scheduler_tokens_per_second: Double
    let ratios: [Double]
    let ratio: Double
  }

  private static let short = ["bench", "callers", "--device", "cpu", "--threads", "1", "--rounds", "2"]

  @Test("compares the scheduler with the engine, for each number of tasks")
  func json() async throws {
    let output = try await BitNetProgram.run(Self.short + ["--callers", "1,3", "--tokens", "4", "--json"])
    #expect(output.status == 0, "\(output.errors)")
    let lines = try JSONLines(output.bytes)
    #expect(lines.kinds == ["machine", "callers", "callers"])
    let results = try lines.all("callers", as: Result.self)
    #expect(results.map(\.callers) == [1, 3] && results.allSatisfy { $0.tokens == 4 })
    for result in results {
      #expect(result.engine_tokens_per_second > 0 && result.scheduler_tokens_per_second > 0)
      #expect(result.ratios.count == 2)
      #expect(abs(result.ratio - (result.ratios[0] + result.ratios[1]) / 2) < 1e-9)
    }
    let table = try await BitNetProgram.run(Self.short + ["--callers", "2", "--tokens", "4"])
    #expect(table.text.contains("\n2 tasks: engine ") && table.text.contains(", ratio "), "\(table.text)")
  }

  @Test("--cache-size bounds the memory of all sequences", arguments: [("0", false), ("3.2M", true), ("3Mi", true)])
  func cacheSize(_ size: String, suffices: Bool) async throws {
    // Four sequences of four pages each, of 196,608 bytes; the context of 512 positions has eight.
    let options = ["--callers", "4", "--tokens", "200", "--cache-size", size]
    let output = try await BitNetProgram.run(Self.short + options)
    #expect(output.status == (suffices ? 0 : 1), "\(output.errors)")
    #expect(output.errors.contains("sequences hold 8 of its 8") == !suffices, "\(output.errors)")
  }
}

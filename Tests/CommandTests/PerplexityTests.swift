import Foundation
import TestSupport
import Testing

@Suite("bitnet perplexity")
struct PerplexityTests {
  private struct Report: Decodable {
    let tokens: Int
    let bytes: Int
    let nats_per_token: Double
    let perplexity: Double
    let bits_per_byte: Double
  }

  private static let text =
    "Once upon a time there was a king, and the king had a daughter. \"Wo ist die Königin?\" asked the fox."

  private func measure(_ arguments: String..., text: String = text) async throws -> Report {
    let output = try await BitNetProgram.run(["perplexity", "--json"] + arguments, input: Data(text.utf8))
    #expect(output.status == 0, "\(output.errors)")
    return try JSONDecoder().decode(Report.self, from: output.bytes)
  }

  /// The expected value from logits: the sum of -ln p of each token, after the BOS token and the tokens before it in
  /// its window.
  private func expected(window: Int) async throws -> (tokens: Int, nats: Double) {
    let ids = try await BitNetProgram.run("tokenize", Self.text).text.split(whereSeparator: \.isWhitespace).map {
      Int($0)!
    }
    var nats = 0.0
    for start in stride(from: 0, to: ids.count, by: window) {
      let targets = Array(ids[start..<min(ids.count, start + window)])
      let output = try await BitNetProgram.run(
        "logits", "--tokens", "-", "--output", "-", input: "\([4093] + targets.dropLast())")
      let logits = values(output.bytes, as: Float.self).map(Double.init)
      for (row, target) in targets.enumerated() {
        let values = logits[row * 4096..<(row + 1) * 4096]
        nats += log(values.reduce(0) { $0 + exp($1) }) - values[values.startIndex + target]
      }
    }
    return (ids.count, nats)
  }

  @Test("follows from the logits", arguments: [512, 7, 1])
  func matchesLogits(window: Int) async throws {
    let report = try await measure("--window", "\(window)")
    let expected = try await expected(window: window)
    #expect(report.tokens == expected.tokens)
    #expect(report.bytes == Self.text.utf8.count)
    #expect(abs(report.nats_per_token * Double(report.tokens) - expected.nats) < 1e-6)
    #expect(abs(report.perplexity - exp(expected.nats / Double(expected.tokens))) < 1e-6)
    #expect(abs(report.bits_per_byte - expected.nats / log(2) / Double(report.bytes)) < 1e-9)
  }

  @Test("uses the context length as the window, and does not depend on threads")
  func defaults() async throws {
    let whole = try await measure()
    #expect(try await measure("--window", "512", "--threads", "1").nats_per_token == whole.nats_per_token)
    let narrow = try await measure("--context", "7")
    #expect(try await measure("--window", "7").nats_per_token == narrow.nats_per_token)
    let table = try await BitNetProgram.run("perplexity", input: Self.text)
    #expect(table.text.contains("bits per byte   \(String(format: "%.4f", whole.bits_per_byte))"))
  }

  @Test("without a BOS token, does not predict the first token")
  func noBeginToken() async throws {
    try await TemporaryFolder.with { folder in
      let model = folder["model"]
      let tokenizer = Repository.path("Tests/TokenizationTests/Fixtures/small-gpt2.json")
      try FileManager.default.copyItem(at: URL(filePath: Fixture.all[1].path), to: model)
      try FileManager.default.copyItem(at: URL(filePath: tokenizer), to: model.appending(path: "tokenizer.json"))
      let ids = try await BitNetProgram.run("tokenize", "--model", model.path, "the rabbit").text.split(
        whereSeparator: \.isWhitespace)
      let report = try await measure("--model", model.path, text: "the rabbit")
      #expect(report.tokens == ids.count - 1)
      #expect(report.bytes < "the rabbit".utf8.count)
      #expect(try await measure("--model", model.path, "--window", "2", text: "the rabbit").tokens == report.tokens)
      let output = try await BitNetProgram.run(
        "logits", "--model", model.path, "--tokens", "-", "--output", "-", input: "[\(ids.joined(separator: ","))]")
      let logits = values(output.bytes, as: Float.self).map(Double.init)
      let nats = ids.indices.dropLast().reduce(0.0) { sum, row in
        let values = logits[row * 512..<(row + 1) * 512]
        return sum + log(values.reduce(0) { $0 + exp($1) }) - values[values.startIndex + Int(ids[row + 1])!]
      }
      #expect(abs(report.nats_per_token * Double(report.tokens) - nats) < 1e-6)
    }
  }
}

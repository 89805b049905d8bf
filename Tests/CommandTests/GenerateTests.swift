import Foundation
import TestSupport
import Testing

@Suite("bitnet generate")
struct GenerateTests {
  private struct Report: Decodable {
    struct Token: Decodable {
      struct Alternative: Decodable {
        let id: Int
        let logprob: Double
      }
      let id: Int
      let text: String
      let logprob: Double?
      let top: [Alternative]?
    }
    struct Sampling: Decodable {
      let seed: UInt64
    }
    struct Statistics: Decodable {
      let prompt_tokens: Int
      let generated_tokens: Int
    }
    let text: String
    let tokens: [Token]
    let finish_reason: String
    let sampling: Sampling
    let statistics: Statistics
  }

  private static let story = ["generate", "--prompt", "Once upon a time", "--max-tokens", "50"]

  private func report(_ arguments: [String], input: String = "") async throws -> Report {
    let output = try await BitNetProgram.run(["generate", "--json"] + arguments, input: Data(input.utf8))
    #expect(output.status == 0, "\(output.errors)")
    return try JSONDecoder().decode(Report.self, from: output.bytes)
  }

  @Test("refuses an argument that is not UTF-8 text")
  func foreignBytes() async throws {
    let process = Process()
    process.executableURL = URL(filePath: "/bin/sh")
    process.arguments = ["-c", #""$0" generate --prompt "$(printf 'On\377ce')" 2>&1"#, BitNetProgram.url.path]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 64, "\(text)")
    #expect(text.contains("Argument 3 is On\u{FFFD}ce; expected UTF-8 text"), "\(text)")
  }

  @Test("writes the same story for the same seed, with any number of threads and any instruction set")
  func reproducible() async throws {
    let first = try await BitNetProgram.run(Self.story + ["--seed", "7", "--threads", "1"])
    #expect(first.status == 0)
    #expect(first.text.hasPrefix("Once upon a time"))
    #expect(first.text.count > 100)
    #expect(first.errors.contains(/generated +50 tokens/))
    #expect(first.errors.contains("seed 7"))
    for more in [["--threads", "1"], ["--threads", "2"], ["--threads", "2", "--instruction-set", "portable"]] {
      #expect(try await BitNetProgram.run(Self.story + ["--seed", "7"] + more).text == first.text)
    }
    #expect(try await BitNetProgram.run(Self.story + ["--seed", "8"]).text != first.text)
  }

  @Test("prints the seed that it drew, and that seed gives the same text")
  func drawnSeed() async throws {
    let first = try await report(Array(Self.story.dropFirst()))
    let again = try await report(Self.story.dropFirst() + ["--seed", "\(first.sampling.seed)"])
    #expect(first.text == again.text)
    #expect(try await report(Array(Self.story.dropFirst())).text != first.text)
  }

  @Test("reads the prompt from standard input, without its final line break")
  func standardInput() async throws {
    let argument = try await BitNetProgram.run(Self.story + ["--sampling", "greedy", "--quiet"])
    let piped = try await BitNetProgram.run(
      "generate", "--max-tokens", "50", "--sampling", "greedy", "--quiet", input: "Once upon a time\n")
    #expect(argument.text.hasPrefix("Once upon a time there was a man"))
    #expect(argument.errors.isEmpty)
    #expect(piped.text == argument.text)
    let silent = try await BitNetProgram.run(Self.story + ["--sampling", "greedy", "--no-echo"])
    #expect("Once upon a time" + silent.text == argument.text)
  }

  @Test("prints JSON with tokens and probabilities")
  func json() async throws {
    let report = try await report([
      "--prompt", "Once upon a time", "--sampling", "greedy", "--max-tokens", "8", "--logprobs", "3",
    ])
    #expect(report.statistics.prompt_tokens == 5)
    #expect(report.statistics.generated_tokens == 8)
    #expect(report.finish_reason == "length")
    #expect(report.tokens.map(\.text).joined() == report.text)
    for token in report.tokens {
      let top = try #require(token.top)
      #expect(top.map(\.id).first == token.id && top.map(\.logprob).first == token.logprob)
      #expect(top.count == 3 && top.map(\.logprob) == top.map(\.logprob).sorted(by: >))
    }
    let plain = try await self.report(["--prompt", "Once upon a time", "--max-tokens", "2"])
    #expect(plain.tokens.allSatisfy { $0.logprob == nil && $0.top == nil })
  }

  @Test("appends receipts on lines of their own, after a torn line too")
  func receiptFile() async throws {
    try await TemporaryFolder.with { folder in
      let file = folder["receipts.jsonl"]
      let torn = #"{"finish_reason":"len"#
      try Data(torn.utf8).write(to: file)
      for _ in 1...2 {
        let run = try await BitNetProgram.run(
          "generate", "--prompt", "Once", "--max-tokens", "2", "--receipt", file.path)
        #expect(run.status == 0, "\(run.errors)")
      }
      let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false)
      #expect(lines.count == 4 && lines[0] == torn && lines[3].isEmpty, "\(lines)")
      let audit = try await BitNetProgram.run("audit", "-", input: lines[1...].joined(separator: "\n"))
      #expect(audit.status == 0 && !audit.errors.contains("signature"), "\(audit.text)\(audit.errors)")
      // Without a key, a signature says nothing, and the audit says that it does not look at it.
      let signed = lines[1].replacing(/"sha256":"[0-9a-f]+"/) {
        $0.output + #","signature":{"ed25519":"y","public_key":"x"}"#
      }
      let unchecked = try await BitNetProgram.run("audit", "-", input: String(signed))
      #expect(unchecked.status == 0 && unchecked.errors.contains("1 signature not checked"), "\(unchecked.errors)")
    }
  }

  @Test("stops at a stop text, and before the model's end token unless told otherwise")
  func stops() async throws {
    let stopped = try await report([
      "--prompt", "Once upon a time", "--sampling", "greedy", "--stop", " man", "--stop", "-x",
    ])
    #expect(stopped.text == " there was a")
    #expect(stopped.finish_reason == "stop")
    // Text follows an end token in the prompt. A special token is parsed only on request.
    let special = try await report(["--prompt", "<|begin_of_text|>Once", "--special", "--max-tokens", "1"])
    let text = try await report(["--prompt", "<|begin_of_text|>Once", "--max-tokens", "1"])
    #expect(special.statistics.prompt_tokens == 3)
    #expect(text.statistics.prompt_tokens > 5)
  }

  @Test("--interactive continues each line on its own")
  func interactive() async throws {
    let arguments = ["generate", "--interactive", "--sampling", "greedy", "--max-tokens", "6", "--quiet"]
    let both = try await BitNetProgram.run(arguments, input: Data("Once upon a time\nThe old king\n".utf8))
    #expect(both.status == 0)
    let first = try await BitNetProgram.run(arguments, input: Data("Once upon a time\n".utf8))
    let second = try await BitNetProgram.run(arguments, input: Data("The old king".utf8))
    #expect(both.text == first.text + second.text)
    // A prompt that does not fit the context is skipped.
    let long = String(repeating: "wood ", count: 2000)
    let skipping = try await BitNetProgram.run(
      arguments, input: Data("Once upon a time\n\(long)\nThe old king\n".utf8))
    #expect(skipping.text == both.text && skipping.status == 1)
    #expect(skipping.errors.hasPrefix("Error: the prompt has") && skipping.errors.split(separator: "\n").count == 1)
    let reports = try await BitNetProgram.run(
      arguments + ["--json"], input: Data("Once upon a time\nThe old king\n".utf8))
    let texts = try reports.text.split(separator: "\n").map {
      try JSONDecoder().decode(Report.self, from: Data($0.utf8)).text
    }
    #expect(texts.map { $0 + "\n" }.joined() == both.text)
  }

  @Test("writes the prompt as a chat message on request")
  func chatFormat() async throws {
    let plain = try await report([
      "--prompt", "Once upon a time", "--chat-format", "plain", "--sampling", "greedy", "--max-tokens", "3",
    ])
    #expect(plain.text == " there was a")
  }

  @Test("Ctrl-C ends it with the text so far and its statistics")
  func interrupt() async throws {
    try await TemporaryFolder.with { folder in
      let process = try BitNetProgram.start(
        ["generate", "--prompt", "Once upon a time", "--ignore-eos", "--context", "100000", "--max-tokens", "90000"],
        folder: folder
      )
      try process.wait { try Data(contentsOf: folder["stdout"]).count >= 200 }
      process.interrupt()
      let output = try await BitNetProgram.finish(process, folder: folder)
      #expect(process.terminationReason == .exit)
      #expect(output.status == 0)
      #expect(output.text.hasSuffix("\n"))
      #expect(output.errors.contains("generated"))
    }
  }
}

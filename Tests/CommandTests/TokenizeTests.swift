import BitNetRandomModels
import Foundation
import TestSupport
import Testing

@Suite("bitnet tokenize")
struct TokenizeTests {
  @Test("prints ids and turns them back into the same bytes")
  func roundTrip() async throws {
    let ids = try await BitNetProgram.run("tokenize", "Once upon a time")
    #expect(ids.text == "2154 713 258 518\n")
    #expect(try await BitNetProgram.run("tokenize", "--bos", "Once upon a time").text == "4093 2154 713 258 518\n")
    #expect(try await BitNetProgram.run("tokenize", "--decode", "2154 713 258 518").text == "Once upon a time")
    var generator = SeededGenerator(seed: 1)
    let bytes = Data((0..<5000).map { _ in UInt8.random(in: 0...255, using: &generator) })
    let encoded = try await BitNetProgram.run(["tokenize"], input: bytes)
    #expect(try await BitNetProgram.run(["tokenize", "--decode"], input: encoded.bytes).bytes == bytes)
  }

  @Test("takes special tokens for such only on request")
  func specials() async throws {
    #expect(try await BitNetProgram.run("tokenize", "--special", "<|begin_of_text|>Once").text == "4093 2154\n")
    #expect(try await BitNetProgram.run("tokenize", "<|begin_of_text|>Once").text.split(separator: " ").count > 4)
  }

  @Test("refuses names that a line gives twice, and names files of other kinds")
  func mistakes() async throws {
    for (arguments, line) in [([], #"{"text": "a", "text": "b"}"#), (["--decode"], #"{"ids": [1], "ids": []}"#)] {
      let output = try await BitNetProgram.run(["tokenize", "--jsonl"] + arguments, input: Data(line.utf8))
      #expect(output.status == 1 && output.errors.contains("given twice in one object"), "\(output.errors)")
      #expect(output.errors.contains("line 1 of standard input"), "\(output.errors)")
    }
    try await TemporaryFolder.with { folder in
      for (text, kind) in [
        ("PK\u{3}\u{4}", "a ZIP archive"), ("<!DOCTYPE html>", "HTML"), ("#version: 0.2\na b\n", "merges.txt"),
        ("", "empty"),
        ("version https://git-lfs.github.com/spec/v1\n", "Git LFS"), ("hello, king\n", "another text"),
      ] {
        let output = try await BitNetProgram.run(
          "tokenize", "--tokenizer", try folder.write(text, to: "tokenizer.model"), "a")
        #expect(output.status == 1 && output.errors.contains(kind), "\(output.errors)")
        #expect(output.errors.contains("expected a tokenizer.json, a tokenizer.model"), "\(output.errors)")
      }
    }
  }

  @Test("shows pieces")
  func pieces() async throws {
    #expect(
      try await BitNetProgram.run("tokenize", "--pieces", "Once\n\"").text
        == "2154\t\"Once\"\n198\t\"\\n\"\n1\t\"\\\"\"\n")
  }

  @Test("converts JSON lines both ways")
  func jsonLines() async throws {
    struct Line: Codable {
      let text: String
    }
    let texts = ["Once upon a time", "", "naïve 你好 😀\n\"quoted\"\t/", "\u{0}", "e\u{301}"]
    let lines = try texts.map { String(decoding: try JSONEncoder().encode(Line(text: $0)), as: UTF8.self) + "\n" }
      .joined()
    let ids = try await BitNetProgram.run("tokenize", "--jsonl", input: lines)
    #expect(ids.text.hasPrefix(#"{"ids":[2154,713,258,518]}"# + "\n" + #"{"ids":[]}"# + "\n"))
    let back = try await BitNetProgram.run(["tokenize", "--jsonl", "--decode"], input: ids.bytes)
    let decoded = try back.text.split(separator: "\n").map {
      try JSONDecoder().decode(Line.self, from: Data($0.utf8)).text
    }
    #expect(decoded == texts)
  }

  @Test("reads a tokenizer file, and a converted model's tokenizer is its folder's")
  func sources() async throws {
    let tokenizer = Repository.path("Tests/TokenizationTests/Fixtures/small-llama3.json")
    let text = "In wonderland, the White Rabbit <|eot_id|> 123"
    let expected = try await BitNetProgram.run("tokenize", "--tokenizer", tokenizer, "--special", text)
    #expect(expected.status == 0, "\(expected.errors)")
    try await TemporaryFolder.with { folder in
      // A model with a tokenizer: one of the fixtures beside the small tokenizer, whose vocabulary fits.
      let model = folder["model"]
      try FileManager.default.copyItem(at: URL(filePath: Fixture.all[1].path), to: model)
      try FileManager.default.copyItem(at: URL(filePath: tokenizer), to: model.appending(path: "tokenizer.json"))
      let converted = folder["converted.safetensors"].path
      let conversion = try await BitNetProgram.run("convert", model.path, converted)
      #expect(conversion.status == 0 && conversion.errors.isEmpty, "\(conversion.errors)")
      for path in [model.path, converted] {
        #expect(try await BitNetProgram.run("tokenize", "--model", path, "--special", text).text == expected.text)
      }
      let without = folder["without.safetensors"].path
      #expect(try await BitNetProgram.run("convert", model.path, without, "--no-tokenizer").status == 0)
      let refusal = try await BitNetProgram.run("tokenize", "--model", without, text)
      #expect(refusal.status == 1 && refusal.errors.contains("the tokenizer is missing"), "\(refusal.errors)")
    }
  }

  @Test("reads a SentencePiece model, and leaves special tokens out of decoded text on request")
  func sentencePiece() async throws {
    let tokenizer = Repository.path("Tests/TokenizationTests/Fixtures/mini/llama2-mini/tokenizer.model")
    func run(_ arguments: String...) async throws -> String {
      let run = try await BitNetProgram.run(["tokenize", "--tokenizer", tokenizer] + arguments, input: Data())
      #expect(run.status == 0, "\(run.errors)")
      return run.text
    }
    let ids = try await run("--special", "the cat</s>")
    #expect(ids.hasSuffix(" 2\n"))
    #expect(try await run("--decode", ids) == "the cat</s>")
    #expect(try await run("--decode", "--skip-special", ids) == "the cat")
    #expect(try await run("--bos", "").hasPrefix("1"))
    #expect(try await run("--pieces", "the").hasPrefix("\(ids.split(separator: " ")[0])\t\" "))
    // Bytes that are no text come back as they are.
    let bytes = Data([0x61, 0xFF, 0x20, 0xE4, 0xBD])
    let encoded = try await BitNetProgram.run(["tokenize", "--tokenizer", tokenizer], input: bytes)
    let decoded = try await BitNetProgram.run(["tokenize", "--tokenizer", tokenizer, "--decode"], input: encoded.bytes)
    #expect(decoded.bytes == bytes)
    let usage = try await BitNetProgram.run("tokenize", "--skip-special", "the")
    #expect(usage.status != 0 && usage.errors.contains("--skip-special is for --decode"), "\(usage.errors)")
  }

  @Test("times encoding")
  func benchmark() async throws {
    let lines = try await BitNetProgram.run("tokenize", "--benchmark", "2", "Once upon a time").text.split(
      separator: "\n")
    #expect(lines.count == 2)
    #expect(lines.allSatisfy { $0.hasPrefix("16 4 ") && Double($0.split(separator: " ")[2]) != nil })
  }
}

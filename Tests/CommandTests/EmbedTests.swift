import BitNet
import Foundation
import TestSupport
import Testing

@Suite("bitnet embed")
struct EmbedTests {
  private struct Line: Decodable {
    let index: Int
    let tokens: Int
    let embedding: [Float]
  }

  private static let model = Fixture.embedding[0].path
  private static let texts = Array(Fixture.texts.prefix(3))

  private func lines(_ output: BitNetProgram.Output) throws -> [Line] {
    #expect(output.status == 0, "\(output.errors)")
    return try output.text.split(separator: "\n").map { try JSONDecoder().decode(Line.self, from: Data($0.utf8)) }
  }

  @Test("prints the same vectors for arguments, lines and JSON lines, and writes them as a NumPy array")
  func forms() async throws {
    let arguments = try lines(await BitNetProgram.run(["embed", "--model", Self.model, "--"] + Self.texts))
    let embedder = try await Embedder.load(Self.model, options: .init(device: .cpu(.init(threads: 1))))
    let expected = try await embedder.embed(Self.texts)
    #expect(arguments.map(\.embedding) == expected && arguments.map(\.index) == [0, 1, 2])
    #expect(arguments.map(\.tokens) == Self.texts.map { $0.utf8.count + 1 })
    let plain = Self.texts.joined(separator: "\n") + "\r\n"
    let fromLines = try lines(await BitNetProgram.run("embed", "--model", Self.model, input: plain))
    #expect(fromLines.map(\.embedding) == expected)
    try await TemporaryFolder.with { folder in
      let path = folder["vectors.npy"].path
      let output = try await BitNetProgram.run(["embed", "--model", Self.model, "--output", path, "--"] + Self.texts)
      #expect(output.status == 0 && output.text.isEmpty, "\(output.errors)")
      let bytes = try Data(contentsOf: folder["vectors.npy"])
      let header = Int(bytes[8]) + Int(bytes[9]) << 8
      #expect((10 + header) % 64 == 0)
      #expect(String(decoding: bytes[10..<10 + header], as: UTF8.self).hasPrefix("{'descr': '<f4', 'fortran_order'"))
      #expect(values(Data(bytes[(10 + header)...]), as: Float.self) == expected.flatMap(\.self))
    }
  }

  private struct Answer: Decodable {
    let line: Int
    let embedding: [Float]?
  }

  @Test("answers the lines of a file, goes on where an earlier run ended, and takes OpenAI's requests")
  func batch() async throws {
    let embedder = try await Embedder.load(Self.model, options: .init(device: .cpu(.init(threads: 1))))
    let expected = try await embedder.embed(Self.texts)
    let lines =
      Self.texts.map { #"{"text": "\#($0)", "id": 7, "other": []}"# } + [
        #"{"txt": "a"}"#, "",
        #"{"custom_id": "c", "method": "POST", "url": "/v1/embeddings", "body": {"input": "\#(Self.texts[0])"}}"#,
        #"{"custom_id": "d", "url": "/v1/completions", "body": {"prompt": "A"}}"#,
      ]
    try await TemporaryFolder.with { folder in
      let (input, output) = (folder["lines.jsonl"], folder["vectors.jsonl"])
      try Data(lines.joined(separator: "\n").utf8).write(to: input)
      let arguments = ["embed", "--model", Self.model, "--jsonl", input.path]
      let run = try await BitNetProgram.run(arguments)
      #expect(run.status == 1 && run.errors.contains("2 lines failed"), "\(run.errors)")
      let texts = run.text.split(separator: "\n").map(String.init)
      let answers = try texts.map { try JSONDecoder().decode(Answer.self, from: Data($0.utf8)) }
      #expect(answers.map(\.line) == [1, 2, 3, 4, 6, 7])
      #expect(answers.prefix(3).map(\.embedding) == expected)
      #expect(texts[0].hasPrefix(#"{"line":1,"id":7,"tokens":"#))
      #expect(texts[3].contains(#"{"line":4,"error":{"message":"text is missing"#), "\(texts[3])")
      #expect(texts[4].contains(#""custom_id":"c","response":{"status_code":200,"#))
      #expect(texts[5].contains("expected /v1/embeddings"), "\(texts[5])")
      for end in [0, 10, run.bytes.count / 2, run.bytes.count] {
        try run.bytes.prefix(end).write(to: output)
        _ = try await BitNetProgram.run(arguments + ["--output", output.path, "--quiet"])
        #expect(try Data(contentsOf: output) == run.bytes, "\(end)")
      }
      let wide = try await BitNetProgram.run(arguments + ["--output", output.path, "--dimensions", "9999"])
      #expect(
        wide.status == 1 && wide.errors.hasPrefix("Error: --dimensions is 9999; expected 1 to "), "\(wide.errors)")
      #expect(try Data(contentsOf: output) == run.bytes)
      let unordered = try await BitNetProgram.run(
        ["embed", "--model", Self.model, "--jsonl", "-", "--unordered"], input: Data(contentsOf: input))
      #expect(unordered.text.split(separator: "\n").map(String.init).sorted() == texts.sorted())
    }
  }

  @Test("takes a prefix by its name or as text, and fewer dimensions")
  func options() async throws {
    let text = Self.texts[0]
    let named = try lines(
      await BitNetProgram.run("embed", "--model", Self.model, "--query-prefix", "query", text, input: ""))
    let given = try lines(
      await BitNetProgram.run("embed", "--model", Self.model, "--query-prefix", "query: ", text, input: ""))
    let written = try lines(await BitNetProgram.run("embed", "--model", Self.model, "query: " + text, input: ""))
    #expect(named[0].embedding == written[0].embedding && given[0].embedding == written[0].embedding)
    let short = try lines(
      await BitNetProgram.run("embed", "--model", Self.model, "--dimensions", "8", text, input: ""))[0].embedding
    #expect(short.count == 8 && abs(short.reduce(0) { $0 + $1 * $1 } - 1) < 1e-5)
  }

  @Test("prints a table of cosines")
  func similarity() async throws {
    let output = try await BitNetProgram.run(
      ["embed", "--model", Self.model, "--similarity", "--"] + Self.texts)
    let rows = output.text.split(separator: "\n").map { $0.split(separator: " ") }
    #expect(output.status == 0 && rows.count == 4 && rows[0] == ["1", "2", "3"], "\(output.text)")
    for index in 1...3 where rows.count == 4 { #expect(rows[index][index] == "1.000") }
  }

  @Test(
    "says what is wrong in one sentence",
    arguments: [
      (["x"], "", "the built-in demo model writes texts; pass --model with an embedding model"),
      (["--model", model, "--dimensions", "65", "x"], "", "the number of dimensions is 65; expected 1 to 64"),
      (["--model", model], "", "standard input has no lines; expected a text in each"),
      (
        ["--model", model, "--jsonl", "-", "--output", "/none/v.npy"], #"{"txt": "a"}"#,
        #"line 1 of standard input is not {"text": "…"}"#
      ),
      (["--model", model, "--jsonl", "-", "x"], "", "--jsonl reads texts from a file"),
      (["--model", model, "--unordered", "x"], "", "--unordered is given without --jsonl"),
      (
        ["--model", model, "--context", "3", "long text"], "",
        "text 1 is 10 tokens long; expected 1 to 3, the context; shorten or divide it"
      ),
    ])
  func refusals(arguments: [String], input: String, message: String) async throws {
    let output = try await BitNetProgram.run(["embed"] + arguments, input: Data(input.utf8))
    #expect(output.status != 0 && output.text.isEmpty)
    #expect(output.errors.contains(message), "\(output.errors)")
  }

  @Test("names a language model as what it is")
  func languageModel() async throws {
    let output = try await BitNetProgram.run("embed", "--model", Fixture.all[0].path, "x", input: "")
    #expect(output.status != 0)
    // The fixtures of language models have no tokenizer.
    #expect(output.errors.contains("the tokenizer is missing"), "\(output.errors)")
  }

  #if os(Linux)
    @Test("gives the CPU's vectors on an emulated GPU", arguments: Fixture.embedding)
    func device(fixture: Fixture) async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        func vectors(_ device: String) async throws -> [[Float]] {
          let arguments = ["embed", "--model", fixture.path, "--device", device, "--"] + Self.texts
          return try lines(await BitNetProgram.run(arguments, environment: environment)).map(\.embedding)
        }
        let (found, expected) = (try await vectors("cuda"), try await vectors("cpu"))
        #expect(found == expected)
      }
    }

    @Test("and auto takes the GPU for such models, whose causal ones also continue a text")
    func automaticDevice() async throws {
      try await TemporaryFolder.with { folder in
        let environment = try emulatedGPU(folder)
        for fixture in Fixture.embedding.prefix(2) {
          let arguments = ["generate", "--model", fixture.path, "--prompt", "ab", "--max-tokens", "6", "--device"]
          let expected = try await BitNetProgram.run(arguments + ["cpu"])
          let found = try await BitNetProgram.run(arguments + ["auto"], environment: environment)
          #expect(found.status == 0 && found.bytes == expected.bytes, "\(found.errors)")
          #expect(found.errors.contains(" CUDA on CPU (emulated)\n"), "\(found.errors)")
        }
      }
    }
  #endif
}

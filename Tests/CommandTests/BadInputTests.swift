import Foundation
import TestSupport
import Testing

/// Wrong arguments, the expected sentence, and the expected exit status.
struct Mistake: CustomTestStringConvertible, Sendable {
  var arguments: [String]
  var input = ""
  var environment: [String: String] = [:]
  var sentence: String
  var status: Int32 = 1

  var testDescription: String { arguments.joined(separator: " ") }
}

@Suite("Mistakes get one sentence")
struct BadInputTests {
  private static let fixture = Fixture.all[1].path
  private static let story = ["generate", "--prompt", "Once upon a time"]

  @Test(arguments: [
    Mistake(
      arguments: story + ["--model", "/no/such/model"],
      sentence: "/no/such/model: the file cannot be opened: No such file or directory"),
    Mistake(arguments: story + ["--model", ""], sentence: "\"\": the file cannot be opened: No such file"),
    Mistake(
      arguments: story + ["--receipt", ""], sentence: "the path \"\" cannot be opened for writing: No such file"),
    Mistake(
      arguments: story + ["--model", Repository.path("Tests/Fixtures")], sentence: "the folder has no config.json"),
    Mistake(arguments: story + ["--model", Repository.path("Package.swift")], sentence: "Package.swift: "),
    Mistake(arguments: story + ["--model", fixture], sentence: "the tokenizer is missing; expected tokenizer.json"),
    Mistake(arguments: story + ["--cache-size", "2X"], sentence: "--cache-size is \"2X\"; expected bytes, as in 500M"),
    Mistake(arguments: story + ["--cache-size", "-1"], sentence: "--cache-size is \"-1\"; expected bytes"),
    Mistake(arguments: story + ["--cache-size", "1.5.0G"], sentence: "--cache-size is \"1.5.0G\"; expected bytes"),
    Mistake(arguments: story + ["--cache-size", "9999T"], sentence: "--cache-size is \"9999T\"; expected bytes"),
    Mistake(
      arguments: story + ["--instruction-set", "sse9"],
      sentence: "the instruction set is sse9; expected one that this machine has"),
    Mistake(arguments: story, environment: ["BITNET_INSTRUCTION_SET": "mmx"], sentence: "the instruction set is mmx"),
    Mistake(arguments: story + ["--threads", "0"], sentence: "the number of threads is 0; expected 1 to 1024"),
    Mistake(arguments: story + ["--context", "-5"], sentence: "the context length is -5"),
    Mistake(arguments: story + ["--context", "3"], sentence: "the prompt has 5 tokens; the context holds 3"),
    Mistake(arguments: story + ["--temperature", "-1"], sentence: "--temperature is -1.0; expected 0 to 100"),
    Mistake(arguments: story + ["--temperature", "nan"], sentence: "--temperature is nan; expected 0 to 100"),
    Mistake(
      arguments: story + ["--model", "/no/such/model", "--temperature", "101"],
      sentence: "--temperature is 101.0; expected 0 to 100"),
    Mistake(arguments: story + ["--top-p", "-0.1"], sentence: "--top-p is -0.1; expected 0 to 1"),
    Mistake(
      arguments: story + ["--top-k", "-2"], sentence: "--top-k is -2; expected 1 to 2147483647, or 0 or -1 (all)"),
    Mistake(arguments: story + ["--min-p", "2"], sentence: "--min-p is 2.0; expected 0 to 1"),
    Mistake(
      arguments: story + ["--repetition-penalty", "0.005"],
      sentence: "--repetition-penalty is 0.005; expected 0.01 to 100"),
    Mistake(arguments: story + ["--presence-penalty", "-3"], sentence: "--presence-penalty is -3.0; expected -2 to 2"),
    Mistake(
      arguments: story + ["--sampling", "greedy", "--top-k", "3"], sentence: "top-k has no effect at temperature 0"),
    Mistake(arguments: story + ["--max-tokens", "0"], sentence: "--max-tokens is 0; expected 1 or more"),
    Mistake(arguments: story + ["--json", "--logprobs", "-1"], sentence: "--logprobs is -1; expected 0 or more"),
    Mistake(arguments: story + ["--chat-format", "llama3"], sentence: "special token <|start_header_id|> is missing"),
    Mistake(
      arguments: story + ["--json-object", "--ignore-eos"],
      sentence: "--ignore-eos is given beside --json-object, whose texts end; expected one of the two", status: 64),
    Mistake(
      arguments: story + ["--json-schema", #"{"enum": []}"#],
      sentence: "enum of the schema is an array; expected an array of one or more values"),
    Mistake(arguments: story + ["--unknown"], sentence: "Unknown option '--unknown'", status: 64),
    Mistake(
      arguments: story + ["--device", "cpu,abacus"],
      sentence: "\"abacus\" is no device; expected auto, cpu, cuda or cuda:N", status: 64),
    Mistake(
      arguments: story + ["--device", "cuda:1", "--mapped"],
      sentence: "--mapped is for the CPU, and --device is cuda:1; expected one of the two", status: 64),
    Mistake(arguments: story + ["--sampling", "best"], sentence: "'best' is invalid", status: 64),
    Mistake(arguments: story + ["--seed", "-1"], sentence: "'-1' is invalid", status: 64),
    Mistake(arguments: story + ["--logprobs", "1"], sentence: "--logprobs is given without --json", status: 64),
    Mistake(
      arguments: story + ["--interactive"], sentence: "--interactive cannot be combined with --prompt", status: 64),
    Mistake(arguments: ["sing"], sentence: "Unexpected argument 'sing'", status: 64),
    Mistake(
      arguments: ["convert", "/no/such/folder", "/tmp/never"], sentence: "/no/such/folder: the file cannot be opened"),
    Mistake(
      arguments: ["convert", fixture, "/no/such/folder/model"],
      sentence: "/no/such/folder/model: the file cannot be created"),
    Mistake(
      arguments: story + ["--model", "org/name"], environment: ["HF_HUB_CACHE": "/no/such/cache"],
      sentence: "org/name: the model is neither a file, nor a folder, nor in the cache /no/such/cache; "
        + "run bitnet pull org/name"),
    Mistake(
      arguments: ["remove", "org/name"], environment: ["HF_HUB_CACHE": "/no/such/cache"],
      sentence: "org/name: the model is not in the cache /no/such/cache; expected one that bitnet list shows"),
    Mistake(arguments: ["pull", "name"], sentence: "expected a name on the hub, org/name", status: 64),
    Mistake(arguments: ["remove", "../x"], sentence: "expected a name on the hub, org/name", status: 64),
    Mistake(arguments: ["audit", ""], sentence: "the path \"\" cannot be opened: No such file"),
    Mistake(arguments: ["inspect", "/no/such/model"], sentence: "/no/such/model: the file cannot be opened"),
    Mistake(
      arguments: ["perplexity", "/no/such/text"],
      sentence: "/no/such/text cannot be opened: No such file or directory"),
    Mistake(arguments: ["perplexity", Repository.path("Sources")], sentence: "cannot be read: Is a directory"),
    Mistake(arguments: ["perplexity", fixture + "/model.safetensors"], sentence: "is not UTF-8 text"),
    Mistake(arguments: ["perplexity"], sentence: "the length of the text is 0 tokens; expected 1 or more"),
    Mistake(
      arguments: ["perplexity", "--window", "513"], input: "x",
      sentence: "the window is 513; expected 1 to the context length, 512"
    ),
    Mistake(arguments: ["tokenize", "--tokenizer", "/no/such/tokenizer"], sentence: "/no/such/tokenizer"),
    Mistake(
      arguments: ["tokenize", "--model", fixture],
      sentence: "the tokenizer is missing; expected a file tokenizer.json"),
    Mistake(arguments: ["tokenize", "--model", "m", "--tokenizer", "t"], sentence: "expected one of them", status: 64),
    Mistake(arguments: ["tokenize", "--decode", "12 zwölf"], sentence: "\"zwölf\" is not a token id"),
    Mistake(
      arguments: ["tokenize", "--decode", "4096"], sentence: "no token has the id 4096; expected ids from 0 to 4095"),
    Mistake(arguments: ["tokenize", "--decode", "99999999999"], sentence: "no token has the id 99999999999"),
    Mistake(
      arguments: ["tokenize", "--jsonl"], input: "{\"text\": \"a\"}\n{\"text\": \"\\ud800\"}\n",
      sentence: "line 2 of standard input is not"),
    Mistake(
      arguments: ["tokenize", "--jsonl"], input: "{\"text\"",
      sentence: "line 1 of standard input is not a JSON object"),
    Mistake(
      arguments: ["tokenize", "--jsonl", "--decode"], input: "{\"ids\": [1.5]}",
      sentence: "line 1 of standard input is not"),
    Mistake(
      arguments: ["tokenize", "--jsonl", "--decode"], input: "{\"ids\": [4096]}",
      sentence: "line 1 of standard input: no token has the id 4096"),
    Mistake(arguments: ["tokenize", "--benchmark", "0", "x"], sentence: "--benchmark is 0; expected 1 or more"),
  ])
  func mistake(_ mistake: Mistake) async throws { try await check(mistake) }

  @Test(
    "in logits",
    arguments: [
      Mistake(arguments: [], input: "[1, 4096]", sentence: "token id 4096 is out of range; expected 0 to 4095"),
      Mistake(arguments: [], input: "[-1]", sentence: "token id -1 is out of range"),
      Mistake(arguments: [], input: "[99999999999]", sentence: "token id 99999999999 is out of range"),
      Mistake(
        arguments: [], input: "\(Array(repeating: 1, count: 513))",
        sentence: "the prompt has 513 tokens; the context holds 512"),
      Mistake(
        arguments: ["--chunk", "2"], input: "\(Array(repeating: 1, count: 513))",
        sentence: "the prompt has 513 tokens"),
      Mistake(arguments: [], input: "[1.5]", sentence: "standard input is not a JSON array of token ids"),
      Mistake(arguments: [], input: "[1, 2", sentence: "standard input is not a JSON array of token ids"),
      Mistake(arguments: [], input: "{}", sentence: "standard input is not a JSON array of token ids"),
      Mistake(arguments: [], input: "[]", sentence: "standard input has no tokens; expected one or more"),
      Mistake(arguments: ["--chunk", "0"], input: "[1]", sentence: "--chunk is 0; expected 1 or more"),
      Mistake(
        arguments: ["--chunk", "1", "--engine", "reference", "--float64"], input: "[1]",
        sentence: "--chunk cannot be combined with",
        status: 64),
      Mistake(arguments: ["--engine", "steam"], input: "[1]", sentence: "'steam' is invalid", status: 64),
    ])
  func logits(_ mistake: Mistake) async throws {
    try await TemporaryFolder.with { folder in
      var mistake = mistake
      mistake.arguments = ["logits", "--tokens", "-", "--output", folder["out"].path] + mistake.arguments
      try await check(mistake)
      #expect(!FileManager.default.fileExists(atPath: folder["out"].path))
    }
  }

  private func check(_ mistake: Mistake) async throws {
    let output = try await BitNetProgram.run(
      mistake.arguments, input: Data(mistake.input.utf8), environment: mistake.environment)
    #expect(output.status == mistake.status)
    #expect(output.errors.hasPrefix("Error: "))
    #expect(output.errors.contains(mistake.sentence), "\(output.errors)")
    // After the sentence, usage errors print a hint on the usage.
    if mistake.status == 1 { #expect(output.errors.split(separator: "\n").count == 1, "\(output.errors)") }
    if mistake.arguments.first == "generate" { #expect(output.text.isEmpty) }
  }

  @Test("A text that begins with a dash is a text")
  func dashes() async throws {
    let output = try await BitNetProgram.run("generate", "--prompt", "-No!", "--max-tokens", "1", "--quiet")
    #expect(output.status == 0 && output.text.hasPrefix("-No!"), "\(output.errors)")
  }

  @Test(
    "Help about what does not exist, and stop texts that are empty, are mistakes",
    arguments: [
      (["help", "foo"], "There is no command bitnet foo; expected one of generate, chat"),
      (["help", "bench", "foo"], "There is no command bitnet bench foo; expected one of kernels"),
      (["help", "generate", "foo"], "bitnet generate has no command foo"),
      (["generate", "--prompt", "a", "--stop", ""], "--stop is empty; expected a text"),
    ])
  func usage(_ arguments: [String], sentence: String) async throws {
    let output = try await BitNetProgram.run(arguments)
    #expect(output.status == 64 && output.text.isEmpty && output.errors.contains(sentence), "\(output.errors)")
  }

  @Test("Help and version are no mistakes")
  func help() async throws {
    #expect(try await BitNetProgram.run("--version").text == "0.1.0\n")
    #expect(try await BitNetProgram.run("help", "bench", "model").text.contains("OVERVIEW"))
    let help = try await BitNetProgram.run([])
    #expect(help.status == 0)
    for command in [
      "generate", "chat", "convert", "inspect", "tokenize", "logits", "perplexity", "devices", "bench", "verify",
    ] {
      #expect(help.text.contains("  \(command) "))
      let own = try await BitNetProgram.run(command, "--help")
      #expect(own.status == 0)
      #expect(own.text.contains("  bitnet \(command)"))
    }
    #expect(try await BitNetProgram.run("devices").text.contains("portable"))
  }
}

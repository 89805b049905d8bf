import Foundation
import TestSupport
import Testing

@Suite("bitnet generate --jsonl")
struct BatchTests {
  /// Lines of all kinds: with options of their own, empty, and wrong.
  private static let lines = [
    #"{"prompt": "Once upon a time", "id": "first"}"#,
    #"{"prompt": "The old king", "max_tokens": 3, "temperature": 0, "id": 2}"#,
    "",
    #"{"prompt": "The fox", "seed": 7, "temperature": 1.5, "stop": ["e"], "logprobs": 2}"#,
    #"{"prompt": "The fox", "max_token": 7}"#,
    "no JSON",
    #"{"prompt": "", "min_p": 0.2, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.2}"#,
    #"{"messages": [{"role": "user", "content": "Hello"}]}"#,
    #"{"prompt": "A", "temperature": 1e9}"#,
    #"{"prompt": "A long", "max_tokens": 40, "ignore_eos": true}"#,
  ]

  private static func run(_ arguments: String..., input: String? = nil) async throws -> BitNetProgram.Output {
    try await BitNetProgram.run(
      ["generate", "--max-tokens", "12"] + arguments, input: Data((input ?? lines.joined(separator: "\n")).utf8))
  }

  @Test("answers lines in their order, each as it would be alone")
  func order() async throws {
    let run = try await Self.run("--jsonl", "-")
    #expect(run.status == 1 && run.errors.contains("5 lines failed") == false, "\(run.errors)")
    let answers = run.text.split(separator: "\n").map(String.init)
    #expect(answers.count == 9)
    #expect(answers[0].hasPrefix(#"{"line":1,"id":"first","text":""#))
    #expect(answers[1].contains(#""line":2,"id":2,"#) && answers[1].contains(#""completion_tokens":3"#))
    #expect(answers[2].hasPrefix(#"{"line":4,"#) && answers[2].contains(#""tokens":[{"id":"#))
    #expect(answers[3].contains("max_token is unknown; expected line, id, prompt or messages"))
    #expect(answers[4].hasPrefix(#"{"line":6,"error":{"message":"the JSON text at line 1"#))
    #expect(answers[6].contains("chat template is missing"))
    #expect(answers[7].contains("temperature is 1e9"))
    for concurrency in ["1", "3"] {
      #expect(try await Self.run("--jsonl", "-", "--concurrency", concurrency).text == run.text)
    }
    let unordered = try await Self.run("--jsonl", "-", "--unordered").text
    #expect(unordered.split(separator: "\n").map(String.init).sorted() == answers.sorted())
    // The line's number decides its seed, wherever the line is.
    let alone = try await Self.run("--jsonl", "-", input: #"{"prompt": "Once upon a time", "line": 5, "id": 1}"#)
    let fifth = try await Self.run(
      "--jsonl", "-", input: "\n\n\n\n" + #"{"prompt": "Once upon a time", "id": 1}"#)
    #expect(alone.text == fifth.text && alone.text.hasPrefix(#"{"line":5,"#), "\(alone.text)")
  }

  @Test("gives a receipt with each answer, and audit reads the answers")
  func receipts() async throws {
    let lines = #"{"prompt": "The fox", "presence_penalty": 1}"# + "\n" + #"{"prompt": "A", "frequency_penalty": -1}"#
    let options = [
      "--jsonl", "-", "--receipts", "--receipt-digests", "--logit-bias", "11=-3", "--json-object", "--quiet",
    ]
    let run = try await BitNetProgram.run(["generate", "--max-tokens", "12"] + options, input: Data(lines.utf8))
    #expect(run.status == 0 && !run.text.contains("\"tokens\":[{"), "\(run.errors)")
    let audit = try await BitNetProgram.run(["audit", "-", "--json"], input: run.bytes)
    #expect(audit.status == 0 && audit.text.split(separator: "\n").count == 2, "\(audit.text)")
    let forged = run.text.replacing("\\\"seed\\\":\\\"1\\\"", with: "\\\"seed\\\":\\\"3\\\"")
    #expect(forged != run.text)
    let wrong = try await BitNetProgram.run(["audit", "-"], input: Data(forged.utf8))
    #expect(wrong.status == 1 && wrong.text.contains("line 1: right") && wrong.text.contains("line 2: wrong"))
    // A line that is an error has no receipt; one of OpenAI's form has them in its choices.
    let first = run.text.split(separator: "\n")[0]
    let receipt = first[first.range(of: #""receipt":"#)!.upperBound...].dropLast()
    let others =
      #"{"line":1,"error":"prompt is missing"}"# + "\n" + #"{"response":{"body":{"choices":[{"receipt":"#
      + receipt + "}]}}}\n"
    let mixed = try await BitNetProgram.run(["audit", "-"], input: Data(others.utf8))
    #expect(mixed.status == 0 && mixed.text.hasPrefix("-, line 2: right"), "\(mixed.text)\(mixed.errors)")
    let marked = try await BitNetProgram.run(["audit", "-"], input: Data(("\u{FEFF}" + first + "\n").utf8))
    #expect(marked.status == 0, "\(marked.text)\(marked.errors)")
    let bare = #"{"line":1,"text":"A"}"#
    let without = try await BitNetProgram.run(["audit", "-"], input: Data((first + "\n" + bare).utf8))
    #expect(without.status == 1 && without.text.contains("line 2: no receipt"), "\(without.text)")
    let failed = try await BitNetProgram.run(["audit", "-"], input: Data(#"{"line":1,"error":{"message":"A"}}"#.utf8))
    #expect(failed.status == 1 && failed.errors.contains("has no receipts"), "\(failed.errors)")
    let requests = [#""prompt":"A""#, #""prompt":"A","receipt":true"#, #""prompt":"A","receipt":false"#].map {
      #"{"custom_id":"a","url":"/v1/completions","body":{\#($0),"max_tokens":2}}"#
    }
    let asked = try await Self.run("--jsonl", "-", "--receipts", input: requests.joined(separator: "\n"))
    #expect(
      asked.text.split(separator: "\n").map { $0.contains(#""receipt":"{"#) } == [true, true, false], "\(asked.text)")
    let alone = try await BitNetProgram.run(["generate", "--prompt", "A", "--receipts"])
    #expect(alone.status != 0 && alone.errors.contains("--receipts is given without --jsonl"), "\(alone.errors)")
  }

  @Test("refuses to write to its input, and to cut a file that is not the output of a batch")
  func foreignOutput() async throws {
    try await TemporaryFolder.with { folder in
      for (name, text) in [
        ("input", #"{"prompt": "my only copy"}"#), ("diary", "one long line without an end"),
        ("poem", #"{"line": 1, "words": "Once"}"# + "\n"), ("vector", #"{"line": 1, "embedding": [1]}"# + "\n"),
        ("twins", #"{"line": 1, "text": "Once"}"# + "\n" + #"{"line": 1, "text": "Twice"}"# + "\n"),
      ] {
        let output = folder[name]
        try Data(text.utf8).write(to: output)
        let input = name == "input" ? output.path : "-"
        let run = try await Self.run("--jsonl", input, "--output", output.path, input: Self.lines[0])
        #expect(run.status == 1 && run.errors.contains("expected"), "\(run.errors)")
        #expect(try Data(contentsOf: output) == Data(text.utf8))
      }
    }
  }

  @Test("answers the lines around one that is too long")
  func longLine() async throws {
    let long = #"{"prompt": ""# + String(repeating: "a", count: 65 << 20) + #""}"#
    let lines = [#"{"prompt": "A"}"#, long, #"{"prompt": "The"}"#, long].joined(separator: "\n")
    let run = try await Self.run("--jsonl", "-", input: lines)
    let answers = run.text.split(separator: "\n").map(String.init)
    #expect(run.status == 1 && answers.count == 4)
    for (index, answer) in answers.enumerated() {
      #expect(answer.hasPrefix(#"{"line":\#(index + 1),"#), "\(answer)")
      #expect(answer.contains("has more than 67.1 MB") == (index % 2 == 1), "\(answer)")
    }
  }

  @Test("takes the values of parameters that the server takes")
  func parameters() async throws {
    let greedy = #"{"prompt": "The fox", "temperature": 0}"#
    let lines = [
      greedy, #"{"prompt": "The fox", "temperature": 1e-9}"#, #"{"prompt": "The fox", "temperature": 1, "top_p": 0}"#,
      #"{"prompt": "The fox", "temperature": 0, "top_k": -1, "seed": -1}"#,
    ]
    let run = try await Self.run("--jsonl", "-", input: lines.joined(separator: "\n"))
    let texts = run.text.split(separator: "\n").map { $0[$0.range(of: #""text""#)!.lowerBound...] }
    #expect(run.status == 0 && texts.count == 4 && Set(texts).count == 1, "\(run.text)\(run.errors)")
  }

  @Test(
    "takes the same values from options, which apply to lines that do not say otherwise",
    arguments: [
      ["--temperature", "1e-9"], ["--temperature", "1", "--top-p", "0"], ["--temperature", "0", "--top-k", "-1"],
      ["--temperature", "0.5", "--top-k", "1"],
    ])
  func options(_ options: [String]) async throws {
    let lines = [#"{"prompt": "The fox"}"#, #"{"prompt": "The fox", "temperature": 0}"#]
    let run = try await BitNetProgram.run(
      ["generate", "--jsonl", "-", "--max-tokens", "12"] + options, input: Data(lines.joined(separator: "\n").utf8))
    let texts = run.text.split(separator: "\n").map { $0[$0.range(of: #""text""#)!.lowerBound...] }
    #expect(run.status == 0 && texts.count == 2 && Set(texts).count == 1, "\(run.text)\(run.errors)")
  }

  @Test("goes on where an earlier run ended")
  func resumption() async throws {
    try await TemporaryFolder.with { folder in
      let output = folder["answers.jsonl"]
      let input = folder["lines.jsonl"]
      try Data(Self.lines.joined(separator: "\n").utf8).write(to: input)
      let whole = try await Self.run("--jsonl", input.path).bytes
      let ends = whole.indices.filter { whole[$0] == UInt8(ascii: "\n") }.map { $0 + 1 }
      for end in [0, 1, ends[0], ends[0] + 9, ends[3] - 1, ends[6], whole.count - 1, whole.count] {
        try whole.prefix(end).write(to: output)
        let run = try await Self.run("--jsonl", input.path, "--output", output.path)
        #expect(try Data(contentsOf: output) == whole, "\(end): \(run.errors)")
        #expect(run.errors.contains("going on with the other lines") == (end > 0), "\(run.errors)")
      }
    }
  }

  @Test("refuses to go on with the answers of another input, before it answers anything")
  func otherInput() async throws {
    try await TemporaryFolder.with { folder in
      let (output, input) = (folder["answers.jsonl"], folder["lines.jsonl"])
      func run(_ lines: [String]) async throws -> BitNetProgram.Output {
        try Data(lines.joined(separator: "\n").utf8).write(to: input)
        return try await Self.run("--jsonl", input.path, "--output", output.path, "--quiet")
      }
      let cat = #"{"custom_id":"cat","url":"/v1/completions","body":{"prompt":"A cat","max_tokens":2}}"#
      let lines = [
        #"{"prompt": "A", "id": 1.0}"#, cat, #"{"prompt": "#, #"{"prompt": "B"}"#, #"{"promt": 5, "id": "x"}"#,
      ]
      let whole = try await run(lines)
      #expect(whole.status == 1, "\(whole.errors)")
      var answers = try Data(contentsOf: output)
      // The answer to a line that is no JSON has no id, one to a line with another mistake has.
      let again = try await run(lines)
      #expect(again.status == 1 && again.errors.isEmpty, "\(again.errors)")
      func changing(_ index: Int, _ line: String) -> [String] {
        var changed = lines
        changed[index] = line
        return changed
      }
      let others: [(lines: [String], sentence: String)] = [
        (changing(0, #"{"prompt": "A", "id": 2}"#), "line 1 of the input has id 2, and its answer in"),
        (changing(0, #"{"prompt": "A"}"#), "has no id, and its answer in"),
        (changing(1, cat.replacing("cat", with: "dog")), #"has id "dog", and its answer in"#),
        (changing(0, #"{"custom_id": 1.0}"#), "has OpenAI's form, and its answer in"),
        (changing(1, #"{"prompt": "A", "id": "cat"}"#), "has the plain form, and its answer in"),
        (changing(3, #"{"prompt": "B", "id": "y"}"#), #"has id "y", and its answer in"#),
        (changing(4, #"{"promt": 5, "id": "z"}"#), #"has id "z", and its answer in"#),
        (changing(3, ""), "has answers of 1 line that the input does not have"),
        (Array(lines[..<3]), "has answers of 2 lines that the input does not have"),
      ]
      for other in others {
        let refused = try await run(other.lines)
        #expect(refused.status == 1 && refused.errors.contains(other.sentence), "\(refused.errors)")
        #expect(try Data(contentsOf: output) == answers)
      }
      // A refused run leaves a torn line too.
      try (answers + Data(#"{"line":"#.utf8)).write(to: output)
      let torn = try await run(others[0].lines)
      #expect(torn.status == 1 && torn.errors.contains(others[0].sentence), "\(torn.errors)")
      #expect(try Data(contentsOf: output).count == answers.count + 8)
      // Editors on Windows mark the beginning of a file.
      answers = Data("\u{FEFF}".utf8) + answers
      try answers.write(to: output)
      let marked = try await run(lines)
      #expect(try Data(contentsOf: output) == answers, "\(marked.errors)")
      let longer = try await run(lines + [#"{"prompt": "C"}"#])
      #expect(longer.errors.isEmpty, "\(longer.errors)")
      let longerAnswers = try Data(contentsOf: output)
      #expect(longerAnswers.starts(with: answers) && longerAnswers.count > answers.count)
      let missing = try await Self.run("--jsonl", folder["none"].path, "--output", folder["new.jsonl"].path)
      #expect(missing.status == 1 && missing.errors.contains("cannot be opened"), "\(missing.errors)")
      #expect(!FileManager.default.fileExists(atPath: folder["new.jsonl"].path))
    }
  }

  @Test("refuses options that no line can have, and inputs that are no files, before it touches the output")
  func refusedOptions() async throws {
    try await TemporaryFolder.with { folder in
      let (input, output) = (folder["lines.jsonl"].path, folder["answers.jsonl"])
      try Data((#"{"prompt": "A"}"# + "\n").utf8).write(to: folder["lines.jsonl"])
      let torn = Data(#"{"line":1,"te"#.utf8)
      for (input, option, value, sentence) in [
        (input, "--logit-bias", "4096=1", "token id 4096 is out of range"), (input, "--logprobs", "4097", "4097"),
        (input, "--chat-format", "llama3", "special token"), (folder.url.path, "--seed", "1", "is a folder"),
      ] {
        try torn.write(to: output)
        let run = try await Self.run("--jsonl", input, "--output", output.path, option, value)
        #expect(run.status == 1 && run.errors.hasPrefix("Error: ") && run.errors.contains(sentence), "\(run.errors)")
        #expect(try Data(contentsOf: output) == torn)
      }
    }
  }

  @Test("completes a last line without an end, and computes one again that zeros follow")
  func lastLine() async throws {
    try await TemporaryFolder.with { folder in
      let (input, output) = (folder["lines.jsonl"], folder["answers.jsonl"])
      try Data((#"{"prompt": "A"}"# + "\n" + #"{"prompt": "B"}"#).utf8).write(to: input)
      let whole = try await Self.run("--jsonl", input.path).bytes
      let end = try #require(whole.firstIndex(of: UInt8(ascii: "\n")))
      for (rest, notes) in [
        ("", "has 1 answer already; going on"), ("\n\0\0", "its torn last line"),
        ("\n{\"line\":2,\0", "torn last line"),
      ] {
        try (whole[..<end] + Data(rest.utf8)).write(to: output)
        let run = try await Self.run("--jsonl", input.path, "--output", output.path)
        #expect(run.errors.contains(notes) && (run.status == 0), "\(run.errors)")
        #expect(try Data(contentsOf: output) == whole)
      }
      for foreign in [#"{"line":2,"user":"important"}"#, "{\"line\":2,\r{\"line\":3,", "{\"line\":2\0{"] {
        let content = whole[...end] + Data(foreign.utf8)
        try content.write(to: output)
        let run = try await Self.run("--jsonl", input.path, "--output", output.path)
        #expect(run.status == 1 && run.errors.contains("line 2 of"), "\(run.errors)")
        #expect(try Data(contentsOf: output) == content)
      }
    }
  }

  @Test("writes to a pipe with a name as to its standard output")
  func namedPipe() async throws {
    try await TemporaryFolder.with { folder in
      let pipe = folder["pipe"].path
      try #require(mkfifo(pipe, 0o600) == 0)
      let line = #"{"prompt": "A", "max_tokens": 2}"#
      async let run = Self.run("--jsonl", "-", "--output", pipe, input: line)
      let answers = try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread {
          let input = FileHandle(forReadingAtPath: pipe)
          continuation.resume(with: Result { try input?.readToEnd() })
        }
      }
      #expect(try await run.status == 0)
      #expect(answers == (try await Self.run("--jsonl", "-", input: line).bytes))
    }
  }

  @Test("reads past a byte order mark")
  func byteOrderMark() async throws {
    let line = #"{"prompt": "A", "max_tokens": 2}"#
    let run = try await Self.run("--jsonl", "-", input: "\u{FEFF}" + line)
    #expect(run.status == 0, "\(run.errors)")
    #expect(run.text == (try await Self.run("--jsonl", "-", input: line).text))
  }

  @Test("writes only to a new file or the output of an earlier run")
  func refusals() async throws {
    try await TemporaryFolder.with { folder in
      let output = folder["story.txt"]
      let answer = #"{"line":1,"text":"A"}"# + "\n"
      let contents = [
        ("Once\n", "line 1 of"), ("{\"line\": 0}\n", "expected the output of one, or a new file"),
        ("{\"text\": \"\"}\n", "is no answer of an earlier run"), (answer + "Once", "line 2 of"),
        (answer + "{\"li\n" + answer, "line 2 of"), (answer + "\n", "its damaged lines can be removed"),
        (answer + answer, "both answer line 1; expected one answer"),
      ]
      for (content, sentence) in contents {
        try Data(content.utf8).write(to: output)
        let run = try await Self.run("--jsonl", "-", "--output", output.path)
        #expect(run.status == 1 && run.errors.contains(sentence), "\(run.errors)")
        #expect(try Data(contentsOf: output) == Data(content.utf8))
      }
      let numbered = try await Self.run(
        "--jsonl", "-", "--output", folder["new.jsonl"].path, input: #"{"prompt": "A", "line": 7}"#)
      #expect(numbered.status == 1)
      let text = try String(contentsOf: folder["new.jsonl"], encoding: .utf8)
      #expect(text.contains("expected that field for answers on standard output alone"), "\(text)")
    }
    for arguments in [["--output", "x"], ["--unordered"], ["--jsonl", "-", "--prompt", "a"], ["--jsonl", "/none"]] {
      let run = try await BitNetProgram.run(["generate"] + arguments, input: Data())
      #expect(run.status != 0 && run.errors.hasPrefix("Error: "), "\(run.errors)")
    }
    let zero = try await Self.run("--jsonl", "-", "--concurrency", "0")
    #expect(zero.status != 0 && zero.errors.contains("expected 1 to 4096"), "\(zero.errors)")
  }

  @Test("answers requests of OpenAI's batch files in OpenAI's form")
  func requests() async throws {
    let chat = #""body": {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}"#
    let lines = [
      #"{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", \#(chat)}"#,
      #"{"custom_id": "b", "url": "/v1/completions", "body": {"model": "demo", "prompt": ["A", "The"], "n": 2}}"#,
      #"{"prompt": "Once upon a time", "id": "plain"}"#,
      #"{"custom_id": "c", "url": "/v1/completions", "body": {"model": "other", "prompt": "A"}}"#,
      #"{"custom_id": "d", "url": "/v1/completions", "body": {"prompt": "A", "temperature": -1}}"#,
      #"{"custom_id": "e", "url": "/v1/completions", "body": {"prompt": "A", "stream": true}}"#,
      #"{"custom_id": "f", "url": "/v1/embeddings", "body": {"input": "A"}}"#,
      #"{"custom_id": 7, "url": "/v1/completions", "body": {"prompt": "A"}}"#,
      #"{"custom_id": "h", "url": "/v1/completions", "body": "A"}"#,
      #"{"custom_id": "i", "method": "GET", "url": "/v1/completions", "body": {"prompt": "A"}}"#,
      #"{"custom_id": "j", "url": "/v1/completions", "body": {"prompt": "A"}, "metadata": 1}"#,
      #"{"custom_id": "k", "url": "/v1/completions", "body": {"prompt": "A"}, "line": "last"}"#,
    ].joined(separator: "\n")
    let run = try await Self.run("--jsonl", "-", "--seed", "3", input: lines)
    #expect(run.status == 1)
    let answers = run.text.split(separator: "\n").map(String.init)
    #expect(answers.count == 12)
    #expect(
      answers[0].hasPrefix(
        #"{"line":1,"id":"batch_req_1","custom_id":"a","response":{"status_code":200,"request_id":"line-1","body":{"#
          + #""id":"chatcmpl-line-1","object":"chat.completion","created":0,"model":"demo","system_fingerprint":""#))
    #expect(answers[0].contains(#""completion_tokens":5,"#) && answers[0].hasSuffix(#"},"error":null}"#))
    #expect(!run.text.contains("timings") && !run.text.contains("cached_tokens"))
    #expect(answers[1].components(separatedBy: #""finish_reason":"#).count == 5)
    #expect(answers[2].hasPrefix(#"{"line":3,"id":"plain","text":""#))
    #expect(answers[3].contains(#""status_code":404"#))
    #expect(answers[3].hasSuffix(#""code":"model_not_found"}}},"error":null}"#), "\(answers[3])")
    #expect(answers[4].contains(#""status_code":400"#) && answers[4].contains(#""param":"temperature""#))
    let refused = #""response":null,"error":{"code":"invalid_request","message":""#
    for (index, message) in [
      (5, "body.stream is true; expected false"), (6, "bitnet embed --jsonl answers it"), (7, "custom_id is 7"),
      (8, #"body is \"A\"; expected an object"#), (9, #"method is \"GET\"; expected \"POST\""#),
      (10, "metadata is unknown; expected custom_id, method, url and body"), (11, #"line is \"last\""#),
    ] {
      #expect(answers[index].contains(refused) && answers[index].contains(message), "\(answers[index])")
    }
    #expect(try await Self.run("--jsonl", "-", "--seed", "3", "--concurrency", "1", input: lines).text == run.text)
    // The first line's seed is that of --seed, and a request's own seed comes before it.
    let seeded = try await Self.run(
      "--jsonl", "-", input: lines.replacing(#""max_tokens": 5"#, with: #""max_tokens": 5, "seed": 3"#))
    #expect(seeded.text.split(separator: "\n")[0] == answers[0])
  }
}

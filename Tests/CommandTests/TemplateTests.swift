import Foundation
import TestSupport
import Testing

@Suite("bitnet template")
struct TemplateTests {
  @Test("renders JSON lines, one line for each")
  func jsonLines() async throws {
    let lines = [
      #"{"source": "{{ a + 1 }} {{ strftime_now('%H:%M:%S') }}", "variables": {"a": 1}, "now": "2026-07-26 09:05:03"}"#,
      #"{"source": "{{ b|tojson }}", "variables": {"b": {"x": [1.0, 100000000000000000000, "é</s>"]}}, "now": 0}"#,
      #"{"source": "{{ raise_exception('No \"king\" here.') }}", "variables": {}}"#,
      #"{"source": "\n{{ x.y }}", "variables": {}}"#, #"{"source": "{% if %}", "variables": {}}"#, #"{"source": 1}"#,
      "nonsense", #"{"source": "a", "variables": {}, "now": "yesterday"}"#,
      #"{"source": "{{ 'a' * 10**9 }}", "variables": {}, "now": null}"#,
    ]
    let output = try await BitNetProgram.run("template", "--jsonl", input: lines.joined(separator: "\n") + "\n")
    #expect(output.status == 0 && output.errors.isEmpty, "\(output.errors)")
    let results = output.text.split(separator: "\n").map(String.init)
    try #require(results.count == lines.count)
    #expect(results[0] == #"{"text":"2 09:05:03"}"#)
    #expect(results[1] == #"{"text":"{\"x\": [1.0, 100000000000000000000, \"é</s>\"]}"}"#)
    #expect(results[2] == #"{"error":"No \"king\" here."}"#)
    #expect(results[3] == #"{"error":"the chat template at line 2 fails: 'x' is undefined"}"#)
    for result in results.dropFirst(4) { #expect(result.hasPrefix(#"{"error":""#), "\(result)") }
  }

  @Test("renders a model's template for tools, and says what its tokenizer adds and lacks")
  func model() async throws {
    try await TemporaryFolder.with { folder in
      let model = folder["model"]
      try FileManager.default.copyItem(
        atPath: Repository.path("Tests/Fixtures/bitnet-packed-auto-tied"), toPath: model.path)
      // Byte-level tokens are enough: <|eot_id|> is one of them, <|im_end|> is not.
      let bytes = (0...255).map { Data([UInt8($0)]).base64EncodedString() }
      let words = { (words: [String]) in words.joined(separator: " ") }
      let tokenizer = """
        swift-bitnet tokenizer 1
        split llama3
        whole-pieces false
        bos 300
        tokens \(words(bytes))
        merges by-id
        special 300 \(Data("<s>".utf8).base64EncodedString())
        special 301 \(Data("<|eot_id|>".utf8).base64EncodedString())

        """
      try Data(tokenizer.utf8).write(to: model.appending(path: "tokenizer.model"))
      let loop = "{% for m in messages %}{{ m['role'] | capitalize + ': ' + m['content'] + '<|eot_id|>' }}{% endfor %}"
      let templates: [[String: String]] = [
        ["name": "default", "template": loop + "{{ 'Assistant: <|im_end|>' }}"],
        ["name": "tool_use", "template": "{{ tools|length }} tools"],
      ]
      let configuration = try JSONEncoder().encode(["chat_template": templates])
      try configuration.write(to: model.appending(path: "tokenizer_config.json"))
      let output = try await BitNetProgram.run("template", "--model", model.path, "Hi")
      #expect(output.text == "User: Hi<|eot_id|>Assistant: <|im_end|>", "\(output.errors)")
      #expect(output.errors.contains("Note: <s>, with which the tokenizer begins a sequence"), "\(output.errors)")
      #expect(output.errors.contains("Warning: the chat template writes <|im_end|>, which"), "\(output.errors)")
      let inspected = try await BitNetProgram.run("inspect", model.path)
      #expect(inspected.text.contains("the chat template writes <|im_end|>, which"), "\(inspected.text)")
      let tools = try folder.write(#"[{"name": "f"}]"#, to: "tools.json")
      let converted = folder["converted.safetensors"].path
      let gguf = folder["converted.gguf"].path
      for output in [converted, gguf] {
        #expect(try await BitNetProgram.run("convert", model.path, output).status == 0)
      }
      for path in [model.path, converted, gguf] {
        let output = try await BitNetProgram.run("template", "--model", path, "--tools", tools, "Hi")
        #expect(output.text == "1 tools", "\(output.errors)")
      }
    }
  }

  @Test("renders a template in a file for messages, tools and variables")
  func file() async throws {
    try await TemporaryFolder.with { folder in
      let source = """
        {%- for m in messages %}{{ m.role[0] ~ ':' ~ m.content ~ ';' }}{% endfor %}{{ tools|length if tools }}{{ mood }}
        {%- if add_generation_prompt %} go{% endif %}
        """
      let path = try folder.write(source, to: "template.jinja")
      let tools = try folder.write(#"[{"name": "f"}]"#, to: "tools.json")
      let output = try await BitNetProgram.run(
        "template", "--file", path, "--system", "Be kind.", "--tools", tools, "--variables", #"{"mood": "!"}"#, "Hi",
        "Yo", "Bye")
      #expect(output.text == "s:Be kind.;u:Hi;a:Yo;u:Bye;1! go", "\(output.errors)")
      #expect(try await BitNetProgram.run("template", "--file", path, "--no-generation-prompt", "Hi").text == "u:Hi;")
      let wrong = try await BitNetProgram.run("template", "--file", path, "--variables", "[1]", "Hi")
      #expect(wrong.status == 1 && wrong.errors.contains("--variables is no JSON object; expected"))
      #expect(try await BitNetProgram.run("template", "Hi").errors.contains("the demo model has no chat template"))
      let absent = try await BitNetProgram.run("template", "--model", "org/absent", "Hi")
      #expect(absent.status == 1 && absent.errors.contains("run bitnet pull org/absent"), "\(absent.errors)")
      #expect(try await BitNetProgram.run("template", "--file", path).status == 64)
      #expect(try await BitNetProgram.run("template", "--jsonl", "Hi").status == 64)
      for option in [["--tools", tools], ["--variables", "{}"], ["--no-generation-prompt"], ["--bos", "a"]] {
        #expect(try await BitNetProgram.run(["template", "--jsonl"] + option).status == 64, "\(option)")
      }
      let tokens = try folder.write("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", to: "tokens.jinja")
      let ends = try await BitNetProgram.run("template", "--file", tokens, "--bos", "<s>", "--eos", "</s>", "Hi")
      #expect(ends.text == "<s>Hi</s>", "\(ends.errors)")
    }
  }
}

import Foundation
import TestSupport
import Testing

@Suite("bitnet chat through a pipe")
struct ChatTests {
  private func chat(_ arguments: [String], _ input: String) async throws -> BitNetProgram.Output {
    let common = ["chat", "--chat-format", "plain", "--sampling", "greedy", "--max-tokens", "6"]
    return try await BitNetProgram.run(common + arguments, input: Data(input.utf8))
  }

  @Test("answers each line, and a longer conversation with what was said before")
  func turns() async throws {
    let first = try await chat([], "Once upon a time\n")
    #expect(first.status == 0, "\(first.errors)")
    #expect(first.text == " there was a man who was\n")
    #expect(first.errors.contains("[cut off after 6 tokens]"))
    let second = try await chat([], "Once upon a time\nThe king said\n/stats\n")
    #expect(second.text.hasPrefix(first.text))
    #expect(second.errors.contains("of them cached"))
    #expect(second.errors.contains("of 512 tokens"))
  }

  @Test("obeys commands")
  func commands() async throws {
    let anew = try await chat([], "Once upon a time\n/reset\nOnce upon a time\n/exit\nnever read\n")
    #expect(anew.text == " there was a man who was\n there was a man who was\n")
    #expect(try await chat([], "/stats\n").errors.contains("no answer yet"))
    #expect(try await chat([], "/help\n").errors.contains("/system TEXT"))
    let system = try await chat(["--system", "A story"], "Once upon a time\n")
    #expect(try await chat([], "/system A story\nOnce upon a time\n").text == system.text)
    #expect(system.text != " there was a man who was\n")
    let unknown = try await chat([], "/sing\n")
    #expect(unknown.status == 1 && unknown.errors.contains("there is no command /sing"))
  }

  @Test("joins lines at a backslash, and skips blank ones")
  func lines() async throws {
    let joined = try await chat([], "\n  \nOnce upon a time \\\nthere was\n/stats\n")
    #expect(joined.text.split(separator: "\n", omittingEmptySubsequences: false).count <= 3)
    let tokens = try await BitNetProgram.run("tokenize", "--bos", "Once upon a time \nthere was")
    #expect(joined.errors.contains("prompt     \(tokens.text.split(separator: " ").count) tokens"))
  }

  @Test("reports a message that does not fit, answers the next one, and fails in the end")
  func tooLong() async throws {
    let tooLong = String(repeating: "king ", count: 20)
    let output = try await chat(["--context", "16"], "\(tooLong)\nOnce upon a time\n")
    #expect(output.status == 1)
    let sentences = output.errors.split(separator: "\n").filter { $0.contains("the context holds 16") }
    #expect(sentences.count == 1 && sentences.first?.hasPrefix("Error: ") == true, "\(output.errors)")
    #expect(output.text == "\n there was a man who was\n")
    #expect(!output.errors.contains("forgotten"))
  }

  @Test("says once in a conversation that old messages are forgotten")
  func forgetting() async throws {
    let lines = String(repeating: "Once upon a time\n", count: 6)
    let output = try await chat(["--context", "24"], "\(lines)/reset\n\(lines)")
    #expect(output.status == 0)
    #expect(output.text.split(separator: "\n").count == 12)
    let parts = output.errors.components(separatedBy: "A new conversation")
    #expect(parts.count == 2)
    for part in parts {
      #expect(part.components(separatedBy: "oldest messages are forgotten").count == 2, "\(output.errors)")
    }
    #expect(!(try await chat([], lines).errors.contains("forgotten")))
  }

  @Test("needs no format for the demo model, which continues texts")
  func demo() async throws {
    let output = try await BitNetProgram.run(
      "chat", "--sampling", "greedy", "--max-tokens", "6", input: "Once upon a time\n")
    #expect(output.status == 0)
    #expect(output.text == " there was a man who was\n")
  }

  @Test("takes a model's own template; refuses one that is missing or invalid, and names the way out")
  func templates() async throws {
    try await TemporaryFolder.with { folder in
      let model = folder["model"]
      try FileManager.default.copyItem(at: URL(filePath: Fixture.all[1].path), to: model)
      let tokenizer = Repository.path("Tests/TokenizationTests/Fixtures/small-llama3.json")
      try FileManager.default.copyItem(at: URL(filePath: tokenizer), to: folder["model/tokenizer.json"])
      func chat(_ arguments: String...) async throws -> BitNetProgram.Output {
        try await BitNetProgram.run(
          ["chat", "--model", model.path, "--max-tokens", "2"] + arguments, input: Data("Hello\n".utf8))
      }
      func inspected() async throws -> (line: String?, format: String?) {
        let table = try await BitNetProgram.run("inspect", model.path).text
        let json = try await BitNetProgram.run("inspect", "--json", model.path).bytes
        let line = table.split(separator: "\n").first { $0.hasPrefix("chat template") }
        return (line.map(String.init), try JSONDecoder().decode(Inspected.self, from: json).chat_format)
      }
      let out = "--chat-format bitnet|bitnet-separate|llama3|chatml|plain"
      let missing = try await chat()
      #expect(missing.status == 1 && missing.errors.contains("the model's chat template is missing; expected"))
      #expect(missing.errors.contains(out), "\(missing.errors)")
      let without = try await inspected()
      #expect(without.line?.hasSuffix("none") == true && without.format == nil)

      _ = try folder.write("\n{{ '[INST]' + messages[0].content", to: "model/chat_template.jinja")
      let invalid = try await chat()
      #expect(
        invalid.status == 1 && invalid.errors.contains("the chat template at line 2 fails: "), "\(invalid.errors)")
      #expect(invalid.errors.contains(out), "\(invalid.errors)")
      let inspection = try await inspected()
      #expect(inspection.line?.contains("at line 2 fails") == true && inspection.format == nil)
      #expect(try await chat("--chat-format", "llama3").status == 0)
      #expect(try await BitNetProgram.run("generate", "--model", model.path, "--prompt", "Hello").status == 0)

      _ = try folder.write("{{ '[INST]' + messages[0].content }}", to: "model/chat_template.jinja")
      #expect(try await chat().status == 0)
      #expect(try await inspected().line?.hasSuffix("the model's own") == true)
      let prompt = try await BitNetProgram.run("template", "--model", model.path, "Hello")
      #expect(prompt.text == "[INST]Hello", "\(prompt.errors)")

      _ = try folder.write(
        "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' "
          + "+ message['content'] | trim + '<|eot_id|>' }}{% endfor %}", to: "model/chat_template.jinja")
      #expect(try await chat().status == 0)
      let known = try await inspected()
      #expect(known.line?.contains("llama3, a message ends with <|eot_id|>") == true && known.format == "llama3")

      _ = try folder.write("{{ raise_exception('Only poems.') }}", to: "model/chat_template.jinja")
      let refused = try await chat()
      #expect(refused.status == 1 && refused.errors.contains("refuses the chat at line 1: Only poems."))
    }
  }

  private struct Inspected: Decodable {
    let chat_format: String?
  }
}

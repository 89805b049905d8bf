import Foundation
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
    #expect(second.errors.contains("of them kept from before"))
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

  @Test("refuses a message that is too long, with a sentence")
  func tooLong() async throws {
    let output = try await chat(["--context", "8"], String(repeating: "king ", count: 20) + "\n")
    #expect(output.status == 1)
    #expect(output.errors.contains("the context holds 8"), "\(output.errors)")
  }
}

import BitNetJSON
import BitNetTokenization
import BitNetToolCalls
import Testing

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Published chat templates, which are not part of the repository: in a folder beside it, or where BITNET_TEMPLATES
/// says.
private enum ToolTemplates {
  static let folder: URL = {
    if let path = ProcessInfo.processInfo.environment["BITNET_TEMPLATES"] { return URL(filePath: path) }
    let beside = URL(filePath: #filePath).appending(path: "../../../..").standardizedFileURL
    // A worktree is one folder deeper.
    let candidates = [beside, beside.appending(path: "..").standardizedFileURL].map {
      $0.appending(path: "shared/judge/chat_templates")
    }
    return candidates.first { FileManager.default.fileExists(atPath: $0.path) } ?? candidates[0]
  }()

  static let isPresent = FileManager.default.fileExists(atPath: folder.path)

  static func source(_ name: String) throws -> String {
    String(decoding: try Data(contentsOf: folder.appending(path: "templates/\(name).jinja")), as: UTF8.self)
  }
}

@Suite(
  "Published templates with tools",
  .enabled(if: ToolTemplates.isPresent, "the published templates are not there; set BITNET_TEMPLATES to their folder"))
struct PublishedToolTests {
  static let known: [(String, ToolCallStyle)] = [
    ("Qwen2.5-7B-Instruct", .hermes), ("Qwen3-0.6B", .hermes), ("Qwen3-Instruct-2507", .hermes),
    ("Hermes-3-tool_use", .hermes), ("granite-4.0", .hermes), ("Falcon3-Instruct", .falcon),
    ("Llama-3.1-8B-Instruct", .llama3), ("Llama-3.2-3B-Instruct", .llama3), ("Mistral-v3", .mistral),
    ("Mistral-Nemo-Instruct-2407", .mistral),
  ]

  @Test("write calls that are read in the template's style", arguments: known)
  func roundTrip(name: String, style: ToolCallStyle) throws {
    let source = try ToolTemplates.source(name)
    #expect(ToolCallStyle(template: source) == style)
    let tool: JSONTree = [
      "type": "function",
      "function": [
        "name": "f", "description": "Does it.",
        "parameters": ["type": "object", "properties": ["a": ["type": "integer", "description": "It."]]],
      ],
    ]
    let call: JSONTree = [
      "id": "abcdefghi", "type": "function", "function": ["name": "f", "arguments": ["a": 1]],
    ]
    let chat = ChatInput(
      messages: [
        .init(fields: [.init("role", "user"), .init("content", "Hi")]),
        .init(fields: [.init("role", "assistant"), .init("content", ""), .init("tool_calls", [call])]),
      ], tools: [tool])
    let template = try ChatTemplate(jinja: source, beginText: "<s>", endText: "</s>")
    var asked = chat
    asked.messages.removeLast()
    func text(_ chat: ChatInput, generating: Bool) throws -> String {
      try template.prompt(for: chat, generating: generating).parts.map { part in
        switch part {
        case .markup(let text), .content(let text): text
        case .tokens: ""
        }
      }.joined()
    }
    let prompt = try text(asked, generating: true)
    #expect(prompt.contains("Does it."))
    // What the assistant's message adds to the prompt is what the model would have written.
    let whole = try text(chat, generating: false)
    let common = zip(prompt, whole).prefix { $0 == $1 }.count
    var parser = ToolCallParser(style, functions: ["f"])
    let events = parser.append(String(whole.dropFirst(common))) + parser.finish()
    let begin = try #require(events.firstIndex(of: .begin(name: "f")), "\(events)")
    #expect(events.dropFirst(begin).contains(.end))
    let arguments = events.compactMap { if case .arguments(let text) = $0 { text } else { nil } }.joined()
    #expect(try JSONDocument(Array(arguments.utf8)).root["a"].integer() == 1)
  }

  @Test("that write calls in another form have no style")
  func others() throws {
    for name in ["Qwen3-Coder", "GLM-4.6", "Devstral-Small-2507", "functionary-v3.1", "bitnet-b1.58-2B-4T", "Llama-3"] {
      #expect(ToolCallStyle(template: try ToolTemplates.source(name)) == nil, "\(name)")
    }
  }
}

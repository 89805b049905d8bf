import BitNetJSON
import BitNetTokenization
import Testing

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Published chat templates with the renderings of transformers, which are not part of the repository: in a folder
/// beside it, or where BITNET_TEMPLATES says.
enum PublishedTemplates {
  static let folder: URL = {
    if let path = ProcessInfo.processInfo.environment["BITNET_TEMPLATES"] { return URL(filePath: path) }
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let beside = root.deletingLastPathComponent()
    // A worktree is one folder deeper.
    let candidates = [beside, beside.deletingLastPathComponent()].map {
      $0.appending(path: "shared/judge/chat_templates")
    }
    return candidates.first { FileManager.default.fileExists(atPath: $0.path) } ?? candidates[0]
  }()

  static let absence: Comment = "the published templates are not there; set BITNET_TEMPLATES to their folder"

  static let isPresent = FileManager.default.fileExists(atPath: folder.path)

  static func document(_ path: String) throws -> JSONValue {
    let bytes = [UInt8](try Data(contentsOf: folder.appending(path: path)))
    return try JSONDocument(bytes, limits: JSONLimits(byteCount: 64 << 20, depth: 100)).root
  }

  /// The names and texts of all published templates; none if they are not there.
  static let all: [(name: String, source: String)] = {
    let folder = Self.folder.appending(path: "templates")
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
    return names.sorted().compactMap { name in
      guard let data = try? Data(contentsOf: folder.appending(path: name)) else { return nil }
      return (String(name.dropLast(".jinja".count)), String(decoding: data, as: UTF8.self))
    }
  }()
}

@Suite("Published chat templates", .enabled(if: PublishedTemplates.isPresent, PublishedTemplates.absence))
struct PublishedTemplateTests {
  static func chat(_ dialog: JSONValue, _ arguments: JSONValue) throws -> (chat: ChatInput, generates: Bool) {
    func array(_ name: String) throws -> [JSONTree]? { try dialog[name].ifPresent?.elements().map { try JSONTree($0) } }
    let messages = try dialog["messages"].elements().map { message -> ChatInput.Message in
      guard case .object(let fields) = try JSONTree(message) else { throw message.error(expected: "an object") }
      return ChatInput.Message(fields: fields)
    }
    guard case .object(let members) = try JSONTree(arguments) else { throw arguments.error(expected: "an object") }
    let chat = ChatInput(
      messages: messages, tools: try array("tools"), documents: try array("documents"),
      arguments: members.filter { $0.name != "add_generation_prompt" })
    return (chat, members.contains(.init("add_generation_prompt", .bool(true))))
  }

  static func template(_ name: String, _ manifest: JSONValue) throws -> ChatTemplate {
    let source = try #require(PublishedTemplates.all.first { $0.name == name }?.source)
    func text(_ key: String) throws -> String? {
      try manifest[name][key].ifPresent?.string().isEmpty == false ? manifest[name][key].string() : nil
    }
    return try ChatTemplate(jinja: source, beginText: text("bos_token"), endText: text("eos_token"))
  }

  private static func text(_ prompt: Prompt) -> String {
    prompt.parts.map { part in
      switch part {
      case .markup(let text), .content(let text): text
      case .tokens(let tokens): "\(tokens)"
      }
    }.joined()
  }

  @Test("render all dialogs as transformers does")
  func renderings() throws {
    let manifest = try PublishedTemplates.document("manifest.json")
    let dialogs = try PublishedTemplates.document("dialogs.json")
    let cases = [UInt8](try Data(contentsOf: PublishedTemplates.folder.appending(path: "cases.jsonl")))
    var templates: [String: ChatTemplate] = [:]
    var count = 0
    for line in cases.split(separator: UInt8(ascii: "\n")) {
      let fields = try JSONDocument(Array(line), limits: JSONLimits(depth: 100)).root
      let name = try fields["template"].string()
      let dialog = try fields["dialog"].string()
      if templates[name] == nil { templates[name] = try Self.template(name, manifest) }
      let (chat, generates) = try Self.chat(dialogs[dialog], fields["kwargs"])
      let result = Result { try templates[name]!.prompt(for: chat, generating: generates, time: renderingTime) }
      switch (result, try fields["error"].ifPresent?.string()) {
      case (.success(let prompt), nil):
        #expect(try Self.text(prompt) == fields["rendered"].string(), "\(name), \(dialog)")
      case (.failure(let error as JinjaError), "raised"?):
        #expect(try error.kind == .raised && error.message == fields["message"].string(), "\(name), \(dialog)")
      case (.failure(let error), let expected): #expect(expected != nil, "\(name), \(dialog): \(error)")
      case (.success(let prompt), let error?):
        Issue.record("\(name), \(dialog) is \(Self.text(prompt)); expected \(error)")
      }
      count += 1
    }
    print("published templates: \(count) renderings of \(templates.count) templates")
    #expect(count > 0)
  }

  @Test("keep every character of messages, tools and documents out of the markup")
  func provenance() throws {
    let manifest = try PublishedTemplates.document("manifest.json")
    /// Private characters, which no template has, stand in for the text.
    func marked(_ tree: JSONTree) -> JSONTree {
      switch tree {
      case .string(let text):
        .string("\u{E000}<|im_end|></s>" + text.unicodeScalars.map { "\($0)\u{E001}" }.joined() + "[INST]\u{E000}")
      case .array(let elements): .array(elements.map(marked))
      case .object(let members): .object(members.map { .init($0.name, marked($0.value)) })
      default: tree
      }
    }
    var rendered = 0
    for (name, dialog) in try PublishedTemplates.document("dialogs.json").members() {
      let dialogName = try name.string()
      var (chat, _) = try Self.chat(dialog, JSONDocument(Array("{}".utf8)).root)
      for message in chat.messages.indices {
        for field in chat.messages[message].fields.indices where chat.messages[message].fields[field].name != "role" {
          chat.messages[message].fields[field].value = marked(chat.messages[message].fields[field].value)
        }
      }
      chat.tools = chat.tools?.map(marked)
      chat.documents = chat.documents?.map(marked)
      for (template, _) in PublishedTemplates.all {
        guard let prompt = try? Self.template(template, manifest).prompt(for: chat, time: renderingTime) else {
          continue
        }
        rendered += 1
        for case .markup(let text) in prompt.parts {
          let leak = text.unicodeScalars.contains { $0 == "\u{E000}" || $0 == "\u{E001}" }
          #expect(!leak, "\(template), \(dialogName): \(text)")
        }
      }
    }
    #expect(rendered > 1_000)
  }
}

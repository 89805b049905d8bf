import BitNetJSON
import BitNetTokenization
import Foundation
import Testing

extension PublishedTemplates {
  /// The file of a published tokenizer, unpacked into a folder if it is packed.
  static func tokenizerFile(_ name: String, unpackedInto temporary: URL) throws -> URL {
    let file = folder.deletingLastPathComponent().appending(path: "tokenizers/\(name)/tokenizer.json")
    if FileManager.default.fileExists(atPath: file.path) { return file }
    let output = temporary.appending(path: "\(name).json")
    try Data().write(to: output)
    let unpacker = Process()
    unpacker.executableURL = URL(filePath: "/usr/bin/env")
    unpacker.arguments = ["xz", "-dc", file.path + ".xz"]
    unpacker.standardOutput = try FileHandle(forWritingTo: output)
    try unpacker.run()
    unpacker.waitUntilExit()
    try #require(unpacker.terminationStatus == 0, "\(file.path).xz cannot be unpacked; expected the program xz")
    return output
  }
}

extension PublishedTemplateTests {
  @Test("give the same tokens as transformers, for the tokenizers that are read")
  func tokens() throws {
    let temporary = FileManager.default.temporaryDirectory.appending(path: "templates-\(UUID())")
    try FileManager.default.createDirectory(at: temporary, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: temporary) }
    let manifest = try PublishedTemplates.document("manifest.json")
    let dialogs = try PublishedTemplates.document("dialogs.json")
    var tokenizers: [String: Tokenizer?] = [:]
    let cases = [UInt8](try Data(contentsOf: PublishedTemplates.folder.appending(path: "chat_ids.jsonl")))
    for line in cases.split(separator: UInt8(ascii: "\n")) {
      let fields = try JSONDocument(Array(line), limits: JSONLimits(depth: 100)).root
      let name = try fields["tokenizer"].string()
      if tokenizers[name] == nil {
        let file = try PublishedTemplates.tokenizerFile(name, unpackedInto: temporary)
        do {
          tokenizers[name] = .some(try Tokenizer(contentsOfFile: file.path))
        } catch {
          print("published templates: the tokenizer \(name) is left out: \(error)")
          tokenizers[name] = .some(nil)
        }
      }
      guard case .some(let tokenizer?) = tokenizers[name] else { continue }
      let template = try fields["template"].string()
      let dialog = try fields["dialog"].string()
      let (chat, generates) = try Self.chat(dialogs[dialog], fields["kwargs"])
      // The expected tokens take special tokens in messages for such.
      let ids = try Self.template(template, manifest).encode(
        chat, with: tokenizer, generating: generates, parsingSpecialTokens: true, time: renderingTime)
      let expected = try fields["ids"].elements().map { Int32(try $0.integer()) }
      #expect(ids == expected, "\(template), \(dialog)")
    }
  }
}

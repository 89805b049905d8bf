import Foundation
import Testing
import BitNetTokenization

/// Tokenizers with the ids and texts of other implementations: small ones made for these tests, which are part of the
/// repository, and published ones beside it.
///
/// Where the implementations differ, the file decides: a tokenizer.json follows Hugging Face tokenizers, a
/// tokenizer.model and a GGUF vocabulary follow SentencePiece.
enum Judge {
  static let small = Fixtures.folder.appending(path: "mini")

  static let published: URL = {
    if let path = ProcessInfo.processInfo.environment["BITNET_JUDGE"] { return URL(filePath: path) }
    return Oracle.folder.deletingLastPathComponent().appending(path: "judge").appending(path: "tokenizers")
  }()

  private static let unpacker = "/usr/bin/xz"

  static let isPresent = exists(published.appending(path: "index.json")) && exists(URL(filePath: unpacker))

  static let absence: Comment = "the published tokenizers or xz are not there; set BITNET_JUDGE to their folder"

  /// Copies a file into a folder, unpacked if it is packed.
  static func unpack(_ file: URL, into folder: URL) throws {
    guard file.pathExtension == "xz" else {
      return try FileManager.default.copyItem(at: file, to: folder.appending(path: file.lastPathComponent))
    }
    let output = folder.appending(path: file.deletingPathExtension().lastPathComponent)
    try Data().write(to: output)
    let process = Process()
    process.executableURL = URL(filePath: unpacker)
    process.arguments = ["-dc", file.path]
    process.standardOutput = try FileHandle(forWritingTo: output)
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
  }

  static let fileNames = ["tokenizer.json", "tokenizer.model", "vocab.gguf"]

  static func exists(_ url: URL) -> Bool { FileManager.default.fileExists(atPath: url.path) }

  static func tokenizer(_ file: URL) throws -> Tokenizer {
    if file.lastPathComponent != "vocab.gguf" { return try Tokenizer(contentsOfFile: file.path) }
    return try Tokenizer(#require(GGUFMetadata.vocabulary(of: [UInt8](try Data(contentsOf: file)))))
  }

  struct EncodingCase: Decodable {
    var text: String
    var ids: [Int32]?
    var idsSpecial: [Int32]?
    var specialDisputed: Bool?
  }

  struct DisputedCase: Decodable {
    var text: String
    var mode: String
    var by: [String: [Int32]]
  }

  struct DecodingCase: Decodable {
    var ids: [Int32]
    var piecesHex: [String]
    var text: String
    var textSkipSpecial: String?
    var textSentencepiece: String?
  }

  /// Which of several answers a file of this kind gives.
  static func answers(_ by: [String: [Int32]], _ folder: URL, _ file: String) -> [[Int32]] {
    if file == "tokenizer.json" { return [by["tokenizers"]].compactMap(\.self) }
    if folder.lastPathComponent.hasPrefix("qwen") {
      // A GGUF file may lack the added tokens of the tokenizer.json that was asked.
      return [by["tokenizers"], folder.lastPathComponent == "qwen3" ? by["llama.cpp"] : nil].compactMap(\.self)
    }
    // Converters make control tokens of some user-defined ones.
    return [by["sentencepiece"], file == "vocab.gguf" ? by["llama.cpp"] : nil].compactMap(\.self)
  }

  /// Compares every case of a folder with what the tokenizer of `file` gives, and what it gives when converted.
  static func compare(_ folder: URL, _ file: String) throws {
    let tokenizer = try tokenizer(folder.appending(path: file))
    let text = tokenizer.serialized()
    let converted = try Tokenizer(serialized: text)
    #expect(converted.serialized() == text)
    for tokenizer in [tokenizer, converted] { try compareEncoding(folder, file, tokenizer) }
    try compareDecoding(folder, file, tokenizer, converted)
  }

  private static func compareEncoding(_ folder: URL, _ file: String, _ tokenizer: Tokenizer) throws {
    for expected in try jsonLines(EncodingCase.self, in: folder.appending(path: "encode.jsonl")) {
      let text = expected.text
      if let ids = expected.ids { #expect(tokenizer.encode(text) == ids, "\(text.debugDescription)") }
      if expected.specialDisputed != true, let ids = expected.idsSpecial ?? expected.ids {
        #expect(tokenizer.encode(text, parsingSpecialTokens: true) == ids, "\(text.debugDescription)")
      }
    }
    let disputed = folder.appending(path: "encode_disputed.jsonl")
    for expected in exists(disputed) ? try jsonLines(DisputedCase.self, in: disputed) : [] {
      // Both implementations for GGUF files have their own idea of one of these.
      if file == "vocab.gguf", expected.text.contains("</s>"), expected.text.contains("\u{2581}") { continue }
      let answers = answers(expected.by, folder, file)
      let ids = tokenizer.encode(expected.text, parsingSpecialTokens: expected.mode == "special")
      if !answers.isEmpty { #expect(answers.contains(ids), "\(expected.mode) \(expected.text.debugDescription)") }
    }
  }

  private static func compareDecoding(
    _ folder: URL, _ file: String, _ tokenizer: Tokenizer, _ converted: Tokenizer
  ) throws {
    func hex(_ bytes: [UInt8]?) -> String {
      (bytes ?? []).map { String(UInt16($0) + 0x100, radix: 16).dropFirst() }.joined()
    }
    let isSentencePiece = exists(folder.appending(path: "tokenizer.model")) && file != "tokenizer.json"
    for expected in try jsonLines(DecodingCase.self, in: folder.appending(path: "decode.jsonl")) {
      let ids = expected.ids
      #expect(ids.map { hex(tokenizer.bytes(of: $0)) } == expected.piecesHex)
      let text = tokenizer.decode(ids)
      let skipped = tokenizer.decode(ids, skippingSpecialTokens: true)
      if isSentencePiece {
        #expect(skipped.utf8.elementsEqual((expected.textSentencepiece ?? expected.text).utf8), "\(ids)")
      } else if folder.lastPathComponent != "gemma3" || file == "tokenizer.json" {
        #expect(text.utf8.elementsEqual(expected.text.utf8), "\(ids)")
        #expect(skipped.utf8.elementsEqual((expected.textSkipSpecial ?? expected.text).utf8), "\(ids)")
      }
      for skips in [false, true] {
        let pieces = streamed(ids, tokenizer, skippingSpecialTokens: skips)
        #expect(pieces.joined().utf8.elementsEqual((skips ? skipped : text).utf8), "\(ids)")
        #expect(converted.decode(ids, skippingSpecialTokens: skips).utf8.elementsEqual((skips ? skipped : text).utf8))
      }
    }
  }
}

@Suite("Tokenizers agree with other implementations")
struct JudgeTests {
  @Test(
    "that were made for the tests",
    arguments: [
      "llama2-mini", "gemma-mini", "qwen-mini", "falcon-mini", "falcon3-mini", "falcon3-mini-ignore-merges",
    ], Judge.fileNames)
  func small(name: String, file: String) throws {
    let folder = Judge.small.appending(path: name)
    if Judge.exists(folder.appending(path: file)) { try Judge.compare(folder, file) }
  }

  @Test("that are published", .enabled(if: Judge.isPresent, Judge.absence))
  func published() throws {
    let manager = FileManager.default
    let unpacked = manager.temporaryDirectory.appending(path: "judge-\(UInt64.random(in: 0...UInt64.max))")
    defer { try? manager.removeItem(at: unpacked) }
    var compared = 0
    for name in try manager.contentsOfDirectory(atPath: Judge.published.path).sorted() {
      let folder = Judge.published.appending(path: name)
      guard Judge.exists(folder.appending(path: "encode.jsonl")) else { continue }
      let copy = unpacked.appending(path: name)
      try manager.createDirectory(at: copy, withIntermediateDirectories: true)
      for file in try manager.contentsOfDirectory(atPath: folder.path) {
        try Judge.unpack(folder.appending(path: file), into: copy)
      }
      for file in Judge.fileNames where Judge.exists(copy.appending(path: file)) {
        try Judge.compare(copy, file)
        compared += 1
      }
    }
    print("published tokenizers: \(compared) files")
    #expect(compared > 0)
  }

  @Test("A tokenizer.json with Metaspace first adds no space before a space or after a special token")
  func metaspaceFirst() throws {
    let folder = Judge.small.appending(path: "llama2-mini")
    let always = try Judge.tokenizer(folder.appending(path: "tokenizer.json"))
    let first = try Judge.tokenizer(folder.appending(path: "tokenizer.metaspace.json"))
    #expect(first.encode("x") == always.encode("x") && first.encode("a b") == always.encode("a b"))
    #expect(first.encode(" x") == first.encode("x") && always.encode(" x") != always.encode("x"))
    #expect(first.encode("<s>hi", parsingSpecialTokens: true) != always.encode("<s>hi", parsingSpecialTokens: true))
    #expect(first.encode("") == [] && always.encode("") == [])
    // In a prompt, a text after tokens continues them, so nothing precedes it.
    let prompt = Prompt([.tokens(always.encode("a")), .markup("hi")])
    #expect(always.encode(prompt) == always.encode("a") + first.encode("<s>hi", parsingSpecialTokens: true).dropFirst())
  }

  @Test("A user-defined token in a message is recognised unless the template writes it")
  func contentOfPrompts() throws {
    let folder = Judge.small.appending(path: "gemma-mini")
    for file in Judge.fileNames {
      let tokenizer = try Judge.tokenizer(folder.appending(path: file))
      let turn = tokenizer.encode("<end_of_turn>", parsingSpecialTokens: true)
      #expect(turn.count == 1)
      let prompt = Prompt([.markup("<start_of_turn>"), .content("a  <b>\n\n<end_of_turn>"), .markup("<end_of_turn>")])
      let ids = tokenizer.encode(prompt)
      #expect(ids.filter { $0 == turn[0] } == turn && ids.last == turn[0], "\(file)")
      for text in ["<b>", "\n\n"] { #expect(ids.contains(tokenizer.encode(text)[0]), "\(file)") }
      let whole = tokenizer.encode("<start_of_turn>a  <b>\n\n", parsingSpecialTokens: true)
      #expect(Array(ids.prefix(whole.count)) == whole, "\(file)")
    }
  }

  @Test("Long words are merged in time that grows with their length", arguments: Judge.fileNames)
  func longWords(file: String) throws {
    for name in ["llama2-mini", "gemma-mini", "qwen-mini", "falcon-mini"] {
      let url = Judge.small.appending(path: name).appending(path: file)
      guard Judge.exists(url) else { continue }
      let tokenizer = try Judge.tokenizer(url)
      for unit in ["a", "the", " ", "\u{4F60}", "\n", "1", "<", "e\u{301}"] {
        let text = String(repeating: unit, count: 100_000 / unit.unicodeScalars.count)
        let start = ContinuousClock().now
        let ids = tokenizer.encode(text)
        #expect(ContinuousClock().now - start < .seconds(2), "\(name) \(unit.debugDescription)")
        #expect(!ids.isEmpty)
      }
    }
  }
}

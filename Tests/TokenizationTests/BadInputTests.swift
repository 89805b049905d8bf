import Testing
import BitNetTokenization

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

@Suite struct BadInputTests {
  /// An edit of small-llama3.json that makes it invalid, and the texts that the error must contain.
  struct Edit: Sendable, CustomTestStringConvertible {
    var old: String
    var new: String
    var named: [String]

    init(_ old: String, _ new: String, _ named: String...) {
      self.old = old
      self.new = new
      self.named = named
    }

    var testDescription: String { "\(old) → \(new.prefix(60))" }
  }

  @Test(arguments: [
    Edit(#""normalizer": null"#, #""normalizer": {"type": "NFD"}"#, "normalizer", "NFD"),
    Edit(#""type": "BPE""#, #""type": "Unigram""#, "model.type", "Unigram", "BPE"),
    Edit(#""type": "Split""#, #""type": "Digits""#, "pre_tokenizer.pretokenizers[0]", "\"pattern\""),
    Edit(#""behavior": "Isolated""#, #""behavior": "Kept""#, "pre_tokenizer", "Kept", "Isolated"),
    Edit(#"\\p{N}{1,3}"#, #"\\p{Nx}"#, "pre_tokenizer", #"\p{Nx}"#),
    Edit(#""use_regex": false"#, #""use_regex": 1"#, "pre_tokenizer.pretokenizers[1].use_regex is 1"),
    Edit(#""version": "1.0""#, #""version": "\x""#, "line 2", "escape"),
    Edit(#""version": "1.0""#, #""version": "\u12G4""#, "line 2", "escape"),
    Edit(#""version": "1.0""#, "\"version\": \"1\n\"", "line 2", "control character"),
    Edit(
      #""type": "TemplateProcessing""#, #""type": "BertProcessing""#, "post_processor.processors[1].type",
      "BertProcessing"),
    Edit(
      #""ids": ["#, #""ids": [7.5,"#,
      #"post_processor.processors[1].special_tokens["<|begin_of_text|>"].ids[0]"#, "7.5"),
    Edit(#""ids": ["#, #""ids": [-3,"#, "post_processor", "special_tokens"),
    Edit(#""ids": ["#, #""ids": [999999,"#, "special_tokens", "an array of 2 ids"),
    Edit(
      #""decoder": {"#, #""decoder": {"type": "Metaspace", "replacement": "_"}, "decoder2": {"#,
      "decoder is not ByteLevel"),
    Edit(#""lstrip": false"#, #""lstrip": 1"#, "added_tokens[0].lstrip is 1"),
    Edit(#""id": 503"#, #""id": 502"#, "<note>", "502"),
    Edit(#""id": 503"#, #""id": 504"#, "<note>!", "504"),
    Edit(#""id": 503"#, #""id": -1"#, "added_tokens[0].id is -1"),
    Edit(#""id": 503"#, #""id": 4194304"#, "added_tokens[0].id is 4194304", "0 to 4194303"),
    Edit(#""id": 503"#, #""id": 5000000000"#, "added_tokens[0].id is 5000000000"),
    Edit(#""id": 503"#, #""id": 1e400"#, "added_tokens[0].id", "1e400"),
    Edit(#""content": "<note>!""#, #""content": "<note>""#, "<note>", "twice"),
    Edit(#""content": "<note>!""#, #""content": """#, "added_tokens[1]", "empty"),
    Edit(#""content": "<note>!""#, #""content": 5"#, "added_tokens[1].content", "a string"),
    Edit(#""dropout": null"#, #""dropout": 0.1"#, "model.dropout", "0.1"),
    Edit(#""end_of_word_suffix": null"#, #""end_of_word_suffix": "</w>""#, "model.end_of_word_suffix", "</w>"),
    Edit(#""!": 0"#, #""!": 1"#, #"model.vocab["\""] is 1"#),
    Edit(#""!": 0"#, #""!": -7"#, #"model.vocab["!"]"#, "-7"),
    Edit(#""!": 0"#, #""!": 99999999999999999999"#, "model.vocab"),
    Edit(#""!": 0"#, #""!": "0""#, "model.vocab", "integer"),
    Edit(#""!": 0"#, #""漢字": 0"#, #"model.vocab["漢字"]"#),
    Edit(#""!": 0"#, #""": 0"#, "model.vocab", "empty"),
    Edit(#""!": 0"#, #""\u0021\u0021\ud83d\ude00": 0"#, #"model.vocab["!!😀"]"#),
    Edit(#""!": 0"#, #""!!!!": 0"#, "model.merges", "model.vocab"),
    Edit(#""!": 0"#, #""!": 0, "\u0021": 0"#, #"model.vocab["!"] is given twice"#),
    Edit(#""!": 0"#, "\"!\": 01", "line", "leading zero"),
    Edit(#""version": "1.0""#, #""version": "\ud800""#, "line 2", "surrogate"),
    Edit(#""!": 0"#, "\"\(String(repeating: "x", count: 1_025))\": 0", "1025"),
    Edit(#""merges": ["#, #""merges": [["a"],"#, "model.merges[0]"),
    Edit(#""merges": ["#, #""merges": [["zz", "zzz"],"#, "model.merges[0]", "zz"),
    Edit(#""merges": ["#, #""merges": [["Ġ", "€"],"#, "model.merges[0]", "€"),
    Edit(#""merges": ["#, #""merges": [["z", "!"],"#, "model.merges[0]", "model.vocab"),
    Edit(#""merges": ["#, #""merges": ["a","#, "model.merges[0]"),
    Edit(#""merges": ["#, #""merges": [["h", 5, "e"],"#, "model.merges[0]", "5"),
    Edit(#""merges": ["#, #""merges": [["h", ["e"]],"#, "model.merges[0][1]", "an array"),
    Edit(#""merges": ["#, #""merges": ["h  e","#, "model.merges[0]", "h  e"),
    Edit(#""merges": ["#, #""merges": [5,"#, "model.merges"),
    Edit(#""merges": ["#, #""mergers": ["#, "model", "\"mergers\""),
    Edit(#""model": {"#, #""nomodel": {"#, "model"),
    Edit(#""version": "1.0""#, #""version": "#, "line 2", "JSON"),
    Edit(
      #""version": "1.0""#, "\"version\": " + String(repeating: "[", count: 200_000),
      "nested more than 64 deep at line 2"),
    Edit(#""normalizer": null"#, "\"normalizer\": " + String(repeating: #"{"a":"#, count: 100_000), "nested"),
  ]) func tokenizerJSONIsRefused(edit: Edit) throws {
    let text = try Fixtures.text("small-llama3.json")
    let range = try #require(text.firstRange(of: edit.old), "the edit does not apply")
    let edited = text.replacingCharacters(range, edit.new)
    let error = #expect(throws: TokenizerError.self) { try Tokenizer(tokenizerJSON: Array(edited.utf8)) }
    for name in edit.named { #expect(error?.description.contains(name) == true, "\(error?.description ?? "")") }
  }

  @Test(arguments: [
    "", "{", "[]", "{}", "null", "{\"model\":{}}", "\u{0}", "{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}",
  ])
  func noTokenizerJSON(text: String) {
    #expect(throws: TokenizerError.self) { try Tokenizer(tokenizerJSON: Array(text.utf8)) }
  }

  @Test(arguments: [
    ("IQ= 0", "line 1"), ("IQ==", "line 1"), ("IQ==  0", "line 1"), ("IQ== x", "line 1"), ("IQ== -1", "line 1"),
    (" 0", "line 1"),
    ("IQ== 0\nIg== 0", "line 2"), ("IQ== 0\nIQ== 1", "ids 0 and 1"), ("IQ== 4194304", "4194304"),
    ("IQ== 99999999999999999999", "line 1"),
    ("I*== 0", "line 1"), ("=QI= 0", "line 1"), ("==== 0", "line 1"), ("IQ== 0", "single byte"), ("", "single byte"),
    ("IQ== 0 0", "line 1"), ("\u{0}\u{1}\u{2}", "line 1"),
  ]) func rankFileIsRefused(text: String, named: String) {
    let error = #expect(throws: TokenizerError.self) { try Tokenizer(tiktoken: Array(text.utf8)) }
    #expect(error?.description.contains(named) == true, "\(error?.description ?? "")")
  }

  @Test(arguments: [
    ("swift-bitnet tokenizer 1", "swift-bitnet tokenizer 3", "tokenizer 3"), ("split llama3", "split cl100k", "cl100k"),
    ("split llama3\n", "", "split"), ("split llama3", "split llama3\nsplit llama3", "second time"),
    ("split llama3", "split llama3 x", "\"x\""),
    ("whole-pieces false", "whole-pieces maybe", "maybe"), ("tokens AA==", "tokens AA", "base64"),
    ("tokens AA==", "tokens @-1 AA==", "-1"),
    ("tokens AA==", "tokens @4194304 AA==", "4194304"), ("tokens AA==", "tokens @4194303 AA== AQ==", "4194304"),
    ("tokens AA== AQ==", "tokens AA== @0 AQ==", "is 0, as of an earlier token"), ("tokens AA==", "tokens", "0x0"),
    ("merges by-id", "merges by-rank", "by-rank"), ("merges by-id", "merges listed 1", "token id"),
    ("merges by-id", "merges listed 1 2", "a merge in line 5 is 1 2"),
    ("merges by-id", "merges listed 97 4000000", "4000000"), ("merges by-id", "mergers by-id", "mergers"),
    ("merges by-id", "merges by-id\nspecial 97 Yg==", "97"),
    ("merges by-id", "merges by-id\nspecial 300 ????", "base64"),
    ("merges by-id", "merges by-id\nspecial 300", "base64"), ("merges by-id", "merges by-id\nbos 300", "300"),
  ]) func serializedIsRefused(old: String, new: String, named: String) throws {
    let text = serialized(tokens: ["ab"])
    let range = try #require(text.firstRange(of: old), "the edit does not apply")
    let edited = text.replacingCharacters(range, new)
    let error = #expect(throws: TokenizerError.self) { try Tokenizer(serialized: edited) }
    #expect(error?.description.contains(named) == true, "\(error?.description ?? "")")
  }

  @Test func filesAndFoldersAreFoundOrNamed() throws {
    let manager = FileManager.default
    let folder = manager.temporaryDirectory.appending(path: "tokenizer-test-\(UInt64.random(in: 0...UInt64.max))")
    try manager.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? manager.removeItem(at: folder) }
    func expectRefusal(_ named: String..., of tokenizer: () throws -> Tokenizer) {
      let error = #expect(throws: TokenizerError.self) { try tokenizer() }
      for name in named { #expect(error?.description.contains(name) == true, "\(error?.description ?? "")") }
    }
    expectRefusal(folder.path, "tokenizer.json", "tokenizer.model") { try Tokenizer(folder: folder.path) }
    expectRefusal("no-such-file") { try Tokenizer(contentsOfFile: folder.appending(path: "no-such-file").path) }
    expectRefusal(folder.path) { try Tokenizer(contentsOfFile: folder.path) }

    let model = folder.appending(path: "tokenizer.model")
    let sentencePiece: [UInt8] = [0x0A, 0x0E, 0x0A, 0x05, 0x3C, 0x75, 0x6E, 0x6B, 0x3E, 0x15, 0, 0, 0, 0, 0x18, 0x02]
    try Data(sentencePiece).write(to: model)
    expectRefusal(model.path, "trainer_spec.model_type is unigram") { try Tokenizer(folder: folder.path) }

    try Data(serialized(tokens: ["ab"]).utf8).write(to: model)
    #expect(try Tokenizer(folder: folder.path).encode("ab") == [256])
    try Data(try Fixtures.bytes("small-gpt2.json")).write(to: folder.appending(path: "tokenizer.json"))
    #expect(try Tokenizer(folder: folder.path).id(ofSpecialToken: "<|endoftext|>") != nil)
    // Downloaded models are often folders of links.
    try manager.createSymbolicLink(at: folder.appending(path: "link"), withDestinationURL: model)
    #expect(try Tokenizer(contentsOfFile: folder.appending(path: "link").path).encode("ab") == [256])
  }

  /// Files with random damage either load and work or are refused; none crashes.
  @Test(arguments: [
    "small-llama3.json", "small-gpt2.json", "serialized", "ranks", "mini/gemma-mini/tokenizer.json",
    "mini/falcon-mini/tokenizer.json", "mini/llama2-mini/tokenizer.metaspace.json", "mini/gemma-mini/tokenizer.model",
    "mini/llama2-mini/tokenizer.model", "serialized characters",
  ]) func damagedFilesNeverCrash(name: String) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("damagedFilesNeverCrash: \(name), seed \(seed)")
    var random = SeededGenerator(seed: seed)
    let original: [UInt8] =
      switch name {
      case "serialized": Array(try Tokenizer(contentsOfFile: Fixtures.path("small-llama3.json")).serialized().utf8)
      case "serialized characters":
        Array(try Tokenizer(contentsOfFile: Fixtures.path("mini/gemma-mini/tokenizer.json")).serialized().utf8)
      case "ranks":
        Array(
          serialized(tokens: ["ab", "abc"]).split(separator: "\n")[3].split(separator: " ").dropFirst().enumerated()
            .map { "\($0.element) \($0.offset)\n" }.joined().utf8)
      default: try Fixtures.bytes(name)
      }
    var loaded = 0
    for _ in 0..<1_500 {
      let damaged = Self.damage(original, &random)
      let tokenizer: Tokenizer? =
        switch name {
        case "serialized", "serialized characters": try? Tokenizer(serialized: String(decoding: damaged, as: UTF8.self))
        case "ranks": try? Tokenizer(tiktoken: damaged)
        case _ where name.hasSuffix("model"): try? Tokenizer(sentencePiece: damaged)
        default: try? Tokenizer(tokenizerJSON: damaged)
        }
      guard let tokenizer else { continue }
      loaded += 1
      let text = "The rabbit's hole<|eot_id|> 123 <note>é😀\n\n"
      for parsesSpecialTokens in [false, true] {
        let ids = tokenizer.encode(text, parsingSpecialTokens: parsesSpecialTokens)
        // A damaged split or normalizer may drop or change text, and bytes without a token are dropped.
        if ["serialized", "ranks"].contains(name), (0...255).allSatisfy({ tokenizer.id(of: [$0]) != nil }) {
          #expect(tokenizer.decode(ids) == text, "seed \(seed)")
        }
        #expect(tokenizer.decode(ids) == streamed(ids, tokenizer).joined(), "seed \(seed)")
      }
      #expect(throws: Never.self) { _ = try Tokenizer(serialized: tokenizer.serialized()) }
    }
    print("damagedFilesNeverCrash: \(name), \(loaded) of 1500 loaded")
  }

  private static func damage(_ original: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
    var bytes = original
    for _ in 0..<Int.random(in: 1...3, using: &random) where !bytes.isEmpty {
      let at = Int.random(in: 0..<bytes.count, using: &random)
      let end = min(bytes.count, at + Int.random(in: 1...40, using: &random))
      switch Int.random(in: 0..<6, using: &random) {
      case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
      case 1: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      case 2: bytes.removeSubrange(at..<end)
      case 3: bytes.insert(contentsOf: bytes[at..<end], at: Int.random(in: 0...bytes.count, using: &random))
      case 4:
        bytes.replaceSubrange(
          at..<at,
          with: ["9", "-", "\"", "[", "{", ",", " ", "@", "=", "\n", "null"].randomElement(using: &random)!.utf8)
      default: bytes.removeSubrange((Int.random(in: 0..<50, using: &random) == 0 ? at : bytes.count)...)
      }
    }
    return bytes
  }
}

extension String {
  fileprivate func replacingCharacters(_ range: Range<Index>, _ new: String) -> String {
    self[..<range.lowerBound] + new + self[range.upperBound...]
  }
}

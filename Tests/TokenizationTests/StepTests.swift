import FoundationEssentials
import Testing
import BitNetTokenization

/// The steps of tokenizer.json files, in many combinations: see Scripts/make-step-cases.py.
@Suite struct StepTests {
  struct File: Decodable {
    var tokenizer: String
    var cases: [Case]
  }

  struct Case: Decodable {
    var text: String
    var ids: [Int32]
    var idsSpecial: [Int32]
    var decoded: String?
    var skipped: String?
  }

  @Test func stepsDoWhatHuggingFaceDoes() throws {
    let files = try jsonLines(File.self, in: Fixtures.folder.appending(path: "step-cases.jsonl"))
    #expect(files.count > 50)
    for (number, file) in files.enumerated() {
      let tokenizer = try Tokenizer(tokenizerJSON: Array(file.tokenizer.utf8))
      let text = tokenizer.serialized()
      let converted = try Tokenizer(serialized: text)
      #expect(converted.serialized() == text)
      for tokenizer in [tokenizer, converted] {
        for expected in file.cases {
          let place: Comment = "file \(number), \(expected.text.debugDescription)"
          #expect(tokenizer.encode(expected.text) == expected.ids, place)
          #expect(tokenizer.encode(expected.text, parsingSpecialTokens: true) == expected.idsSpecial, place)
          for (skips, decoded) in [(false, expected.decoded), (true, expected.skipped)] {
            guard let decoded else { continue }
            let text = tokenizer.decode(expected.idsSpecial, skippingSpecialTokens: skips)
            #expect(text.utf8.elementsEqual(decoded.utf8), place)
            let pieces = streamed(expected.idsSpecial, tokenizer, skippingSpecialTokens: skips)
            #expect(pieces.joined().utf8.elementsEqual(decoded.utf8), place)
          }
        }
      }
    }
  }

  /// A tokenizer.json of characters with these components.
  private func file(
    normalizer: String = "null", preTokenizer: String = "null", decoder: String = #"{"type": "Fuse"}"#,
    model: String = "", added: String = "[]", more: String = ""
  ) -> String {
    """
    {"normalizer": \(normalizer), "pre_tokenizer": \(preTokenizer), "decoder": \(decoder), "added_tokens": \(added),
     \(more) "model": {"type": "BPE", \(model) "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}}
    """
  }

  @Test func theFileOfTheseTestsIsRead() throws {
    #expect(try Tokenizer(tokenizerJSON: Array(file().utf8)).encode("aabxb") == [0, 2, 1])
  }

  struct Refusal: Sendable {
    var field: String
    var value: String
    var named: [String]

    init(_ field: String, _ value: String, _ named: String...) {
      self.field = field
      self.value = value
      self.named = named
    }
  }

  @Test(arguments: [
    Refusal("normalizer", #"{"type": "NFKC"}"#, "normalizer.type", "NFKC"),
    Refusal("normalizer", #"{"type": "Lowercase"}"#, "normalizer.type", "Lowercase"),
    Refusal("normalizer", #"{"type": "NFC", "form": 1}"#, "normalizer", "\"form\""),
    Refusal("normalizer", #"{"type": "Sequence", "normalizers": [{"type": "Strip"}]}"#, "normalizers[0].type", "Strip"),
    Refusal("normalizer", #"{"type": "Replace", "pattern": {"Regex": "a\\b"}, "content": ""}"#, "Regex", "\\b"),
    Refusal("preTokenizer", #"{"type": "Whitespace"}"#, "pre_tokenizer.type", "Whitespace"),
    Refusal("preTokenizer", #"{"type": "Split", "behavior": "Isolated"}"#, "pre_tokenizer.pattern", "missing"),
    Refusal(
      "preTokenizer", #"{"type": "Split", "pattern": {"String": "a"}, "behavior": "Apart"}"#, "behavior", "Apart"),
    Refusal(
      "preTokenizer", #"{"type": "Split", "pattern": {"Regex": "(?<=a)b"}, "behavior": "Isolated"}"#, "(?<=a)b",
      "a group of another kind"),
    Refusal(
      "preTokenizer", #"{"type": "Split", "pattern": {"Regex": "[a&&b]"}, "behavior": "Isolated"}"#, "intersection"),
    Refusal(
      "preTokenizer", #"{"type": "Split", "pattern": {"Regex": "\\p{Greek}"}, "behavior": "Isolated"}"#, "Greek"),
    Refusal("preTokenizer", #"{"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated"}"#, "does not end"),
    Refusal("preTokenizer", #"{"type": "Split", "pattern": {"Regex": "(a*)*"}, "behavior": "Isolated"}"#, "be empty"),
    Refusal(
      "preTokenizer", #"{"type": "Split", "pattern": {"Regex": "((a{900}){900}){900}"}, "behavior": "Isolated"}"#,
      "more than"),
    Refusal(
      "preTokenizer",
      #"{"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "a"#
        + String(repeating: "{1}", count: 100_000) + #""}}"#, "nested more than 32 deep"),
    Refusal(
      "preTokenizer",
      #"{"type": "Split", "behavior": "Isolated", "pattern": {"Regex": ""#
        + String(String.UnicodeScalarView((0..<2_000).map { Unicode.Scalar(0x4E00 + $0)! })) + #""}}"#, "1000 sets"),
    Refusal(
      "normalizer",
      #"{"type": "Sequence", "normalizers": ["#
        + repeatElement(#"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#, count: 60)
        .joined(separator: ",") + "]}", "2048 times as long"),
    Refusal("preTokenizer", #"{"type": "Metaspace", "replacement": "ab"}"#, "replacement", "one character"),
    Refusal("preTokenizer", #"{"type": "Metaspace", "replacement": "_"}"#, "\"_\" is missing"),
    Refusal("decoder", "null", "decoder is missing"),
    Refusal("decoder", #"{"type": "ByteLevel"}"#, "decoder is ByteLevel"),
    Refusal("decoder", #"{"type": "WordPiece"}"#, "decoder.type", "WordPiece"),
    Refusal("decoder", #"{"type": "Strip", "content": " ", "start": -1, "stop": 0}"#, "decoder.start", "-1"),
    Refusal(
      "decoder", #"{"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]}"#, "after Fuse"),
    Refusal("model", #""unk_token": "<unk>","#, "model.unk_token", "<unk>"),
    Refusal("model", #""dropout": 0.5,"#, "model.dropout"),
    Refusal("model", #""cache_capacity": 5,"#, "model", "\"cache_capacity\""),
    Refusal("added", #"[{"id": 7, "content": "<s>", "special": true, "color": 1}]"#, "added_tokens[0]", "\"color\""),
    Refusal("added", #"[{"id": 1, "content": "a"}]"#, "model.vocab", "added_tokens"),
    Refusal("more", #""extra": 1,"#, "\"extra\""),
    Refusal("more", #""post_processor": {"type": "BertProcessing"},"#, "post_processor.type", "BertProcessing"),
    Refusal(
      "more", #""post_processor": {"type": "TemplateProcessing", "single": [], "special_tokens": {}},"#,
      "post_processor.single"),
  ]) func unknownThingsAreRefusedByName(refusal: Refusal) {
    let text =
      switch refusal.field {
      case "normalizer": file(normalizer: refusal.value)
      case "preTokenizer": file(preTokenizer: refusal.value)
      case "decoder": file(decoder: refusal.value)
      case "model": file(model: refusal.value)
      case "added": file(added: refusal.value)
      default: file(more: refusal.value)
      }
    let error = #expect(throws: TokenizerError.self) { try Tokenizer(tokenizerJSON: Array(text.utf8)) }
    for name in refusal.named { #expect(error?.description.contains(name) == true, "\(error?.description ?? "")") }
  }

  @Test func templatesGiveBothEnds() throws {
    let template = """
      "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
      {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}], "pair": [],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]},
      "</s>": {"id": "</s>", "ids": [4], "tokens": ["</s>"]}}},
      """
    let added =
      #"[{"id": 3, "content": "<s>", "special": true}, {"id": 4, "content": "</s>", "special": true}]"#
    let tokenizer = try Tokenizer(tokenizerJSON: Array(file(added: added, more: template).utf8))
    #expect(tokenizer.beginToken == 3 && tokenizer.endToken == 4)
    let converted = try Tokenizer(serialized: tokenizer.serialized())
    #expect(converted.beginToken == 3 && converted.endToken == 4)
  }

  /// Composing moves bytes, but no content of a prompt may become a special token by it.
  @Test func contentNeverBecomesASpecialTokenByNormalizing() throws {
    let added =
      #"[{"id": 7, "content": "\u1EB9", "special": true, "normalized": true}, "#
      + #"{"id": 8, "content": "<x>", "special": true, "normalized": true}]"#
    let tokenizer = try Tokenizer(
      tokenizerJSON: Array(
        file(normalizer: #"{"type": "NFC"}"#, model: #""unk_token": "b","#, added: added).utf8))
    let texts = ["e\u{301}\u{323}", "a\u{30A}e\u{323}\u{301}", "e\u{323}", "\u{1EB9}", "<x>", "e\u{301}<x>e\u{323}"]
    for text in texts {
      #expect(tokenizer.encode(text).allSatisfy { $0 < 7 })
      #expect(tokenizer.encode(Prompt([.content(text)])).allSatisfy { $0 < 7 }, "\(text.debugDescription)")
      #expect(tokenizer.encode(Prompt([.markup("ab"), .content(text)])).allSatisfy { $0 < 7 })
      #expect(tokenizer.encode(Prompt([.content(text), .markup("\u{323}>")])).allSatisfy { $0 < 7 })
      let marked = tokenizer.encode(Prompt([.markup(text)]))
      #expect(marked == tokenizer.encode(text, parsingSpecialTokens: true))
      #expect(marked.contains { $0 >= 7 }, "\(text.debugDescription)")
    }
  }

  /// An expression that would need too many steps ends, with the matches that it has.
  @Test func expressionsEnd() throws {
    let split = #"{"type": "Split", "pattern": {"Regex": "(a|a)*(a|a)*(a|a)*c|(x+x+)+y"}, "behavior": "Isolated"}"#
    let tokenizer = try Tokenizer(
      tokenizerJSON: Array(file(preTokenizer: split, model: #""unk_token": "a","#).utf8))
    let start = ContinuousClock().now
    for text in [String(repeating: "a", count: 5_000), String(repeating: "x", count: 5_000)] {
      #expect(tokenizer.encode(text).count == 5_000)
    }
    #expect(ContinuousClock().now - start < .seconds(5))
    // Each of these looks far ahead in vain at every place, and finds what comes after.
    for pattern in ["(x+x+)+y|a", "x+y|a", "(x|xx)*?y|a", "x+(?=x*y)|a", "(?>x+x)*y|a"] {
      let split = #"{"type": "Split", "pattern": {"Regex": "\#(pattern)"}, "behavior": "Isolated"}"#
      let tokenizer = try Tokenizer(
        tokenizerJSON: Array(file(preTokenizer: split, model: #""unk_token": "a","#).utf8))
      let text = String(repeating: "x", count: 8_000)
      let ids = tokenizer.encode(text + "abab")
      #expect(ids.suffix(4) == [0, 1, 0, 1] && ids.count == 8_004, "\(pattern)")
    }
  }
}

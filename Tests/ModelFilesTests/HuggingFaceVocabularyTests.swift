import BitNetModelFiles
import BitNetTernary
import ModelFilesSupport
import TestSupport
import Testing

@Suite("Vocabularies written to GGUF files")
struct HuggingFaceVocabularyTests {
  static let llama3 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    + "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

  static func splitter(_ pattern: String) -> String {
    let split = "{\"type\":\"Split\",\"pattern\":{\"Regex\":\(quoted(pattern))},\"behavior\":\"Isolated\"}"
    return "{\"type\":\"Sequence\",\"pretokenizers\":[\(split),{\"type\":\"ByteLevel\",\"use_regex\":false}]}"
  }

  /// The metadata of a file converted from a folder with this tokenizer.json.
  func convert(
    splitter: String = splitter(llama3), ignoreMerges: Bool = true, normalizer: String = "null", id: Int = 2
  ) throws -> GGUFMetadata {
    let folder = try TemporaryFolder()
    // Sizes that are whole blocks.
    try folder.write("config.json", Array(self.folder("config.json")))
    try folder.write("model.safetensors", Array(self.folder("model.safetensors")))
    let model =
      "{\"type\":\"BPE\",\"ignore_merges\":\(ignoreMerges),\"vocab\":{\"a\":0,\"b\":1,\"ab\":\(id)},"
      + "\"merges\":[[\"a\",\"b\"]]}"
    let added = "[{\"id\":4,\"content\":\"<s>\",\"special\":true},{\"id\":5,\"content\":\"<t>\",\"special\":false}]"
    let processor = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}}]}"
    let json =
      "{\"model\":\(model),\"pre_tokenizer\":\(splitter),\"normalizer\":\(normalizer),\"added_tokens\":\(added),"
      + "\"post_processor\":\(processor)}"
    try folder.write("tokenizer.json", Array(json.utf8))
    try ModelConverter.convert(from: folder.path, to: folder("a.gguf"), type: .i2_S, tokenizer: { _ in "own" })
    // GGUF to GGUF keeps the vocabulary.
    try ModelConverter.convert(from: folder("a.gguf"), to: folder("b.gguf"), type: .i2_S)
    let (first, second) = (try GGUFFile(path: folder("a.gguf")), try GGUFFile(path: folder("b.gguf")))
    func vocabulary(_ file: GGUFFile) throws -> [[UInt8]]? {
      try file.header.metadata.byteStrings("tokenizer.ggml.tokens")
    }
    #expect(try vocabulary(first) == vocabulary(second))
    #expect(try ModelLoader.tokenizer(path: folder("b.gguf")) == .serialized("own"))
    return first.header.metadata
  }

  func folder(_ name: String) throws -> [UInt8] {
    let fixture = fixture("bitnet-packed-auto-tied/" + name)
    return try MappedFile(path: fixture).bytes.withUnsafeBytes { Array($0) }
  }

  @Test func aTokenizerJSONBecomesAVocabulary() throws {
    let metadata = try convert()
    #expect(try metadata.string("tokenizer.ggml.model") == "gpt2")
    #expect(try metadata.string("tokenizer.ggml.pre") == "llama-bpe")
    let tokens = try #require(try metadata.strings("tokenizer.ggml.tokens"))
    #expect(tokens.count == 512 && Array(tokens.prefix(7)) == ["a", "b", "ab", "[PAD3]", "<s>", "<t>", "[PAD6]"])
    #expect(try metadata.integers("tokenizer.ggml.token_type")?.prefix(7) == [1, 1, 1, 5, 3, 4, 5])
    #expect(try metadata.strings("tokenizer.ggml.merges") == ["a b"])
    #expect(try metadata.bool("tokenizer.ggml.add_bos_token") == true)
    #expect(try metadata.integer("tokenizer.ggml.bos_token_id") == 0)
  }

  @Test func rulesAreRecognised() throws {
    func pre(_ splitter: String, ignoreMerges: Bool = false, normalizer: String = "null") throws -> String? {
      try convert(splitter: splitter, ignoreMerges: ignoreMerges, normalizer: normalizer).string("tokenizer.ggml.pre")
    }
    let qwen = Self.splitter(Self.llama3.replacing("{1,3}", with: ""))
    #expect(try pre(qwen, normalizer: "{\"type\":\"NFC\"}") == "qwen2")
    #expect(try pre("{\"type\":\"ByteLevel\"}") == "gpt-2")
    // The same expressions with another rule for whole pieces, or without the normalizer.
    #expect(try pre(Self.splitter(Self.llama3)) == nil)
    #expect(try pre(qwen) == nil)
    #expect(try pre(Self.splitter("x"), ignoreMerges: true) == nil)
  }

  @Test func tokensBeyondTheVocabularyAreRefused() {
    expectRefusal("model.vocab.ab", "is 512", expected: "511") { _ = try convert(id: 512) }
  }
}

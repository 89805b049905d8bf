import BitNetTokenization
import Foundation
import Testing

@Suite("Tokenizers for other programs in GGUF files")
struct GGUFExportTests {
  static let files = ["tokenizer.json", "tokenizer.metaspace.json", "tokenizer.model"]

  @Test(
    "The vocabulary alone gives the ids of the tokenizer",
    arguments: [
      "llama2-mini", "gemma-mini", "qwen-mini", "falcon-mini", "falcon3-mini", "falcon3-mini-ignore-merges",
    ], files)
  func encodesAlike(name: String, file: String) throws {
    let path = Judge.small.appending(path: name).appending(path: file)
    guard Judge.exists(path) else { return }
    let tokenizer = try Tokenizer(contentsOfFile: path.path)
    let export = try tokenizer.ggufExport(size: 1600)
    let vocabulary = try #require(export.vocabulary)
    #expect(vocabulary.tokens.count == 1600 && Set(vocabulary.tokens).count == 1600)
    #expect(vocabulary.addsBeginToken == (tokenizer.beginToken != nil))
    #expect(vocabulary.beginToken == tokenizer.beginToken.map(Int.init))
    #expect(export.notes.isEmpty == (file != "tokenizer.metaspace.json"))
    let read = try Tokenizer(vocabulary)
    let cases = try jsonLines(
      Judge.EncodingCase.self, in: Judge.small.appending(path: name).appending(path: "encode.jsonl"))
    for expected in cases {
      let text = expected.text
      if let ids = expected.ids { #expect(read.encode(text) == ids, "\(text.debugDescription)") }
      if expected.specialDisputed != true, let ids = expected.idsSpecial ?? expected.ids {
        #expect(read.encode(text, parsingSpecialTokens: true) == ids, "\(text.debugDescription)")
      }
    }
  }

  private static func make(_ tokens: [String] = ["ab"], split: String = "llama3", more: [String] = []) throws
    -> Tokenizer
  {
    try Tokenizer(serialized: serialized(tokens: tokens, split: split, more: more))
  }

  private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

  @Test("Ids without a token become unused tokens, none of which has the name of another")
  func gaps() throws {
    let name = Data("[PAD259]".utf8).base64EncodedString()
    let tokenizer = try Self.make(["ab", "ac"], more: ["special 258 \(name)"])
    let vocabulary = try #require(try tokenizer.ggufExport(size: 262).vocabulary)
    #expect(vocabulary.tokens[258...].map(Self.text) == ["[PAD259]", "[[PAD259]]", "[PAD260]", "[PAD261]"])
    #expect(vocabulary.types[258...] == [3, 5, 5, 5])
    #expect(throws: TokenizerError.self) { try tokenizer.ggufExport(size: 258) }
  }

  @Test("Merges of a vocabulary without a list are all splits into two tokens")
  func merges() throws {
    let vocabulary = try #require(try Self.make(["ab", "abc", "bc"]).ggufExport(size: 259).vocabulary)
    #expect(vocabulary.merges.map(Self.text) == ["a b", "a bc", "ab c", "b c"])
    #expect(vocabulary.pre == "llama-bpe" && vocabulary.model == "gpt2")
  }

  @Test("What the keys cannot express is said")
  func notes() throws {
    let special = Data("<mask>".utf8).base64EncodedString()
    let export = try Tokenizer(
      serialized: serialized(tokens: ["ab"], more: ["special 257 \(special) lstrip single_word"])
        .replacingOccurrences(of: "tokenizer 1\n", with: "tokenizer 2\n")
        .replacingOccurrences(
          of: "split llama3\n", with: "pre bytes false true\n")
    ).ggufExport(size: 258)
    #expect(export.vocabulary?.pre == "gpt-2")
    #expect(export.notes == ["they ignore lstrip, single_word of \"<mask>\""])
    let odd = try Tokenizer(
      serialized: serialized(tokens: ["ab"]).replacingOccurrences(of: "tokenizer 1\n", with: "tokenizer 2\n")
        .replacingOccurrences(
          of: "split llama3\n",
          with: "pre split expression \(Data("x".utf8).base64EncodedString()) Isolated false\npre bytes false false\n")
    ).ggufExport(size: 258)
    #expect(odd.vocabulary == nil)
    #expect(odd.notes == ["its rule for splitting text has no name in GGUF files"])
  }
}

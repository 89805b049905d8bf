import BitNet
import BitNetInference
import BitNetModelFiles
import BitNetTokenization
import Foundation
import TestSupport
import Testing

@Suite("Vocabularies of GGUF files")
struct GGUFVocabularyTests {
  /// Tokenizers with the ids of independent implementations, in the fixtures of the tokenizers' own tests.
  static let names = ["falcon-mini", "falcon3-mini", "gemma-mini", "llama2-mini", "qwen-mini"]

  struct Case: Decodable {
    let text: String
    let ids: [Int32]?
  }

  @Test(arguments: names)
  func encodeAsOthersDo(_ name: String) throws {
    let folder = Repository.path("Tests/TokenizationTests/Fixtures/mini/\(name)")
    let tokenizer = try Tokenizer(file: folder + "/vocab.gguf")
    let lines = try String(contentsOfFile: folder + "/encode.jsonl", encoding: .utf8).split(separator: "\n")
    var (count, wrong) = (0, 0)
    for line in lines {
      let expected = try JSONDecoder().decode(Case.self, from: Data(line.utf8))
      guard let ids = expected.ids else { continue }
      count += 1
      if tokenizer.encode(expected.text) != ids { wrong += 1 }
    }
    #expect(count > 100 && wrong == 0, "\(wrong) of \(count) texts")
  }

  @Test(arguments: [
    "tok_tokens_not_strings", "tok_merge_no_space", "tok_no_tokens", "tok_unknown_pre", "tok_scores_short",
  ])
  func brokenOnesAreRefused(_ name: String) {
    let path = Repository.path("Tests/Fixtures/gguf/\(name).gguf")
    #expect { _ = try Tokenizer(file: path) } throws: { error in
      "\(error)".hasPrefix(path) && !"\(error)".contains("\n")
    }
  }

  @Test("A file's begin and end tokens are those that the tokenizer adds, or else those of the model")
  func tokensAtTheEnds() throws {
    let folder = Repository.path("Tests/TokenizationTests/Fixtures/mini")
    var model = try #require(Fixture.all.first).load().weights.configuration
    model.vocabularySize = 2000
    func keys(_ file: String) throws -> [String: String] {
      let tokenizer = try GGUFTokenizer(Tokenizer(contentsOfFile: "\(folder)/\(file)"), of: model)
      return Dictionary(
        uniqueKeysWithValues: tokenizer.keys.map { key in
          (key.name.split(separator: ".").last.map(String.init) ?? "", "\(key.value)")
        })
    }
    model.beginToken = 17
    model.endTokens = [18, 19, 20, 21]
    // Llama 2's begins texts with <s>, Qwen's adds nothing.
    let llama = try keys("llama2-mini/tokenizer.json")
    #expect(llama["bos_token_id"] == "integer(1)" && llama["add_bos_token"] == "flag(true)")
    let qwen = try keys("qwen-mini/tokenizer.json")
    #expect(qwen["bos_token_id"] == "integer(17)" && qwen["add_bos_token"] == "flag(false)")
    for keys in [llama, qwen] {
      #expect(keys["eos_token_id"] == "integer(18)" && keys["add_eos_token"] == "flag(false)")
      #expect(keys["eot_token_id"] == "integer(19)" && keys["eom_token_id"] == "integer(20)")
    }
    #expect(llama["model"] == "text(\"llama\")" && llama["add_space_prefix"] == "flag(true)")
    // An end token that the tokenizer adds comes first.
    let serialized = try Tokenizer(contentsOfFile: "\(folder)/llama2-mini/tokenizer.json").serialized()
    let adding = try Tokenizer(serialized: serialized.replacingOccurrences(of: "\nbos 1\n", with: "\nbos 1\neos 19\n"))
    let end = try GGUFTokenizer(adding, of: model).keys.filter { $0.name.hasSuffix("_token_id") }.map { "\($0.value)" }
    #expect(end == ["integer(1)", "integer(19)", "integer(18)", "integer(20)", "integer(0)"])
  }
}

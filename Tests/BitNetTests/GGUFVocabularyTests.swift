import BitNet
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
}

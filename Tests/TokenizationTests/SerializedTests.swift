import Testing
import BitNetTokenization

@Suite struct SerializedTests {
  @Test(arguments: ["small-llama3.json", "small-gpt2.json"]) func tokenizersComeBackWhole(name: String) throws {
    let tokenizer = try Tokenizer(contentsOfFile: Fixtures.path(name))
    let text = tokenizer.serialized()
    #expect(text.utf8.allSatisfy { $0 == 0x0A || ($0 >= 0x20 && $0 < 0x7F && $0 != 0x22 && $0 != 0x5C) })
    let reloaded = try Tokenizer(serialized: text)
    #expect(reloaded.serialized() == text)
    #expect(reloaded.vocabularySize == tokenizer.vocabularySize && reloaded.beginToken == tokenizer.beginToken)
    #expect(reloaded.specialTokens == tokenizer.specialTokens)
    for id in 0..<Int32(tokenizer.vocabularySize) { #expect(reloaded.bytes(of: id) == tokenizer.bytes(of: id)) }
    var random = SeededGenerator(seed: 23)
    for _ in 0..<500 {
      let text = randomText(upTo: 60, &random) + "the wonderland <note><|eot_id|>"
      for parsesSpecialTokens in [false, true] {
        let ids = tokenizer.encode(text, parsingSpecialTokens: parsesSpecialTokens)
        #expect(reloaded.encode(text, parsingSpecialTokens: parsesSpecialTokens) == ids)
      }
    }
  }

  @Test func holesAreKept() throws {
    let text = serialized(tokens: ["ab"], more: ["special 9000 PHM+", "added 400 eA==", "bos 9000"])
      .replacing(" YWI=", with: " @1000 YWI=")
    let tokenizer = try Tokenizer(serialized: text)
    #expect(tokenizer.vocabularySize == 9_001 && tokenizer.beginToken == 9_000)
    #expect(tokenizer.specialTokens == ["<s>": 9_000])
    #expect(tokenizer.encode("ab x", addingBeginToken: true) == [9_000, 1_000, 32, 400])
    #expect(tokenizer.bytes(of: 999) == nil && tokenizer.bytes(of: 1_000) == Array("ab".utf8))
    let again = try Tokenizer(serialized: tokenizer.serialized())
    #expect(again.serialized() == tokenizer.serialized() && again.encode("ab x") == [1_000, 32, 400])
  }

  @Test func rankFilesComeBackWhole() throws {
    let lines =
      (0...255).map { [UInt8($0)] } + [Array("he".utf8), Array("hel".utf8), Array(" th".utf8), Array("th".utf8)]
    let text = serialized(tokens: []).split(separator: "\n").first { $0.hasPrefix("tokens") }!
    let encoded = text.split(separator: " ").dropFirst() + ["aGU=", "aGVs", "IHRo", "dGg="]
    let file = encoded.enumerated().map { "\($0.element) \($0.offset)" }.joined(separator: "\r\n")
    let tokenizer = try Tokenizer(tiktoken: Array(file.utf8))
    #expect(tokenizer.vocabularySize == lines.count && tokenizer.beginToken == nil && tokenizer.specialTokens.isEmpty)
    for (id, bytes) in lines.enumerated() { #expect(tokenizer.bytes(of: Int32(id)) == bytes) }
    // " th" is a whole piece; merging would give it too, by way of "th".
    #expect(tokenizer.encode("hel th thx") == [257, 258, 258, 120])
    #expect(try Tokenizer(serialized: tokenizer.serialized()).encode("hel th thx") == [257, 258, 258, 120])
  }
}

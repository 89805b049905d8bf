import FoundationEssentials
import Testing
import BitNetTokenization

@Suite struct EncodingTests {
  struct Case: Decodable {
    var text: String
    var llama3: [Int32]
    var llama3Special: [Int32]
    var gpt2: [Int32]
    var gpt2Special: [Int32]
  }

  /// The ids of Hugging Face tokenizers: see Scripts/make-small-tokenizers.py.
  @Test func idsAreThoseOfHuggingFace() throws {
    let llama3 = try Tokenizer(contentsOfFile: Fixtures.path("small-llama3.json"))
    let gpt2 = try Tokenizer(contentsOfFile: Fixtures.path("small-gpt2.json"))
    for expected in try jsonLines(Case.self, in: Fixtures.folder.appending(path: "small-cases.jsonl")) {
      let text = expected.text
      #expect(llama3.encode(text) == expected.llama3, "\(text.debugDescription)")
      #expect(llama3.encode(text, parsingSpecialTokens: true) == expected.llama3Special, "\(text.debugDescription)")
      #expect(gpt2.encode(text) == expected.gpt2, "\(text.debugDescription)")
      #expect(gpt2.encode(text, parsingSpecialTokens: true) == expected.gpt2Special, "\(text.debugDescription)")
      #expect(llama3.decode(expected.llama3) == text && llama3.decode(expected.llama3Special) == text)
      #expect(gpt2.decode(expected.gpt2) == text && gpt2.decode(expected.gpt2Special) == text)
    }
  }

  @Test func describesItself() throws {
    let llama3 = try Tokenizer(contentsOfFile: Fixtures.path("small-llama3.json"))
    #expect(llama3.vocabularySize == 511)
    #expect(llama3.beginToken == 505)
    #expect(llama3.specialTokens.count == 6)
    #expect(llama3.id(ofSpecialToken: "<|eot_id|>") == 509)
    #expect(llama3.id(ofSpecialToken: "<note>") == nil)
    #expect(llama3.bytes(of: 509) == Array("<|eot_id|>".utf8))
    #expect(llama3.bytes(of: 511) == nil && llama3.bytes(of: -1) == nil && llama3.bytes(of: .max) == nil)
    #expect(llama3.id(of: Array(" wonderland".utf8)).flatMap(llama3.bytes(of:)) == Array(" wonderland".utf8))
    #expect(llama3.id(of: Array("no such token".utf8)) == nil && llama3.id(of: []) == nil)
    #expect(llama3.encode("a", addingBeginToken: true) == [505] + llama3.encode("a"))
    let gpt2 = try Tokenizer(contentsOfFile: Fixtures.path("small-gpt2.json"))
    #expect(gpt2.beginToken == nil && gpt2.encode("a", addingBeginToken: true) == gpt2.encode("a"))
  }

  @Test func decodingSkipsWhatItIsAskedTo() throws {
    let tokenizer = try Tokenizer(contentsOfFile: Fixtures.path("small-llama3.json"))
    let ids = tokenizer.encode("<|begin_of_text|>a<note>b<|eot_id|>", parsingSpecialTokens: true)
    #expect(tokenizer.decode(ids) == "<|begin_of_text|>a<note>b<|eot_id|>")
    #expect(tokenizer.decode(ids, skippingSpecialTokens: true) == "a<note>b")
    #expect(tokenizer.decode([-1, 9_999, .min, .max]) == "")
  }

  @Test func randomTextsAndBytesComeBack() throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("randomTextsAndBytesComeBack: seed \(seed)")
    var random = SeededGenerator(seed: seed)
    let tokenizers = try ["small-llama3.json", "small-gpt2.json"].map {
      try Tokenizer(contentsOfFile: Fixtures.path($0))
    }
    for round in 0..<10_000 {
      let tokenizer = tokenizers[round % 2]
      let text = randomText(upTo: 40, &random)
      #expect(tokenizer.decode(tokenizer.encode(text)) == text, "seed \(seed)")
      let bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      let joined = tokenizer.encode(utf8: bytes).flatMap { tokenizer.bytes(of: $0)! }
      #expect(joined == bytes, "seed \(seed)")
    }
  }

  /// Byte-pair encoding by its definition, for a vocabulary whose ids are ranks.
  private func merged(_ text: String, by tokenizer: Tokenizer) -> [Int32] {
    var parts = text.utf8.map { [$0] }
    while true {
      var best: (id: Int32, at: Int)?
      for at in parts.indices.dropLast() {
        if let id = tokenizer.id(of: parts[at] + parts[at + 1]), id < best?.id ?? .max { best = (id, at) }
      }
      guard let best else { return parts.map { tokenizer.id(of: $0)! } }
      parts[best.at...best.at + 1] = [parts[best.at] + parts[best.at + 1]]
    }
  }

  @Test func longAndShortPiecesAreMergedByDefinition() throws {
    var random = SeededGenerator(seed: 11)
    for _ in 0..<40 {
      var tokens: Set<String> = []
      var pool = ["a", "b", "c"]
      while tokens.count < 25 {
        let token = pool.randomElement(using: &random)! + pool.randomElement(using: &random)!
        if tokens.insert(token).inserted { pool.append(token) }
      }
      let tokenizer = try Tokenizer(serialized: serialized(tokens: tokens.shuffled(using: &random)))
      for length in [1, 2, 3, 10, 50, 95, 96, 97, 98, 250] {
        let text = String((0..<length).map { _ in "abc".randomElement(using: &random)! })
        #expect(tokenizer.encode(text) == merged(text, by: tokenizer))
      }
    }
  }

  /// If a token has two splits, one rule decides by the order of the halves, the other by the place in the text.
  @Test func mergeOrdersDifferInTies() throws {
    // "aba" is ab + a and a + ba; both are possible in "ab" "a" "ba", which the listed order makes of "ababa".
    let tokens = ["ab", "ba", "aba"]
    let byID = try Tokenizer(serialized: serialized(tokens: tokens))
    let byLeft = try Tokenizer(serialized: serialized(tokens: tokens, merges: "by-id-then-left"))
    let listed = try Tokenizer(serialized: serialized(tokens: tokens, merges: "listed 97 98 98 97 97 257 256 97"))
    var random = SeededGenerator(seed: 5)
    for length in 0..<300 {
      let text = String((0..<length).map { _ in "ab".randomElement(using: &random)! })
      #expect(byLeft.encode(text) == listed.encode(text))
      #expect(byID.decode(byID.encode(text)) == text)
    }
    #expect(listed.serialized() == byLeft.serialized())
    #expect(byID.serialized() != byLeft.serialized())
  }

  @Test(arguments: ["q", "ab", " ", "é", "😀", "'"]) func hugePiecesAreNotQuadratic(unit: String) throws {
    let tokenizer = try Tokenizer(contentsOfFile: Fixtures.path("small-llama3.json"))
    let text = String(repeating: unit, count: 1_000_000 / unit.utf8.count)
    let clock = ContinuousClock()
    let start = clock.now
    #expect(tokenizer.decode(tokenizer.encode(text)) == text)
    #expect(clock.now - start < .seconds(20))
  }
}

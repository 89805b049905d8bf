import Testing
import BitNetTokenization

/// The pieces of text that a streaming decoder gives for ids, its last one from `finish`.
func streamed(_ ids: [Int32], _ tokenizer: Tokenizer, skippingSpecialTokens: Bool = false) -> [String] {
  var decoder = StreamingDecoder(tokenizer, skippingSpecialTokens: skippingSpecialTokens)
  return ids.map { decoder.append($0) } + [decoder.finish()]
}

@Suite struct StreamingDecoderTests {
  private let tokenizer: Tokenizer

  init() throws { tokenizer = try Tokenizer(contentsOfFile: Fixtures.path("small-llama3.json")) }

  private func ids(_ bytes: [UInt8]) -> [Int32] { bytes.map { tokenizer.id(of: [$0])! } }

  @Test(
    arguments: [
      (Array("aé😀".utf8), ["a", "", "é", "", "", "", "😀", ""]),
      ([0xE2, 0x82, 0x61], ["", "", "\u{FFFD}a", ""]),
      ([0xF0, 0x9F, 0x98], ["", "", "", "\u{FFFD}"]),
      ([0x80, 0xFF, 0xC0], ["\u{FFFD}", "\u{FFFD}", "\u{FFFD}", ""]),
      ([0xED, 0xA0, 0x80], ["", "\u{FFFD}\u{FFFD}", "\u{FFFD}", ""]),  // a surrogate can no longer become valid
      ([0xE0, 0x80], ["", "\u{FFFD}\u{FFFD}", ""]),
      ([0xF4, 0x90], ["", "\u{FFFD}\u{FFFD}", ""]),
      ([0xF0, 0x9F, 0xF0, 0x9F, 0x98, 0x80], ["", "", "\u{FFFD}", "", "", "😀", ""]),
    ] as [([UInt8], [String])]) func textComesAsSoonAsItIsComplete(bytes: [UInt8], pieces: [String])
  {
    #expect(streamed(ids(bytes), tokenizer) == pieces)
  }

  @Test func piecesJoinedAreTheWhole() {
    var random = SeededGenerator(seed: 17)
    for _ in 0..<20_000 {
      let bytes = (0..<Int.random(in: 0...10, using: &random)).map { _ -> UInt8 in
        Bool.random(using: &random)
          ? [0x61, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC2, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF4].randomElement(
            using: &random)!
          : UInt8.random(in: 0x80...0xFF, using: &random)
      }
      let whole = String(decoding: bytes, as: UTF8.self)
      let joined = streamed(ids(bytes), tokenizer).joined()
      #expect(joined.utf8.elementsEqual(whole.utf8), "\(bytes)")
      #expect(tokenizer.decode(ids(bytes)).utf8.elementsEqual(whole.utf8))
    }
  }

  @Test func specialsAreSkippedOnRequest() {
    let ids = tokenizer.encode("a<|eot_id|>b", parsingSpecialTokens: true)
    #expect(streamed(ids, tokenizer) == ["a", "<|eot_id|>", "b", ""])
    #expect(streamed(ids, tokenizer, skippingSpecialTokens: true) == ["a", "", "b", ""])
  }
}

import FoundationEssentials
import Testing
import BitNetTokenization

/// Llama 3's tokenizer against tiktoken's ids, Python's decoding and both chat encodings of BitNet b1.58 2B-4T.
@Suite(.enabled(if: Oracle.isPresent, Oracle.absence)) struct OracleTests {
  private let tokenizer: Tokenizer
  private let folder = Oracle.folder.appending(path: "tokenizer")

  init() throws { tokenizer = try Oracle.tokenizer.get() }

  @Test func everyEncodingCase() throws {
    struct Case: Decodable {
      var text: String
      var ids: [Int32]
      var idsSpecial: [Int32]?
    }
    let cases = try jsonLines(Case.self, in: folder.appending(path: "tokenizer_cases.jsonl"))
    let reloaded = try Tokenizer(serialized: tokenizer.serialized())
    for expected in cases {
      let text = expected.text
      #expect(tokenizer.encode(text) == expected.ids, "\(text.debugDescription)")
      #expect(
        tokenizer.encode(text, parsingSpecialTokens: true) == expected.idsSpecial ?? expected.ids,
        "\(text.debugDescription)")
      #expect(reloaded.encode(text) == expected.ids)
      #expect(tokenizer.decode(expected.ids) == text)
      #expect(tokenizer.decode(expected.idsSpecial ?? []) == (expected.idsSpecial == nil ? "" : text))
    }
    print("encoding cases: \(cases.count)")
  }

  @Test func everyDecodingCase() throws {
    struct Case: Decodable {
      var ids: [Int32]
      var bytesHex: String
      var textReplace: String
      var piecesHex: [String]
    }
    func hex(_ bytes: [UInt8]) -> String { bytes.map { String($0 + 0, radix: 16).leftPadded(to: 2) }.joined() }
    let cases = try jsonLines(Case.self, in: folder.appending(path: "tokenizer_decode.jsonl"))
    for expected in cases {
      let pieces = expected.ids.map { tokenizer.bytes(of: $0) ?? [] }
      #expect(pieces.map(hex) == expected.piecesHex)
      #expect(hex(pieces.flatMap(\.self)) == expected.bytesHex)
      #expect(tokenizer.decode(expected.ids).utf8.elementsEqual(expected.textReplace.utf8), "\(expected.ids)")
      #expect(
        streamed(expected.ids, tokenizer).joined().utf8.elementsEqual(expected.textReplace.utf8), "\(expected.ids)")
    }
    print("decoding cases: \(cases.count)")
  }

  @Test func everyChatCase() throws {
    struct Message: Decodable {
      var role: String
      var content: String
    }
    struct Case: Decodable {
      var dialog: [Message]
      var referenceIds: [Int32]?
      var referenceIdsNoCompletion: [Int32]?
      var hfIds: [Int32]
    }
    let cases = try jsonLines(Case.self, in: folder.appending(path: "chat_cases.jsonl"))
    for expected in cases {
      let messages = expected.dialog.map {
        ChatMessage(role: ChatMessage.Role(rawValue: $0.role), content: $0.content)
      }
      #expect(try ChatTemplate.bitnet.encode(messages, with: tokenizer, parsingSpecialTokens: true) == expected.hfIds)
      if let ids = expected.referenceIds {
        #expect(try ChatTemplate.bitnetSeparate.encode(messages, with: tokenizer) == ids)
      }
      if let ids = expected.referenceIdsNoCompletion {
        #expect(try ChatTemplate.bitnetSeparate.encode(messages, with: tokenizer, generating: false) == ids)
      }
    }
    print("chat cases: \(cases.count)")
  }

  /// Tokens that merging does not reach are found as whole pieces.
  @Test func everyTokenIsReadBack() throws {
    for id in 0..<Int32(128_000) {
      let bytes = try #require(tokenizer.bytes(of: id))
      #expect(tokenizer.id(of: bytes) == id)
    }
    #expect(tokenizer.vocabularySize == 128_256 && tokenizer.beginToken == 128_000)
    #expect(tokenizer.specialTokens.count == 256)
    #expect(tokenizer.id(ofSpecialToken: "<|eot_id|>") == 128_009)
    #expect(tokenizer.id(ofSpecialToken: "<|reserved_special_token_250|>") == 128_255)
  }
}

extension String {
  fileprivate func leftPadded(to length: Int) -> String { String(repeating: "0", count: max(0, length - count)) + self }
}

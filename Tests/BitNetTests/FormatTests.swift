import BitNet
import BitNetDemoModel
import Foundation
import Testing

@Suite("Generating text of a form")
struct FormatTests {
  private static let model = Task {
    try await LanguageModel.load(
      embedded: UnsafeRawBufferPointer(start: demo_model_bytes(), count: demo_model_size()))
  }

  private static let person = #"""
    {"type":"object","properties":{"name":{"type":"string","maxLength":8},"age":{"type":"integer","minimum":0,
    "maximum":99},"kind":{"enum":["cat","dog"]}},"required":["name","age","kind"],"additionalProperties":false}
    """#

  private struct Person: Decodable {
    let name: String
    let age: Int
    let kind: String
  }

  private func respond(_ options: GenerationOptions) async throws -> Response {
    try await Self.model.value.generate("Once upon a time", options: options).response()
  }

  @Test("ends with JSON that satisfies the schema, whatever the sampling, alone and beside others")
  func schema() async throws {
    let format = try ResponseFormat.jsonSchema(Self.person)
    var options = [GenerationOptions(maximumTokens: 30)]
    for seed in 0..<6 {
      var sampling = SamplingParameters.greedy
      if seed > 0 { sampling = SamplingParameters(temperature: Float(seed), seed: UInt64(seed)) }
      options.append(
        GenerationOptions(
          sampling: sampling, maximumTokens: 200, logProbabilities: seed == 1 ? 2 : nil, format: format))
    }
    let texts = try await withThrowingTaskGroup(of: (Int, Response).self) { group in
      for (index, options) in options.enumerated() { group.addTask { (index, try await respond(options)) } }
      return try await group.reduce(into: [Int: Response]()) { $0[$1.0] = $1.1 }
    }
    for (index, options) in options.enumerated() {
      let response = try #require(texts[index])
      #expect(try await respond(options).text == response.text)
      guard options.format != .text else { continue }
      #expect(response.finish == .stop, "\(response.text)")
      let person = try JSONDecoder().decode(Person.self, from: Data(response.text.utf8))
      #expect(person.name.unicodeScalars.count <= 8 && 0...99 ~= person.age && ["cat", "dog"].contains(person.kind))
      try await Self.model.value.audit(#require(response.receipt))
    }
  }

  @Test("is cut by the maximum number of tokens like other text")
  func cut() async throws {
    let response = try await respond(.init(sampling: .init(temperature: 1, seed: 3), maximumTokens: 4, format: .json))
    #expect(response.finish == .length && response.tokens.count == 4 && response.text.hasPrefix("{"))
  }

  @Test("adds biases to logits")
  func biases() async throws {
    let model = try await Self.model.value
    let plain = try await respond(.init(maximumTokens: 12))
    let banned = Dictionary(plain.tokens.map { ($0.token, Float(-100)) }) { a, _ in a }
    let other = try await respond(.init(maximumTokens: 12, logitBias: banned))
    #expect(Set(other.tokens.map(\.token)).isDisjoint(with: Set(plain.tokens.map(\.token))))
    let wanted = try #require(model.tokenizer.encode("king", addingBeginToken: false).last)
    let forced = try await respond(.init(maximumTokens: 3, logitBias: [wanted: 100]))
    #expect(forced.tokens.map(\.token) == [wanted, wanted, wanted])
  }

  @Test("refuses what it cannot do")
  func errors() async throws {
    #expect {
      try ResponseFormat.jsonSchema(#"{"type":"object","properties":{"a":{"not":{}}}}"#)
    } throws: {
      "\($0)"
        == "properties.a.not of the schema is not supported; expected a schema without the keyword not"
    }
    await #expect(throws: BitNetError.self) { _ = try await respond(.init(logitBias: [1: 101])) }
    await #expect(throws: BitNetError.self) { _ = try await respond(.init(logitBias: [-1: 1])) }
    await #expect {
      _ = try await respond(.init(ignoresEndTokens: true, format: .json))
    } throws: {
      "\($0)" == "the number of stop tokens is 0; expected 1 or more with a response format"
    }
  }
}

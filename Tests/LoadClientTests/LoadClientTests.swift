import BitNetJSON
import BitNetLoadClient
import Testing

@Suite("The client for loads")
struct LoadClientTests {
  @Test("joins events from pieces of any length", arguments: 1...9)
  func events(length: Int) throws {
    let text = Array(": ping\n\ndata: one\r\n\r\nevent: x\ndata:two\ndata: more\n\ndata: three\r\rdata: cut".utf8)
    var lines = EventLines()
    var events: [String] = []
    for start in stride(from: 0, to: text.count, by: length) {
      let piece = text[start..<min(text.count, start + length)]
      events += try lines.append(piece).map { String(decoding: $0, as: UTF8.self) }
    }
    #expect(events == ["one", "two\nmore", "three"])
  }

  @Test("refuses an event without an end")
  func endless() throws {
    var lines = EventLines()
    let piece = [UInt8](repeating: 0x61, count: 1 << 20)
    #expect(throws: LoadError.self) { for _ in 0...16 { _ = try lines.append(piece) } }
  }

  @Test("counts tokens of all targets, and tells how unequal they are")
  func result() throws {
    func sample(_ target: Int, _ tokens: Int, first: Double) -> LoadSample {
      LoadSample(target: target, firstToken: first, gaps: [0.1, 0.3], total: 1, promptTokens: 5, tokens: tokens)
    }
    let samples = [sample(0, 30, first: 0.2), sample(1, 10, first: 0.4), sample(0, 20, first: 0.6)]
    let result = LoadResult(clients: 3, samples: samples, failures: ["broken"], seconds: 2, urls: ["a", "b"])
    #expect(result.tokens == 60)
    #expect(result.promptTokens == 15)
    #expect(result.tokensPerSecond == 30)
    #expect(result.targets.map(\.tokensPerSecond) == [25, 5])
    // 25 of a mean of 15.
    #expect(abs(result.imbalance - 2.0 / 3) < 1e-12)
    #expect(result.firstToken?.median == 0.4)
    #expect(result.firstToken?.percentile99 == 0.6)
    #expect(result.betweenTokens?.median == 0.1)
    #expect(result.betweenTokens?.maximum == 0.3)
    #expect(result.firstFailure == "broken")
    let none = LoadResult(clients: 1, samples: [], failures: [], seconds: 1, urls: ["a"])
    #expect(none.firstToken == nil)
    #expect(none.imbalance == 0)
  }

  @Test("sends prompts that differ, and the same ones every time")
  func prompts() throws {
    let plan = LoadPlan(endpoint: .completions, model: nil, words: 20, tokens: 8, temperature: 0, seed: 1)
    let texts = try (0..<50).map { number in
      try JSONDocument(plan.body(number: number, model: "m")).root["prompt"].string()
    }
    #expect(Set(texts).count == 50)
    #expect(texts.allSatisfy { $0.split(separator: " ").count == 20 })
    #expect(try JSONDocument(plan.body(number: 3, model: "m")).root["prompt"].string() == texts[3])
    var chat = plan
    chat.endpoint = .chat
    let body = try JSONDocument(chat.body(number: 3, model: "m")).root
    #expect(try Array(body["messages"].elements())[0]["content"].string() == texts[3])
    #expect(try body["max_tokens"].integer() == 8)
  }
}

import BitNetRandomModels
import BitNetCPUEngine
import BitNetInference
import BitNetModelFiles
import BitNetServing
import TestSupport
import Testing

@Suite("Sequences with a common prefix")
struct PrefixTests {
  @Test("leave a request its whole context, also after it has filled pages with the same tokens as another one")
  func samePages() async throws {
    let weights = try Fixture.all[0].load().weights
    // Five pages.
    func engine() throws -> CPUEngine { try CPUEngine(weights: weights, contextLength: 300, threads: 1, cacheBytes: 0) }
    let prompt = Array(try Fixture.all[0].prompt(200).prefix(66))
    func tokens(_ requests: [Request]) async throws -> [[Int32]] {
      let scheduler = Scheduler(try engine())
      var streams: [TokenStream] = []
      for request in requests { streams.append(try await scheduler.start(request)) }
      var tokens = streams.map { _ in [Int32]() }
      for (index, stream) in streams.enumerated() {
        while let token = try await stream.next() { tokens[index].append(token.token) }
      }
      withExtendedLifetime(scheduler) {}
      return tokens
    }
    let long = Request(prompt: prompt, limit: 234), short = Request(prompt: prompt, limit: 2)
    let expected = try await tokens([long])[0]
    #expect(expected.count == 234)
    for _ in 0..<8 { #expect(try await tokens([short, long]) == [Array(expected.prefix(2)), expected]) }
  }

  @Test(
    "share pages and give the results of separate sequences, truncated and removed in random order", arguments: 0..<6)
  func random(round: Int) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    var generator = SeededGenerator(seed: seed)
    func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }
    let weights = try Fixture.all[round].load().weights
    let c = weights.configuration
    func tokens(_ count: Int) -> [Int32] {
      (0..<count).map { _ in Int32.random(in: 0..<Int32(c.vocabularySize), using: &generator) }
    }
    let page = c.layerCount * 2 * c.keyValueHeadCount * attentionChunkLength * max(c.headSize, 32) * 2
    let limit = number(8...20)
    let engine = try CPUEngine(weights: weights, contextLength: 300, threads: 1, cacheBytes: limit * page)
    let fresh = try CPUEngine(weights: weights, contextLength: 300, threads: 1, cacheBytes: 0)
    let trunk = tokens(260)
    var live: [SequenceID] = []
    var (shared, refused) = (0, 0)
    for step in 0..<120 {
      switch number(0...9) {
      case 0...3:
        let text = trunk.prefix(number(0...220)) + tokens(number(1...70))
        let (id, cached) = engine.makeSequence(startingWith: Array(text))
        #expect(cached < text.count)
        #expect(try engine.tokens(of: id) == Array(text.prefix(cached)), "seed \(seed), step \(step)")
        shared += cached
        live.append(id)
        do {
          _ = try engine.step(Batch([.init(sequence: id, tokens: Array(text.dropFirst(cached)), rows: .none)]))
        } catch EngineError
          .cacheFull
        {
          refused += 1
          #expect(try engine.tokens(of: id).count == cached)
          engine.removeSequence(live.remove(at: number(0...live.count - 1)))
        }
      case 4...5 where !live.isEmpty:
        let id = live[number(0...live.count - 1)]
        let count = try engine.tokens(of: id).count
        do { try engine.truncate(id, to: number(0...count)) } catch EngineError.cacheFull { refused += 1 }
      case 6 where !live.isEmpty: engine.removeSequence(live.remove(at: number(0...live.count - 1)))
      case 7... where !live.isEmpty:
        let id = live[number(0...live.count - 1)]
        let held = try engine.tokens(of: id)
        guard held.count < 300 else { continue }
        let token = tokens(1)
        do {
          let found = try engine.step(Batch([.init(sequence: id, tokens: token)]))
          let other = fresh.makeSequence()
          let expected = try fresh.step(Batch([.init(sequence: other, tokens: held + token)]))
          fresh.removeSequence(other)
          #expect(found == expected, "seed \(seed), step \(step)")
        } catch EngineError.cacheFull { refused += 1 }
      default: break
      }
      #expect(engine.cachedPageCount <= engine.capacity.cachePages, "seed \(seed), step \(step)")
    }
    #expect(shared > 0 && refused < 120, "seed \(seed)")
  }
}

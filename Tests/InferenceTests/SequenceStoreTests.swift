import BitNetInference
import BitNetRandomModels
import TestSupport
import Testing

@Suite("A sequence store")
struct SequenceStoreTests {
  private final class Page {
    /// By position, the tokens up to it, as keys and values depend on them.
    var contents: [[Int32]]

    init(_ contents: [[Int32]] = .init(repeating: [], count: attentionChunkLength)) { self.contents = contents }
  }

  private static var source: SequenceStore.Source {
    .init(
      make: { Page() },
      copy: { (page: Page, positions) in
        let page = Page(page.contents)
        for place in positions..<attentionChunkLength { page.contents[place] = [] }
        return page
      })
  }

  private static func admit(
    _ tokens: [Int32], _ store: inout SequenceStore
  ) throws -> (id: SequenceID, cached: Int) {
    let made = store.make(startingWith: tokens, from: source)
    _ = try store.admit(
      Batch([.init(sequence: made.id, tokens: Array(tokens.dropFirst(made.cached)), rows: .none)]), vocabulary: 1000,
      contextLength: 1000, from: source)
    return made
  }

  @Test("shares no page of a step that failed, and shares again after its sequences have ended")
  func failedStep() throws {
    var store = SequenceStore(limit: 100)
    let tokens = Array(Int32(0)..<200)
    let first = try Self.admit(tokens, &store)
    store.remove(first.id, keeping: .max)
    let second = try Self.admit(tokens, &store)
    #expect(second.cached == 199)
    store.distrust()
    let third = try Self.admit(tokens, &store)
    #expect(third.cached == 0)
    store.remove(second.id, keeping: .max)
    store.remove(third.id, keeping: .max)
    #expect(store.pageCount == 0 && store.heldPageCount == 0)
    let fourth = try Self.admit(tokens, &store)
    #expect(fourth.cached == 0)
    store.remove(fourth.id, keeping: .max)
    #expect(try Self.admit(tokens, &store).cached == 199)
  }

  @Test("keeps what it is asked to keep, and of the rest what was written last")
  func answers() throws {
    var store = SequenceStore(limit: 1000)
    let prompt = Array(Int32(0)..<Int32(2 * attentionChunkLength + 10))
    var whole: [[Int32]] = []
    for first in Int32(0)..<40 {
      let tokens = prompt + (0..<Int32(2 * attentionChunkLength)).map { (first + $0) % 1000 }
      let made = try Self.admit(tokens, &store)
      store.remove(made.id, keeping: prompt.count)
      whole.append(tokens)
    }
    #expect(store.heldPageCount == 0)
    #expect(store.pageCount > 2 && store.pageCount < 20, "\(store.pageCount)")
    #expect(try Self.admit(whole.last!, &store).cached == whole.last!.count - 1)
    #expect(try Self.admit(prompt + [999], &store).cached >= 2 * attentionChunkLength)
    // The oldest shares the prompt, of which the last tokens are in a page with others' answers, and no answer.
    #expect(try (2 * attentionChunkLength...prompt.count) ~= Self.admit(whole.first!, &store).cached)
  }

  @Test(
    "starts with the longest prefix that any sequence has computed",
    arguments: [(0, 10_000, true), (1, 10_000, true), (2, 12, true), (3, 12, true), (4, 10_000, false), (5, 12, false)])
  func longestPrefix(seed: UInt64, limit: Int, keepsAll: Bool) throws {
    var random = SeededGenerator(seed: seed)
    var store = SequenceStore(limit: limit)
    var live: [(id: SequenceID, tokens: [Int32])] = []
    var computed: [[Int32]] = []
    for _ in 0..<400 {
      if live.count == 3 {
        let (id, tokens) = live.remove(at: .random(in: 0..<3, using: &random))
        store.remove(id, keeping: keepsAll ? .max : .random(in: 0...tokens.count, using: &random))
      }
      // The beginning of an earlier one, and something new.
      let old = computed.randomElement(using: &random) ?? []
      let fresh = (0..<Int.random(in: 1...80, using: &random)).map { _ in Int32.random(in: 0..<2, using: &random) }
      var tokens = Array((old.prefix(.random(in: 0...old.count, using: &random)) + fresh).prefix(200))
      let made = store.make(startingWith: tokens, from: Self.source)
      let longest = computed.map { commonPrefixLength($0, tokens.dropLast()) }.max() ?? 0
      #expect(limit < 10_000 || !keepsAll ? made.cached <= longest : made.cached == longest, "seed \(seed)")
      for place in 0..<made.cached { expectComputed(store, made.id, tokens, place) }
      var start = made.cached
      if Bool.random(using: &random), start > 0 {
        start = .random(in: 0..<start, using: &random)
        tokens = Array(tokens.prefix(start + 1))
        try store.truncate(made.id, to: start, from: Self.source)
      }
      _ = try store.admit(
        Batch([.init(sequence: made.id, tokens: Array(tokens[start...]), rows: .none)]), vocabulary: 2,
        contextLength: 1000, from: Self.source)
      for place in start..<tokens.count {
        page(store, made.id, place).contents[place % attentionChunkLength] = Array(tokens[...place])
      }
      for place in tokens.indices { expectComputed(store, made.id, tokens, place) }
      live.append((made.id, tokens))
      computed.append(tokens)
      #expect(store.pageCount <= limit && store.heldPageCount <= store.pageCount)
    }
    for sequence in live {
      for place in sequence.tokens.indices { expectComputed(store, sequence.id, sequence.tokens, place) }
      store.remove(sequence.id, keeping: .max)
    }
    #expect(store.heldPageCount == 0)
  }

  private func commonPrefixLength(_ one: [Int32], _ other: ArraySlice<Int32>) -> Int {
    zip(one, other).prefix { $0 == $1 }.count
  }

  private func page(_ store: SequenceStore, _ id: SequenceID, _ place: Int) -> Page {
    store.pages(of: id)[place / attentionChunkLength] as! Page
  }

  private func expectComputed(_ store: SequenceStore, _ id: SequenceID, _ tokens: [Int32], _ place: Int) {
    let page = page(store, id, place)
    #expect(page.contents[place % attentionChunkLength].elementsEqual(tokens[...place]), "position \(place) of \(id)")
  }
}

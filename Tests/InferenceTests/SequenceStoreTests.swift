import BitNetInference
import Testing

@Suite("A sequence store")
struct SequenceStoreTests {
  private final class Page {}

  private static var source: SequenceStore<Page>.Source { .init(make: { Page() }, copy: { _ in Page() }) }

  private static func admit(
    _ tokens: [Int32], _ store: inout SequenceStore<Page>
  ) throws -> (id: SequenceID, cached: Int) {
    let made = store.make(startingWith: tokens, from: source)
    _ = try store.admit(
      Batch([.init(sequence: made.id, tokens: Array(tokens.dropFirst(made.cached)), rows: .none)]), vocabulary: 1000,
      contextLength: 1000, from: source)
    return made
  }

  @Test("shares no page of a step that failed, and shares again after its sequences have ended")
  func failedStep() throws {
    var store = SequenceStore<Page>(limit: 100)
    let tokens = Array(Int32(0)..<200)
    let first = try Self.admit(tokens, &store)
    store.remove(first.id)
    let second = try Self.admit(tokens, &store)
    #expect(second.cached == 199)
    store.distrust()
    let third = try Self.admit(tokens, &store)
    #expect(third.cached == 0)
    store.remove(second.id)
    store.remove(third.id)
    #expect(store.pageCount == 0 && store.heldPageCount == 0)
    let fourth = try Self.admit(tokens, &store)
    #expect(fourth.cached == 0)
    store.remove(fourth.id)
    #expect(try Self.admit(tokens, &store).cached == 199)
  }
}

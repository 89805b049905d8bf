import BitNetRandomModels
import BitNetServing
import TestSupport
import Testing

@Suite("Prompt lookup")
struct PromptLookupTests {
  /// The draft by a search through the whole text: after the latest of the longest earlier occurrences of its end.
  private func expected(_ tokens: [Int32], atMost count: Int) -> Draft? {
    let end = tokens.count - 1
    var best = (place: -1, match: 1)
    for place in stride(from: end - 1, through: 0, by: -1) {
      var match = 0
      while match < 16, match <= place, tokens[place - match] == tokens[end - match] { match += 1 }
      if match > best.match { best = (place, match) }
    }
    guard best.place >= 0 else { return nil }
    var text = tokens
    for place in best.place + 1..<best.place + 1 + count { text.append(text[place]) }
    return Draft(tokens: Array(text[tokens.count...]), match: best.match)
  }

  @Test("finds the latest of the longest occurrences, while the text grows", arguments: 1...40)
  func random(seed: Int) {
    var generator = SeededGenerator(seed: UInt64(seed))
    // Few enough tokens that occurrences of the end are found, enough that there are at most sixteen of its last two.
    let vocabulary = Int32.random(in: 9...40, using: &generator)
    var tokens = [Int32.random(in: 0..<vocabulary, using: &generator)]
    var drafter = PromptLookup().begin(with: tokens)
    for _ in 0..<150 {
      let count = Int.random(in: 1...7, using: &generator)
      #expect(drafter.draft(atMost: count) == expected(tokens, atMost: count), "seed \(seed), \(tokens)")
      let copies = tokens.count > 12 && Int.random(in: 0...2, using: &generator) > 0
      let token =
        copies ? tokens[tokens.count - 7] : Int32.random(in: 0..<vocabulary, using: &generator)
      tokens.append(token)
      drafter.append(token)
    }
  }

  @Test("goes on with the period of a repetition, and has nothing to say about new text")
  func examples() {
    let lookup = PromptLookup()
    #expect(lookup.begin(with: [1]).draft(atMost: 3) == nil)
    #expect(lookup.begin(with: [1, 2, 3, 4]).draft(atMost: 3) == nil)
    #expect(lookup.begin(with: [1, 1]).draft(atMost: 3) == nil)
    #expect(lookup.begin(with: [1, 1, 1]).draft(atMost: 3) == Draft(tokens: [1, 1, 1], match: 2))
    #expect(lookup.begin(with: [5, 6, 7, 5, 6]).draft(atMost: 5) == Draft(tokens: [7, 5, 6, 7, 5], match: 2))
    #expect(lookup.begin(with: [5, 6, 7, 5, 6]).draft(atMost: 0) == nil)
  }
}

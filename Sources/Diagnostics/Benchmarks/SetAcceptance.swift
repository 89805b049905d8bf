import BitNetInference
package import BitNetServing

/// Guesses that come true at a set rate, of a sequence whose continuation is known.
package struct SetAcceptance: Drafter {
  private let known: [Int32]
  private let share: Double

  /// - Parameters:
  ///   - known: the whole sequence, prompt included.
  ///   - share: the probability that a guessed token is right, given that those before it are: 0 to 1.
  package init(known: [Int32], share: Double) {
    self.known = known
    self.share = share
  }

  package func begin(with tokens: [Int32]) -> any SequenceDrafter {
    State(known: known, share: share, position: tokens.count)
  }

  private struct State: SequenceDrafter {
    let known: [Int32]
    let share: Double
    var position: Int

    mutating func append(_ token: Int32) { position += 1 }

    func draft(atMost count: Int) -> Draft? {
      let tokens = known[min(position, known.count)...].prefix(count).enumerated().map { place, token in
        let random = Philox.random64(key: 15, counter: UInt64(position + place))
        return Double(random) < share * 0x1p64 ? token : token ^ 1
      }
      return tokens.isEmpty ? nil : Draft(tokens: tokens, match: 3)
    }
  }
}

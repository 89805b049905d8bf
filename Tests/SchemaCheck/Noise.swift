import BitNetConstraints

/// A model that knows nothing: it chooses among the allowed tokens at random.
struct Noise {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func number(below limit: Int) -> Int { Int(next() % UInt64(limit)) }

  /// A token that a mask allows, by its place among them; nil for the end.
  mutating func choose(_ mask: ConstraintMachine.Mask) -> Int32? {
    let count = mask.words.reduce(0) { $0 + $1.nonzeroBitCount }
    precondition(count > 0 || mask.isComplete, "a text can always go on or end")
    var place = number(below: count + (mask.isComplete ? 1 : 0))
    for (index, word) in mask.words.enumerated() {
      guard place >= word.nonzeroBitCount else {
        var word = word
        for _ in 0..<place { word &= word - 1 }
        return Int32(32 * index + word.trailingZeroBitCount)
      }
      place -= word.nonzeroBitCount
    }
    return nil
  }

  /// A text, and whether it came to its end within the limit of tokens.
  mutating func answer(_ machine: ConstraintMachine, limit: Int) -> (text: [UInt8], isComplete: Bool) {
    var state = machine.start()
    var text: [UInt8] = []
    for _ in 0..<limit {
      guard let token = choose(machine.mask(state)) else { return (text, true) }
      precondition(machine.append(token, to: &state), "an allowed token goes on")
      text += machine.trie.text(of: token)
    }
    return (text, false)
  }
}

/// A set of tokens that may be chosen, one bit for each token of a vocabulary.
package struct TokenMask: Sendable, Equatable {
  /// Bit i of word w allows token 32 · w + i: `[ceil(vocabulary / 32)]`. Bits beyond the vocabulary are 0.
  package private(set) var words: [UInt32]
  /// How many tokens the vocabulary has.
  package let vocabulary: Int
  /// How many tokens are allowed.
  package private(set) var count: Int

  /// A mask that allows no token.
  package init(vocabulary: Int) {
    words = Array(repeating: 0, count: (vocabulary + 31) / 32)
    self.vocabulary = vocabulary
    count = 0
  }

  /// - Parameter words: `[ceil(vocabulary / 32)]`; bits beyond the vocabulary are ignored.
  package init(words: [UInt32], vocabulary: Int) {
    precondition(words.count == (vocabulary + 31) / 32, "a mask has a bit for each token")
    self.words = words
    self.vocabulary = vocabulary
    if vocabulary % 32 != 0 { self.words[words.count - 1] &= (1 << UInt32(vocabulary % 32)) - 1 }
    count = self.words.reduce(0) { $0 + $1.nonzeroBitCount }
  }

  /// Whether a token, 0 up to the vocabulary's size, is allowed.
  package subscript(token: Int) -> Bool {
    get { words[token >> 5] >> UInt32(token & 31) & 1 != 0 }
    set {
      guard self[token] != newValue else { return }
      words[token >> 5] ^= 1 << UInt32(token & 31)
      count += newValue ? 1 : -1
    }
  }

  /// The allowed tokens, ascending.
  package var tokens: [Int32] {
    var tokens: [Int32] = []
    tokens.reserveCapacity(count)
    for (index, word) in words.enumerated() {
      var rest = word
      while rest != 0 {
        tokens.append(Int32(32 * index + rest.trailingZeroBitCount))
        rest &= rest - 1
      }
    }
    return tokens
  }
}

/// A number that is added to a token's logit.
package struct TokenBias: Sendable, Equatable {
  package var token: Int32
  /// -100 to 100.
  package var value: Float

  package init(token: Int32, value: Float) {
    self.token = token
    self.value = value
  }

  /// The largest bias that a request can ask for, up or down.
  package static let limit: Float = 100
  /// The largest of a row, up or down: a request's own and the penalties of as many tokens as any context holds.
  package static let rowLimit: Float = 0x1p24
}

/// Changes to the logits of an entry's rows before its tokens are chosen. Log probabilities stay those of the unchanged
/// logits.
package struct TokenAdjustment: Sendable, Equatable {
  /// One for each row of the entry that returns a result; none allows all tokens.
  package var masks: [TokenMask]
  /// Added to logits before all other parameters apply; in ascending order of their tokens.
  package var biases: [TokenBias]
  /// One list for each row of the entry that returns a result, in place of `biases`; none for the same in all rows.
  package var rowBiases: [[TokenBias]]

  package init(masks: [TokenMask] = [], biases: [TokenBias] = [], rowBiases: [[TokenBias]] = []) {
    self.masks = masks
    self.biases = biases
    self.rowBiases = rowBiases
  }

  /// Nil for no change.
  package init?(mask: TokenMask?, biases: [TokenBias]) {
    guard mask != nil || !biases.isEmpty else { return nil }
    self.init(masks: mask.map { [$0] } ?? [], biases: biases)
  }

  /// - Throws: `EngineError.parameter` for masks and lists of biases that do not fit the rows or the vocabulary, for
  ///   masks that allow no token, and for biases out of range or out of order; `EngineError.tokenOutOfRange`.
  package func validate(rows: Int, vocabulary: Int) throws(EngineError) {
    guard masks.isEmpty || masks.count == rows else {
      throw .parameter(name: "the number of masks", found: "\(masks.count)", expected: "\(rows), one for each row")
    }
    for mask in masks {
      guard mask.vocabulary == vocabulary else {
        throw .parameter(name: "a mask's size", found: "\(mask.vocabulary) tokens", expected: "\(vocabulary)")
      }
      guard mask.count > 0 else {
        throw .parameter(name: "the number of tokens that a mask allows", found: "0", expected: "1 or more")
      }
    }
    guard rowBiases.isEmpty || rowBiases.count == rows else {
      throw .parameter(
        name: "the number of lists of biases", found: "\(rowBiases.count)", expected: "\(rows), one for each row")
    }
    try Self.validate(biases, limit: TokenBias.limit, vocabulary: vocabulary)
    for biases in rowBiases { try Self.validate(biases, limit: TokenBias.rowLimit, vocabulary: vocabulary) }
  }

  private static func validate(_ biases: [TokenBias], limit: Float, vocabulary: Int) throws(EngineError) {
    var last: Int32 = -1
    for bias in biases {
      guard bias.token >= 0, Int(bias.token) < vocabulary else {
        throw .tokenOutOfRange(bias.token, vocabulary: vocabulary)
      }
      guard bias.token > last else {
        throw .parameter(
          name: "the bias of token \(bias.token)", found: "after that of token \(last)",
          expected: "tokens in ascending order")
      }
      last = bias.token
      guard abs(bias.value) <= limit else {
        throw .parameter(
          name: "the bias of token \(bias.token)", found: "\(bias.value)", expected: "-\(Int(limit)) to \(Int(limit))")
      }
    }
  }

  /// The changes for the entry's n-th row with a result; nil for none.
  func row(_ index: Int) -> RowAdjustment? {
    let biases = rowBiases.isEmpty ? biases : rowBiases[index]
    guard !masks.isEmpty || !biases.isEmpty else { return nil }
    return RowAdjustment(mask: masks.isEmpty ? nil : masks[index], biases: biases)
  }
}

/// Changes to the logits of one row: a mask or biases, or both.
package struct RowAdjustment: Sendable, Equatable {
  /// Nil allows all tokens.
  package let mask: TokenMask?
  /// In ascending order of their tokens.
  package let biases: [TokenBias]

  package init(mask: TokenMask? = nil, biases: [TokenBias] = []) {
    self.mask = mask
    self.biases = biases
  }

  /// Whether a token may be chosen.
  package func allows(_ token: Int) -> Bool { mask?[token] ?? true }

  /// The biases of a range of tokens.
  package func biases(of range: Range<Int>) -> ArraySlice<TokenBias> {
    func place(_ token: Int) -> Int {
      var (low, high) = (0, biases.count)
      while low < high {
        let middle = (low + high) / 2
        if Int(biases[middle].token) < token { low = middle + 1 } else { high = middle }
      }
      return low
    }
    return biases[place(range.lowerBound)..<place(range.upperBound)]
  }

  /// Adds the biases to the logits of some tokens.
  ///
  /// - Parameter ids: ascending, one for each logit.
  package func addBiases(to logits: inout [Float], ids: [Int32]) {
    var place = 0
    for bias in biases {
      while place < ids.count, ids[place] < bias.token { place += 1 }
      guard place < ids.count else { return }
      if ids[place] == bias.token { logits[place] += bias.value }
    }
  }
}

/// Names a sequence whose keys and values an engine keeps.
package struct SequenceID: Hashable, Sendable, CustomStringConvertible {
  package let value: Int
  package init(_ value: Int) { self.value = value }
  package var description: String { "sequence \(value)" }
}

/// One step's work: new tokens of any number of sequences, with prompt chunks and single decode tokens mixed.
package struct Batch: Sendable {
  /// The tokens that an entry appends to its sequence.
  package enum Input: Sendable, Equatable {
    /// One token or more.
    case tokens([Int32])
    /// The token that the sequence's previous step chose after its last row; that step may still be running.
    case sampled

    package var count: Int {
      switch self {
      case .tokens(let tokens): tokens.count
      case .sampled: 1
      }
    }
  }

  /// The new tokens for which the step returns a result.
  package enum Rows: Sendable {
    /// None: the tokens are an earlier chunk of a prompt.
    case none
    /// The last of the new tokens.
    case last
    /// Every new token.
    case all
  }

  /// The result to return for a row.
  package enum Want: Sendable {
    /// A sampled token. With `logProbabilities` (0 to the vocabulary's size), also its log probability and those of
    /// this many most likely tokens. With `adjustment`, it is chosen from changed logits.
    case token(SamplingParameters, logProbabilities: Int? = nil, adjustment: TokenAdjustment? = nil)
    /// For each row, the negative log probability, in nats, of the token given for it.
    case surprise([Int32])
    /// All logits.
    case logits
    /// The hidden state after the final norm, which is the input of the LM head.
    case hidden
  }

  /// New tokens of one sequence, which follow the tokens that its cache holds.
  package struct Entry: Sendable {
    package var sequence: SequenceID
    package var input: Input
    package var rows: Rows
    package var want: Want

    package init(sequence: SequenceID, input: Input, rows: Rows = .last, want: Want = .logits) {
      self.sequence = sequence
      self.input = input
      self.rows = rows
      self.want = want
    }

    package init(sequence: SequenceID, tokens: [Int32], rows: Rows = .last, want: Want = .logits) {
      self.init(sequence: sequence, input: .tokens(tokens), rows: rows, want: want)
    }

    /// How many rows return a result.
    package var rowCount: Int {
      switch rows {
      case .none: 0
      case .last: 1
      case .all: input.count
      }
    }
  }

  package var entries: [Entry]

  package init(_ entries: [Entry]) { self.entries = entries }

  /// The next step's batch, in which each entry appends the token that this step chooses for it.
  package var continued: Batch {
    Batch(entries.map { .init(sequence: $0.sequence, input: .sampled, rows: .last, want: $0.want) })
  }
}

/// The results of a step for one entry of the batch. Only the array that the entry's `want` names has elements.
package struct StepResult: Sendable, Equatable {
  /// `[rows]`
  package var tokens: [SampledToken] = []
  /// Logits `[rows][vocabulary]` or hidden states `[rows][hidden]`.
  package var values: [Float] = []
  /// `[rows]`, in nats.
  package var surprises: [Double] = []

  package init(tokens: [SampledToken] = [], values: [Float] = [], surprises: [Double] = []) {
    self.tokens = tokens
    self.values = values
    self.surprises = surprises
  }
}

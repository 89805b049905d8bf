/// A checked batch with its pages, as rows for an engine to compute. `SequenceStore` makes it for every engine.
package struct StepPlan {
  /// One new token.
  package struct Row {
    /// The token's id; `pending` if a running step chooses it.
    package let token: Int32
    package let position: Int
    /// The index of the row's entry in the batch.
    package let entry: Int
    /// The index in `outputs` of the result requested for the row; nil if none is.
    package let output: Int?
  }

  /// A result requested for a row.
  package struct Output {
    package enum Want {
      case token(SamplingParameters, logProbabilities: Int?, adjustment: RowAdjustment?)
      case surprise(Int32)
      case logits
      case hidden
    }
    package let row: Int
    package let entry: Int
    /// The position after the row's, which is the counter of the random generator.
    package let position: Int
    package let want: Want
  }

  package struct Entry {
    package let sequence: SequenceID
    /// The position of the entry's first new token.
    package let start: Int
    package let count: Int
    /// The pages that cover positions 0 up to the entry's last token.
    package let pages: [AnyObject]
    /// The tokens up to the entry's last, if the choice of a token depends on them; empty otherwise.
    package let history: [Int32]
    /// Whether the entry chooses a token after its last row.
    let choosesNext: Bool
  }

  /// The placeholder for a token that a running step chooses.
  package static let pending: Int32 = -1

  package let entries: [Entry]
  package let rows: [Row]
  package let outputs: [Output]

  /// Rows that go through the layers together: up to `length` of them. Where a token attends to later ones, a layer's
  /// keys and values of a text must all be there before it attends, so a slice holds whole entries, and one entry that
  /// is longer is a slice alone.
  package func slices(of length: Int, holdingWholeEntries: Bool) -> [Range<Int>] {
    guard holdingWholeEntries else {
      return stride(from: 0, to: rows.count, by: length).map { $0..<min($0 + length, rows.count) }
    }
    var slices: [Range<Int>] = []
    var end = 0
    for entry in entries {
      if let last = slices.last, last.count + entry.count <= length {
        slices[slices.count - 1] = last.lowerBound..<end + entry.count
      } else {
        slices.append(end..<end + entry.count)
      }
      end += entry.count
    }
    return slices
  }

  /// The result of an output, from all logits or, for `.hidden`, from the hidden state.
  ///
  /// - Parameters:
  ///   - logits: `[vocabulary]`, or `[hidden]` for `.hidden`.
  ///   - kernels: the sampler's loops over the vocabulary.
  package func result(
    _ output: Output, logits: UnsafeBufferPointer<Float>, kernels: SamplerKernels = .scalar
  ) -> RowResult {
    switch output.want {
    case .token(let parameters, let logProbabilities, let adjustment):
      let history = parameters.repetitionPenalty == 1 ? [] : entries[output.entry].history.prefix(output.position)
      return .token(
        Sampler.sample(
          logits, parameters: parameters, history: Array(history), position: output.position,
          logProbabilities: logProbabilities, adjustment: adjustment, kernels: kernels))
    case .surprise(let token): return .surprise(Sampler.surprise(at: token, logits))
    case .logits, .hidden: return .values(Array(logits))
    }
  }

  /// Groups the outputs' results by the batch's entries.
  ///
  /// - Parameter results: one result for each output.
  package func collect(_ results: [RowResult]) -> [StepResult] {
    var answers = [StepResult](repeating: .init(), count: entries.count)
    for (output, result) in zip(outputs, results) {
      switch result {
      case .token(let token): answers[output.entry].tokens.append(token)
      case .values(let values): answers[output.entry].values += values
      case .surprise(let surprise): answers[output.entry].surprises.append(surprise)
      }
    }
    return answers
  }
}

/// The result that an engine computed for one row.
package enum RowResult: Sendable {
  case token(SampledToken)
  case values([Float])
  case surprise(Double)
}

/// The results of finished steps that have not been taken.
package struct FinishedSteps {
  private var results: [StepTicket: [StepResult]] = [:]
  private var next = 0

  package init() {}

  /// A new ticket.
  package mutating func ticket() -> StepTicket {
    defer { next += 1 }
    return StepTicket(next)
  }

  package mutating func add(_ step: [StepResult]) -> StepTicket {
    let ticket = ticket()
    results[ticket] = step
    return ticket
  }

  package mutating func add(_ step: [StepResult], of ticket: StepTicket) { results[ticket] = step }

  package mutating func take(_ ticket: StepTicket) throws(EngineError) -> [StepResult] {
    guard let result = results.removeValue(forKey: ticket) else { throw .unknownStep }
    return result
  }
}

/// A batch that has been checked and has its pages: rows for the engine to compute, made by `SequenceStore` for every
/// engine.
package struct StepPlan<Page> {
  /// One new token.
  package struct Row {
    /// `pending` where it is chosen by a step that is under way.
    package let token: Int32
    package let position: Int
    /// The place of its entry in the batch.
    package let entry: Int
    /// What is wanted after it, as a place in `outputs`.
    package let output: Int?
  }

  /// Something wanted after a row.
  package struct Output {
    package enum Want {
      case token(SamplingParameters, logProbabilities: Int?)
      case surprise(Int32)
      case logits
      case hidden
    }
    package let row: Int
    package let entry: Int
    /// The position after the row's: the random numbers' counter.
    package let position: Int
    package let want: Want
  }

  package struct Entry {
    package let sequence: SequenceID
    /// The position of the entry's first new token.
    package let start: Int
    package let count: Int
    /// Pages that cover positions 0 up to the entry's last token.
    package let pages: [Page]
    /// The tokens up to the entry's last, where the choice of a token looks at them; empty otherwise.
    let history: [Int32]
    /// Whether the entry chooses a token after its last row.
    let choosesNext: Bool
  }

  package static var pending: Int32 { -1 }

  package let entries: [Entry]
  package let rows: [Row]
  package let outputs: [Output]

  /// What an output that needs all logits gives.
  ///
  /// - Parameter logits: `[vocabulary]`
  package func result(_ output: Output, logits: UnsafeBufferPointer<Float>) -> RowResult {
    switch output.want {
    case .token(let parameters, let logProbabilities):
      let history = parameters.repetitionPenalty == 1 ? [] : entries[output.entry].history.prefix(output.position)
      return .token(
        Sampler.sample(
          logits, parameters: parameters, history: Array(history), position: output.position,
          logProbabilities: logProbabilities))
    case .surprise(let token): return .surprise(Sampler.surprise(at: token, logits))
    case .logits, .hidden: return .values(Array(logits))
    }
  }

  /// The answers to the batch's entries.
  ///
  /// - Parameter results: one for each output.
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

/// What an engine computed after one row.
package enum RowResult: Sendable {
  case token(SampledToken)
  case values([Float])
  case surprise(Double)
}

/// The results of steps that are done and have not been asked for.
package struct FinishedSteps {
  private var results: [StepTicket: [StepResult]] = [:]
  private var next = 0

  package init() {}

  /// A ticket that no step has yet.
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

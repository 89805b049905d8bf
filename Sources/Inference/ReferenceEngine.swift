/// Runs a model by the specification: the forward pass as plain scalar loops (`ReferenceForwardPass`).
///
/// In Float it is the canonical arithmetic that every other engine reproduces bit for bit; in Double it is checked
/// against an independent float64 implementation.
package final class ReferenceEngine: Engine {
  package enum Precision: Sendable {
    case float
    case double
  }

  package let configuration: ModelConfiguration
  package let contextLength: Int
  package let precision: Precision
  private let weights: ModelWeights
  /// By the base of the rotary embedding; nil is the model's own.
  private var rotary: [Double?: RotaryTable] = [:]
  private var store: SequenceStore
  private var done = FinishedSteps()

  /// - Parameter contextLength: positions a sequence can hold; the model's own when nil.
  package init(weights: ModelWeights, precision: Precision, contextLength: Int? = nil) {
    self.weights = weights
    configuration = weights.configuration
    self.contextLength = contextLength ?? weights.configuration.contextLength
    self.precision = precision
    // With attention in both directions, keys and values depend on the tokens after them.
    store = SequenceStore(limit: Self.cachePages, sharesPages: !weights.configuration.isBidirectional)
    for attention in configuration.attention {
      rotary[attention.ropeTheta] = RotaryTable(configuration, theta: attention.ropeTheta)
    }
  }

  package var summary: String { "reference, \(precision == .float ? "Float" : "Double")" }

  package var capacity: Capacity {
    Capacity(stepsAhead: 1, stepTokens: attentionChunkLength, cachePages: Self.cachePages)
  }
  package var memory: MemoryUse {
    let position = 2 * configuration.layerCount * configuration.keyValueWidth * MemoryLayout<Double>.size
    return MemoryUse(
      weights: weights.byteCount, screen: 0, buffers: 0, cache: store.pageCount * attentionChunkLength * position)
  }
  /// More pages than scalar code fills in days.
  private static let cachePages = 1 << 20

  private var source: SequenceStore.Source {
    .init(
      make: { [layers = configuration.layerCount] in ReferencePage(layers: layers) },
      copy: { page, _ in ReferencePage(page) })
  }

  package func makeSequence(startingWith tokens: [Int32]) -> (id: SequenceID, cached: Int) {
    store.make(startingWith: tokens, from: source)
  }

  package func removeSequence(_ id: SequenceID, keeping count: Int) { store.remove(id, keeping: count) }
  package func tokens(of id: SequenceID) throws(EngineError) -> [Int32] { try store.tokens(of: id) }
  package func truncate(_ id: SequenceID, to length: Int) throws(EngineError) {
    try store.truncate(id, to: length, from: source)
  }

  package func submit(_ batch: Batch) throws(EngineError) -> StepTicket {
    let plan = try admit(batch)
    let results = zip(plan.outputs, rows(of: plan)).map { output, row in
      if case .hidden = output.want { return RowResult.values(row.hidden.map { Float($0) }) }
      return row.logits.map { Float($0) }.withUnsafeBufferPointer { plan.result(output, logits: $0) }
    }
    let answers = plan.collect(results)
    store.record(answers, of: plan)
    return done.add(answers)
  }

  package func wait(for ticket: StepTicket) throws(EngineError) -> [StepResult] { try done.take(ticket) }

  /// The logits after each of a new sequence's tokens, in Double: `[tokens][vocabulary]`.
  package func logits(_ tokens: [Int32]) throws(EngineError) -> [Double] {
    let id = makeSequence()
    defer { removeSequence(id) }
    return rows(of: try admit(Batch([.init(sequence: id, tokens: tokens, rows: .all)]))).flatMap(\.logits)
  }

  /// The hidden states after each of a new sequence's tokens and the final norm, in Double: `[tokens][hidden]`.
  package func hiddenStates(_ tokens: [Int32]) throws(EngineError) -> [Double] {
    let id = makeSequence()
    defer { removeSequence(id) }
    return rows(of: try admit(Batch([.init(sequence: id, tokens: tokens, rows: .all, want: .hidden)])))
      .flatMap(\.hidden)
  }

  private func admit(_ batch: Batch) throws(EngineError) -> StepPlan {
    if configuration.isBidirectional { try store.requireWholeTexts(batch) }
    return try store.admit(
      batch, vocabulary: configuration.vocabularySize, contextLength: contextLength, from: source)
  }

  /// Runs all rows of a plan. Double holds the results of either precision exactly.
  ///
  /// - Returns: one for each output.
  private func rows(of plan: StepPlan) -> [ReferenceRow] {
    // Concrete types here, so that the compiler specialises the generic pass for each.
    switch precision {
    case .float: rows(of: plan, in: Float.self)
    case .double: rows(of: plan, in: Double.self)
    }
  }

  private func rows<Scalar: ReferenceScalar>(of plan: StepPlan, in: Scalar.Type) -> [ReferenceRow] {
    let end = plan.entries.map { $0.start + $0.count }.max() ?? 0
    for theta in rotary.keys { rotary[theta]?.extend(to: end) }
    var results: [ReferenceRow] = []
    var first = 0
    for entry in plan.entries {
      let rows = plan.rows[first..<first + entry.count]
      first += entry.count
      let pass = ReferenceForwardPass<Scalar>(
        weights: weights, rotary: rotary, pages: entry.pages.map { unsafeDowncast($0, to: ReferencePage.self) },
        positions: entry.start..<entry.start + entry.count)
      results += pass.forward(rows.map(\.token), wanted: rows.map { $0.output.map { plan.outputs[$0].want } })
    }
    return results
  }
}

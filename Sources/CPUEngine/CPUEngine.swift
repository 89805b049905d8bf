import CBitNetTernary
package import BitNetInference
import BitNetTernary

/// Runs a model on the processor: the canonical arithmetic with vector instructions and several threads.
///
/// Weights are read in place, usually in a mapped file; long texts and servers get a copy in memory that is read
/// faster. Every thread takes a share of each matrix's rows; the members of a team run the forward pass phase by phase.
package final class CPUEngine: Engine {
  package let configuration: ModelConfiguration
  package let contextLength: Int
  package let instructionSet: InstructionSet
  private let model: CPUModel
  private var store: SequenceStore
  private var done = FinishedSteps()

  /// - Parameters:
  ///   - contextLength: positions a sequence can hold; the model's own when nil.
  ///   - threads: 1 to 1024; `defaultThreads` when nil.
  ///   - instructionSet: one of `InstructionSet.available`; the best of them when nil.
  ///   - screensHead: whether an int8 copy of the LM head, half its size, screens the vocabulary; nil to have it
  ///     where it saves time and fits. Results are the same. Rows of more than 131,072 columns are not screened.
  ///   - copiesTiles: whether the ternary weights of a mapped file are copied into the process's own memory, which is
  ///     read faster but is not shared with other processes; nil to do so where it pays. A model that was repacked as
  ///     it was loaded needs no copy.
  ///   - cacheBytes: memory for the keys and values of all sequences, and of those before them that later ones may
  ///     begin like; a quarter of the memory that the process may use when nil. In any case there is room for one whole
  ///     context.
  ///   - sharesPages: whether later sequences may begin like earlier ones, whose keys and values are kept for that.
  /// - Throws: `EngineError.parameter` for a number out of range, `EngineError.device` when there is no memory for the
  ///   copy.
  package init(
    weights: ModelWeights, contextLength: Int? = nil, threads: Int? = nil, instructionSet: InstructionSet? = nil,
    screensHead: Bool? = nil,
    copiesTiles: Bool? = nil, cacheBytes: Int? = nil, sharesPages: Bool = true
  ) throws(EngineError) {
    if let threads, !(1...1024 ~= threads) {
      throw .parameter(name: "the number of threads", found: "\(threads)", expected: "1 to 1024")
    }
    if let cacheBytes, cacheBytes < 0 {
      throw .parameter(name: "the memory for the cache", found: "\(cacheBytes) bytes", expected: "0 or more")
    }
    if let contextLength, !(1...(1 << 24) ~= contextLength) {
      throw .parameter(name: "the context length", found: "\(contextLength)", expected: "1 to \(1 << 24)")
    }
    configuration = weights.configuration
    self.contextLength = contextLength ?? weights.configuration.contextLength
    self.instructionSet = instructionSet ?? InstructionSet.available[0]
    model = try CPUModel(
      weights, team: ThreadTeam(count: threads ?? Self.defaultThreads), kernels: self.instructionSet.kernels,
      screensHead: screensHead, copiesTiles: copiesTiles)
    let pages = (cacheBytes ?? Self.defaultCacheBytes) / model.layout.byteCount
    // With attention in both directions, keys and values depend on the tokens after them.
    store = SequenceStore(
      limit: max(pages, (self.contextLength + attentionChunkLength - 1) / attentionChunkLength),
      sharesPages: sharesPages && !configuration.isBidirectional)
  }

  /// Threads an engine has by default: one for each physical core that this process may use, and no more than a control
  /// group grants it time for.
  package static var defaultThreads: Int { Processors.current.threadCount }
  /// Memory for keys and values by default, in bytes: a quarter of what this process may have.
  package static var defaultCacheBytes: Int { Processors.current.memoryByteCount / 4 }

  /// Threads that work, the caller's included.
  package var threads: Int { model.team.count }
  package var summary: String { "CPU, \(instructionSet.rawValue), \(plural(threads, "thread"))" }
  package var memory: MemoryUse {
    MemoryUse(
      weights: model.weights.byteCount, screen: model.screen?.byteCount ?? 0, buffers: model.space.byteCount,
      cache: store.pageCount * model.layout.byteCount)
  }

  /// Pages of the cache that sequences hold or that are kept for later ones.
  package var cachedPageCount: Int { store.pageCount }

  /// Bytes of tiles that have been copied out of the model's file so far.
  package var copiedByteCount: Int { model.copiedByteCount }
  /// Copies at once the tiles that would be copied behind the tokens to come: for benchmarks, and servers that have
  /// time before their first request.
  package func finishCopying() { model.finishCopying() }

  /// A step with a prompt takes as long as one slice of tokens.
  package var capacity: Capacity {
    Capacity(stepsAhead: 1, stepTokens: CPUModel.sliceLength, cachePages: store.limit)
  }

  private var source: SequenceStore.Source {
    .init(
      make: { [layout = model.layout] in CachePage(layout) },
      copy: { [layout = model.layout] in CachePage(copy: $0, positions: $1, layout) })
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
    if configuration.isBidirectional { try store.requireWholeTexts(batch) }
    let plan = try store.admit(
      batch, vocabulary: configuration.vocabularySize, contextLength: contextLength, from: source)
    let results = model.run(plan)
    let answers = plan.collect(results)
    store.record(answers, of: plan)
    return done.add(answers)
  }

  package func wait(for ticket: StepTicket) throws(EngineError) -> [StepResult] { try done.take(ticket) }
}

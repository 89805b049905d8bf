package import BitNetCUDADriver
import CBitNetCUDAKernels
package import BitNetInference

/// Runs a model on an NVIDIA GPU: the canonical arithmetic in the kernels of Sources/CUDAKernels, with the CPU engine's
/// results, bit for bit.
///
/// Weights are uploaded once, as they are in the file. Steps of single tokens, of up to 64 sequences, run ahead of the
/// host: those of up to eight as one cooperative kernel for the whole model, except in models with a `ModelFeature`.
/// Everything else goes through one kernel an operation.
package final class CUDAEngine: Engine {
  package struct Options: Sendable {
    /// Positions a sequence can hold; the model's own when nil.
    package var contextLength: Int?
    /// Whether an int8 copy of the LM head screens the vocabulary, for a quarter of its size in memory more (0.33
    /// GB for 2B-4T); nil to have it where it saves time and fits. Results are the same.
    package var screensHead: Bool?
    /// Whether steps of single tokens run ahead of the host, and through one cooperative kernel where they are few.
    /// Results are the same.
    package var isCooperative: Bool
    /// Device memory for the keys and values of all sequences, and of those before them that later ones may begin like;
    /// nine tenths of the memory that the weights leave free when nil. In any case one whole context is tried.
    package var cacheBytes: Int?
    /// Whether later sequences may begin like earlier ones, whose keys and values are kept for that.
    package var sharesPages: Bool

    package init(
      contextLength: Int? = nil, screensHead: Bool? = nil, isCooperative: Bool = true, cacheBytes: Int? = nil,
      sharesPages: Bool = true
    ) {
      self.cacheBytes = cacheBytes
      self.sharesPages = sharesPages
      self.contextLength = contextLength
      self.screensHead = screensHead
      self.isCooperative = isCooperative
    }
  }

  package let configuration: ModelConfiguration
  package let contextLength: Int
  package let device: CUDADevice
  private let pass: CUDAForwardPass
  private let decodeStep: DecodeStep?
  private let pool: PagePool
  private var store: SequenceStore
  private var done = FinishedSteps()
  /// Decode steps that are under way, the oldest first.
  private var flights: [Flight] = []
  /// The sequences whose state the decode step's arrays hold, as it will be after the last step that was
  /// launched.
  private var residents: [Resident] = []

  private struct Flight {
    let ticket: StepTicket
    let plan: StepPlan
    let rounds: [UInt32]
  }

  private struct Resident {
    let sequence: SequenceID
    let sampling: SamplingParameters
    var length: Int
    var pages: Int
  }

  private static let longestColumns = 65536
  private static let longestHead = 1024
  /// Steps that wait on the device while the host reads the results of those before.
  private static let stepsAhead = 4

  /// - Throws: `CUDAError` when the device cannot be used or its memory does not suffice; `EngineError.parameter` for
  ///   an option out of range or a model whose shape the kernels do not take.
  package convenience init(weights: ModelWeights, device: CUDADevice, options: Options = .init()) throws {
    try self.init(weights: weights, library: KernelLibrary(CUDAContext(device)), options: options)
  }

  /// - Parameter library: its kernels stay compiled for the next engine.
  package init(weights: ModelWeights, library: KernelLibrary, options: Options) throws {
    let c = weights.configuration
    if let length = options.contextLength, !(1...(1 << 24) ~= length) {
      throw EngineError.parameter(name: "the context length", found: "\(length)", expected: "1 to \(1 << 24)")
    }
    let columns = max(c.hiddenSize, c.queryWidth, c.feedForwardSize)
    guard columns <= Self.longestColumns else {
      throw EngineError.parameter(
        name: "the widest activation of the model", found: "\(columns)",
        expected: "at most \(Self.longestColumns) on a GPU")
    }
    guard c.headSize <= Self.longestHead else {
      throw EngineError.parameter(
        name: "head_dim", found: "\(c.headSize)", expected: "at most \(Self.longestHead) on a GPU")
    }
    configuration = c
    contextLength = options.contextLength ?? c.contextLength
    let context = library.context
    device = context.device
    pass = try CUDAForwardPass(
      library, weights, contextLength: contextLength, screened: options.screensHead,
      cooperative: options.isCooperative)
    pool = PagePool(context, c, contextLength: contextLength, paddedHeadSize: Int(pass.space.shape.padded))
    decodeStep = options.isCooperative ? try DecodeStep(pass) : nil
    if let bytes = options.cacheBytes, bytes < 0 {
      throw EngineError.parameter(name: "the memory for the cache", found: "\(bytes) bytes", expected: "0 or more")
    }
    let pages = try (options.cacheBytes ?? context.memory().free / 10 * 9) / pool.pageByteCount
    // With attention in both directions, keys and values depend on the tokens after them.
    store = SequenceStore(
      limit: max(pages, (contextLength + attentionChunkLength - 1) / attentionChunkLength),
      sharesPages: options.sharesPages && !c.isBidirectional)
    try library.stream.synchronize()
  }

  package var summary: String { device.name }
  package var capacity: Capacity {
    Capacity(stepsAhead: decodeStep == nil ? 1 : Self.stepsAhead, stepTokens: 512, cachePages: store.limit)
  }

  /// How single tokens are computed.
  package struct DecodeStepFacts: Sendable {
    /// Whether by one cooperative kernel.
    package let isCooperative: Bool
    /// Whether the cooperative kernel and those after it are launched as one graph.
    package let hasGraph: Bool
    /// Why there is no graph, in a sentence; nil where nothing failed.
    package let graphError: String?
  }

  /// Records the decode step of one sequence as a graph, without running it, and reports how single tokens are
  /// computed.
  package func decodeStepFacts() -> DecodeStepFacts {
    guard let decodeStep else { return .init(isCooperative: false, hasGraph: false, graphError: nil) }
    var error: (any Error)?
    let cooperative = [1, 2].first { decodeStep.isCooperative($0) }
    if let cooperative {
      do { try withDevice { try decodeStep.recordGraph(cooperative) } } catch let failure { error = failure }
    }
    error = error ?? decodeStep.recordingError
    return .init(isCooperative: cooperative != nil, hasGraph: error == nil, graphError: error.map { "\($0)" })
  }

  package var memory: MemoryUse {
    MemoryUse(
      weights: pass.weights.byteCount, screen: pass.screen?.byteCount ?? 0,
      buffers: pass.bufferByteCount, cache: pool.byteCount)
  }

  /// How many rows of the LM head were computed after the screen, for all tokens so far, modulo 2^32.
  package func screenedRows() throws(EngineError) -> UInt32 {
    try withDevice { () throws in
      try settle()
      try pass.library.stream.synchronize()
      return try pass.space.survivingRows()
    }
  }

  private var source: SequenceStore.Source {
    .init(
      make: { [pool] () throws(EngineError) in
        do throws(CUDAError) { try pool.reserve(1) } catch { throw EngineError(page: error) }
        return pool.take()
      },
      copy: { [pool, stream = pass.library.stream] (page: PagePool.Page, _) throws(EngineError) in
        do throws(CUDAError) {
          try pool.reserve(1)
          let copy = pool.take()
          try stream.copy(device: page.address, to: copy.address, byteCount: pool.pageByteCount)
          return copy
        } catch { throw EngineError(page: error) }
      })
  }

  package func makeSequence(startingWith tokens: [Int32]) -> (id: SequenceID, cached: Int) {
    // If the device fails there are no copies, and the next step throws the reason.
    try? pass.library.context.makeCurrent()
    return store.make(startingWith: tokens, from: source)
  }

  package func removeSequence(_ id: SequenceID, keeping count: Int) {
    if residents.contains(where: { $0.sequence == id }) { residents = [] }
    store.remove(id, keeping: count)
  }

  package func tokens(of id: SequenceID) throws(EngineError) -> [Int32] {
    try withDevice { () throws in try settle() }
    return try store.tokens(of: id)
  }

  package func truncate(_ id: SequenceID, to length: Int) throws(EngineError) {
    try withDevice { () throws in
      try settle()
      if residents.contains(where: { $0.sequence == id }) { residents = [] }
      try store.truncate(id, to: length, from: source)
    }
  }

  package func submit(_ batch: Batch) throws(EngineError) -> StepTicket {
    try submit(batch) { try $0.launch($1, positions: $2) }
  }

  /// - Parameter launch: launches the decode step of so many sequences, of which the longest has so many positions.
  private func submit(
    _ batch: Batch, launch: (_ step: DecodeStep, _ count: Int, _ positions: Int) throws -> Void
  ) throws(EngineError) -> StepTicket {
    try withDevice { () throws in
      if configuration.isBidirectional { try store.requireWholeTexts(batch) }
      let sampling = decodeSampling(batch)
      let goesOn = sampling.map { residentsContinue(batch, $0) } ?? false
      let alternatives = batch.entries.compactMap(\.want.alternatives).max()
      // The repetition penalty applies to the tokens of the steps that are under way, and there is room for the
      // description of one token of a sequence.
      let looksBack = alternatives != nil || sampling?.contains { $0.repetitionPenalty != 1 } ?? false
      // Otherwise, a step that goes on where the last one ended finds everything on the device; others need the tokens
      // on the host.
      if goesOn && !looksBack { while flights.count >= Self.stepsAhead { try finishFlight() } } else { try settle() }
      let plan = try store.admit(
        batch, vocabulary: configuration.vocabularySize, contextLength: contextLength, from: source)
      guard let sampling, let decodeStep else {
        residents = []
        let rows: [RowResult]
        do { rows = try run(plan) } catch {
          store.distrust()
          throw error
        }
        let answers = plan.collect(rows)
        store.record(answers, of: plan)
        return done.add(answers)
      }
      do {
        let positions = plan.entries.map { $0.start + 1 }.max()!
        try pass.extendRotary(to: positions)
        if goesOn {
          for (index, entry) in plan.entries.enumerated() where entry.pages.count > residents[index].pages {
            let held = residents[index].pages
            try decodeStep.setPages(Array(entry.addresses[held...]), of: index, among: plan.entries.count, from: held)
          }
        } else {
          // The last sampler may still be writing into the arrays.
          try pass.library.stream.synchronize()
          try decodeStep.prepare(
            plan.entries.enumerated().map { index, entry in
              .init(
                id: plan.rows[index].token, position: entry.start, pages: entry.addresses,
                sampling: sampling[index])
            })
        }
        residents = zip(plan.entries, sampling).map {
          Resident(sequence: $0.sequence, sampling: $1, length: $0.start + 1, pages: $0.pages.count)
        }
        let adjustments = plan.outputs.map {
          plan.deviceAdjustment($0, vocabulary: configuration.vocabularySize)
        }
        if alternatives != nil || adjustments.contains(where: { $0 != nil }) {
          try decodeStep.launch(adjusting: adjustments, describing: alternatives, positions: positions)
        } else {
          try launch(decodeStep, plan.entries.count, positions)
        }
      } catch {
        residents = []
        store.distrust()
        throw error
      }
      let ticket = done.ticket()
      flights.append(Flight(ticket: ticket, plan: plan, rounds: pass.messages.next(plan.entries.count)))
      return ticket
    }
  }

  package func wait(for ticket: StepTicket) throws(EngineError) -> [StepResult] {
    try withDevice { () throws in
      while flights.contains(where: { $0.ticket == ticket }) { try finishFlight() }
    }
    return try done.take(ticket)
  }

  /// Waits for the oldest step that is under way.
  private func finishFlight() throws {
    let flight = flights.removeFirst()
    do {
      let tokens = try pass.messages.wait(for: flight.rounds)
      let wanted = flight.plan.outputs.map(\.alternatives)
      // Descriptions come after the messages.
      if wanted.contains(where: { $0 != nil }) { try pass.library.stream.synchronize() }
      let answers = flight.plan.collect(
        tokens.enumerated().map { output, token in
          .token(
            wanted[output].map { pass.descriptions.token(token, of: output, alternatives: $0) }
              ?? SampledToken(token: token))
        })
      store.record(answers, of: flight.plan)
      done.add(answers, of: flight.ticket)
    } catch {
      (flights, residents) = ([], [])
      store.distrust()
      throw error
    }
  }

  /// Waits for all steps that are under way.
  private func settle() throws { while !flights.isEmpty { try finishFlight() } }

  /// Whether a batch takes the tokens that the last cooperative step chose, for the same sequences in the same order.
  private func residentsContinue(_ batch: Batch, _ sampling: [SamplingParameters]) -> Bool {
    guard residents.count == batch.entries.count else { return false }
    return zip(residents, zip(batch.entries, sampling)).allSatisfy { resident, new in
      resident.sequence == new.0.sequence && new.0.input == .sampled && resident.sampling == new.1
        && resident.length == (try? store.tokens(of: resident.sequence).count)
    }
  }

  /// Runs device work and turns the driver's errors into errors of the engine.
  private func withDevice<Result>(_ body: () throws -> Result) throws(EngineError) -> Result {
    do {
      try pass.library.context.makeCurrent()
      return try body()
    } catch let error as EngineError {
      throw error
    } catch {
      throw .device("\(error)")
    }
  }

  /// Runs a plan with one kernel an operation, slice by slice.
  private func run(_ plan: StepPlan) throws(CUDAError) -> [RowResult] {
    var results: [RowResult] = []
    for slice in plan.slices(of: pass.space.rows, holdingWholeEntries: configuration.isBidirectional) {
      try pass.reserve(rows: slice.count)
      results += try pass.forward(slice, of: plan)
    }
    return results
  }

  /// Decodes greedily and returns the times of the last step's phases; nil where single tokens do not go through the
  /// cooperative kernel.
  ///
  /// - Parameters:
  ///   - batch: single tokens of 1 to 8 sequences.
  ///   - steps: how many steps are run, 1 or more: the first find caches and clocks cold.
  package func traceDecoding(_ batch: Batch, steps: Int) throws(EngineError) -> DecodeTrace? {
    guard decodeStep?.isCooperative(batch.entries.count) == true, decodeSampling(batch) != nil else { return nil }
    var (trace, batch): (DecodeTrace?, Batch) = (nil, batch)
    for _ in 0..<steps {
      _ = try wait(for: submit(batch) { (step, count, _) in trace = try step.trace(count) })
      batch = batch.continued
    }
    return trace
  }

  /// How the tokens of single-token entries are chosen, if the decode step takes them all together.
  private func decodeSampling(_ batch: Batch) -> [SamplingParameters]? {
    let sampling = batch.entries.compactMap { $0.input.count == 1 && $0.rows != .none ? $0.want.deviceSampling : nil }
    return decodeStep?.canRun(batch.entries.count) == true && sampling.count == batch.entries.count ? sampling : nil
  }
}

extension Batch.Want {
  /// How the decode step chooses the token; nil where all logits must go to the host, which is for more alternatives
  /// than the device finds.
  fileprivate var deviceSampling: SamplingParameters? {
    guard case .token(let parameters, let alternatives, _) = self else { return nil }
    return alternatives ?? 0 <= Int(mostAlternatives) ? parameters : nil
  }

  /// How many alternatives are wanted with log probabilities; nil for no log probabilities.
  fileprivate var alternatives: Int? {
    guard case .token(_, let alternatives, _) = self else { return nil }
    return alternatives
  }
}

extension EngineError {
  /// An error that was met when a page of the cache was made.
  fileprivate init(page error: CUDAError) {
    if case .outOfMemory = error { self = .outOfMemory("\(error)") } else { self = .device("\(error)") }
  }
}

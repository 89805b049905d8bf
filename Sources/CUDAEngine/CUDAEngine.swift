import BitNetCUDADriver
import CBitNetCUDAKernels
import BitNetInference
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Runs a model on an NVIDIA GPU: the canonical arithmetic in the kernels of Sources/CUDAKernels, bit for bit what the CPU computes.
///
/// Weights are uploaded once, as they lie in the file. Prompts, mixed batches and large ones go through one kernel an operation; single
/// tokens of up to eight sequences through one cooperative kernel for the whole model, which `generate` runs ahead of the host.
package final class CUDAEngine: Engine {
  package struct Options: Sendable {
    /// Positions a sequence can hold; the model's own when nil.
    package var contextLength: Int?
    /// Whether an int8 copy of the output head screens the vocabulary, for a quarter of its size in memory more (0.33 GB for 2B-4T); nil
    /// to have it where it pays and fits. Results are the same.
    package var screensHead: Bool?
    /// Whether single tokens go through one cooperative kernel. Results are the same.
    package var isCooperative: Bool

    package init(contextLength: Int? = nil, screensHead: Bool? = nil, isCooperative: Bool = true) {
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
  private var store = SequenceStore<PagePool.Page>()
  /// Rounds of messages that each output has had.
  private var rounds = [UInt32](repeating: 0, count: DeviceWorkspace.outputs)

  private static let longestColumns = 65536
  private static let longestHead = 1024
  /// Steps that wait on the device while the host reads the results of those before.
  private static let stepsAhead = 4
  /// How long a step may take. Blocks give up waiting for each other after a few seconds, so that only a kernel that never ends takes longer,
  /// or the compilation of one that is used for the first time.
  private static let patience = Duration.seconds(60)

  /// - Throws: `CUDAError` when the device cannot be used or its memory does not suffice; `EngineError.parameter` for an option out of
  ///   range or a model whose shape the kernels do not take.
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
        name: "the widest activation of the model", found: "\(columns)", expected: "at most \(Self.longestColumns) on a GPU")
    }
    guard c.headSize <= Self.longestHead else {
      throw EngineError.parameter(name: "head_dim", found: "\(c.headSize)", expected: "at most \(Self.longestHead) on a GPU")
    }
    configuration = c
    contextLength = options.contextLength ?? c.contextLength
    let context = library.context
    device = context.device
    pass = try CUDAForwardPass(
      library, DeviceWeights(weights, context), contextLength: contextLength, screened: options.screensHead,
      cooperative: options.isCooperative)
    pool = PagePool(context, c, contextLength: contextLength, paddedHeadSize: Int(pass.space.heads.padded))
    decodeStep = try DecodeStep(pass)
    try library.stream.synchronize()
  }

  package var summary: String { device.name }
  package var burstLength: Int { decodeStep == nil ? 1 : 16 }

  /// How single tokens are computed.
  package struct DecodeStepFacts: Sendable {
    /// Whether by one cooperative kernel.
    package let isCooperative: Bool
    /// Whether the cooperative kernel and those after it are launched as one graph.
    package let hasGraph: Bool
    /// Why there is no graph, in a sentence; nil where nothing failed.
    package let graphError: String?
  }

  /// Records the decode step of one sequence as a graph, without running it, and tells how single tokens are computed.
  package func decodeStepFacts() -> DecodeStepFacts {
    guard let decodeStep else { return .init(isCooperative: false, hasGraph: false, graphError: nil) }
    var error: (any Error)?
    do { try withDevice { try decodeStep.recordGraph(decodeStep.canRun(1) ? 1 : 2) } } catch let failure { error = failure }
    error = error ?? decodeStep.recordingError
    return .init(isCooperative: true, hasGraph: error == nil, graphError: error.map { "\($0)" })
  }

  /// Bytes of device memory that weights, buffers and the cache take.
  package var memoryByteCount: (weights: Int, screen: Int, buffers: Int, cache: Int) {
    (
      pass.weights.byteCount, pass.screen?.byteCount ?? 0, pass.space.byteCount + pass.rotary.byteCount, pool.byteCount
    )
  }

  package func makeSequence() -> SequenceID { store.make() }
  package func removeSequence(_ id: SequenceID) { store.remove(id) }
  package func tokens(of id: SequenceID) throws(EngineError) -> [Int32] { try store.tokens(of: id) }
  package func truncate(_ id: SequenceID, to length: Int) throws(EngineError) { try store.truncate(id, to: length) }

  package func step(_ batch: Batch) throws(EngineError) -> [StepOutput] {
    try withDevice { () throws in
      let admitted = try admit(batch)
      guard let decodeStep, admitted.allSatisfy({ $0.entry.tokens.count == 1 }),
        let sampling = cooperativeSampling(admitted.map(\.entry.output))
      else { return try run(admitted) }
      var sampled: [SampledToken] = []
      try decode(admitted.map(\.entry.sequence), from: admitted.map { $0.entry.tokens[0] }, sampling, limit: 1, decodeStep) {
        sampled = $0
        return false
      }
      return sampled.map { .sampled($0) }
    }
  }

  /// Runs device work; what the driver throws becomes an error of the engine.
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

  private func admit(_ batch: Batch) throws -> [SequenceStore<PagePool.Page>.Admitted] {
    var pages = 0
    for entry in batch.entries {
      let held = (try? store.tokens(of: entry.sequence).count) ?? 0
      let needed = (min(held + entry.tokens.count, contextLength) + attentionChunkLength - 1) / attentionChunkLength
      pages += max(0, needed - store.pages(of: entry.sequence).count)
    }
    try pool.reserve(pages)
    return try store.admit(batch, vocabulary: configuration.vocabularySize, contextLength: contextLength) { pool.take() }
  }

  private func run(_ admitted: [SequenceStore<PagePool.Page>.Admitted]) throws -> [StepOutput] {
    var tokens: [CUDAForwardPass.Token] = []
    var wanted: [Int] = []  // the entry of each output
    for (slot, work) in admitted.enumerated() {
      let count = work.entry.tokens.count
      for (index, id) in work.entry.tokens.enumerated() {
        let hasLogits =
          switch work.entry.output {
          case .none: false
          case .sample, .lastLogits: index == count - 1
          case .allLogits: true
          }
        tokens.append(
          .init(id: id, position: work.start + index, slot: slot, output: hasLogits ? wanted.count : nil, isPrompt: count > 1))
        if hasLogits { wanted.append(slot) }
      }
    }
    let pages = admitted.map { $0.pages.map(\.address) }
    let sampling = wanted.map { admitted[$0].entry.output.deviceSampling ?? .greedy }
    var logits = admitted.map { _ in [Float]() }
    var sampled: [Int: SampledToken] = [:]
    for start in stride(from: 0, to: tokens.count, by: pass.space.rows) {
      let slice = Array(tokens[start..<min(start + pass.space.rows, tokens.count)])
      try pass.run(slice, pages: pages, sampling: sampling) { (outputs, arrays) throws(CUDAError) in
        let count = outputs.count
        if let screen = pass.screen, outputs.allSatisfy({ admitted[wanted[$0]].entry.output.deviceSampling != nil }) {
          try pass.screenedHead(screen, count, rows: arrays.outputs, arrays.sampling)
        } else {
          try pass.fullHead(count, rows: arrays.outputs)
        }
        try pass.sample(count, rows: arrays.outputs, ids: arrays.ids, positions: arrays.positions, arrays.sampling)
        let ids = try messages(count)
        for (place, output) in outputs.enumerated() {
          let slot = wanted[output]
          if admitted[slot].entry.output.deviceSampling != nil {
            sampled[slot] = SampledToken(token: ids[place])
          } else {
            logits[slot] += try row(place)
          }
        }
      }
      try pass.library.stream.synchronize()
    }
    return try admitted.enumerated().map { (slot, work) throws(EngineError) in
      switch work.entry.output {
      case .none: return .none
      case .lastLogits, .allLogits: return .logits(logits[slot])
      case .sample(let parameters, let logProbabilities):
        if let sampled = sampled[slot] { return .sampled(sampled) }
        let history = try store.tokens(of: work.entry.sequence)
        return .sampled(
          logits[slot].withUnsafeBufferPointer {
            Sampler.sample(
              $0, parameters: parameters, history: history, position: history.count, logProbabilities: logProbabilities)
          })
      }
    }
  }

  /// The logits of one output of the group that was computed last.
  private func row(_ place: Int) throws(CUDAError) -> [Float] {
    let count = configuration.vocabularySize
    var values = [Float](repeating: 0, count: count)
    try values.withUnsafeMutableBufferPointer { (values) throws(CUDAError) in
      try pass.space.logits.copy(to: UnsafeMutableRawBufferPointer(values), from: 4 * count * place)
    }
    return values
  }

  /// Waits until the next round of messages of `count` outputs is there, and reads it.
  private func messages(_ count: Int) throws(CUDAError) -> [Int32] {
    let places = pass.space.messages.bytes.baseAddress!.assumingMemoryBound(to: Atomic<UInt64>.self)
    let start = ContinuousClock.now
    return try (0..<count).map { (output) throws(CUDAError) in
      rounds[output] &+= 1
      let round = rounds[output]
      let place = places + Int(round) % DeviceWorkspace.messageRounds * DeviceWorkspace.outputs + output
      var spins = 0
      while true {
        let message = place.pointee.load(ordering: .acquiring)
        if UInt32(truncatingIfNeeded: message >> 32) == round { return Int32(truncatingIfNeeded: message) }
        spins += 1
        guard spins % 1024 == 0 else { continue }
        // A step takes some hundred microseconds: a wait of milliseconds is for something else, and need not burn a core.
        if spins > 256 << 10 { usleep(50) }
        // A failed launch sends nothing: the stream then says why.
        if try isIdle(), UInt32(truncatingIfNeeded: place.pointee.load(ordering: .acquiring) >> 32) != round {
          throw CUDAError.parameter(name: "the sampler's message", found: "missing", expected: "a token for output \(output)")
        }
        if !device.isEmulated, start.duration(to: .now) > Self.patience {
          throw CUDAError.stalled(
            kernel: "of a step", place: stallReport?.description ?? "no token for output \(output) in \(Self.patience)")
        }
      }
    }
  }

  /// Whether the stream has done all its work. A launch whose blocks waited in vain for each other tells where.
  private func isIdle() throws(CUDAError) -> Bool {
    do {
      return try pass.library.stream.isIdle()
    } catch {
      guard let report = stallReport else { throw error }
      throw CUDAError.stalled(kernel: "of the decode step", place: report.description)
    }
  }

  private var stallReport: StallReport? {
    StallReport(UnsafeRawBufferPointer(pass.space.stalls.bytes), layers: configuration.layerCount)
  }

  package func generate(_ batch: Batch, limit: Int, _ body: ([SampledToken]) -> Bool) throws(EngineError) {
    guard limit > 0 else { return }
    try requireRoom(for: batch, steps: limit)
    guard let decodeStep, let sampling = cooperativeSampling(batch.entries.map(\.output)) else {
      return try generateStepByStep(batch, limit: limit, body)
    }
    var (batch, left) = (batch, limit)
    if batch.entries.contains(where: { $0.tokens.count > 1 }) {
      // A prompt first, then its continuation.
      let first = try sample(batch)
      guard body(first), left > 1 else { return }
      (batch, left) = (batch.continued(by: first), left - 1)
    }
    try withDevice { () throws in
      _ = try admit(batch)
      try decode(batch.entries.map(\.sequence), from: batch.entries.map { $0.tokens[0] }, sampling, limit: left, decodeStep, body)
    }
  }

  /// Decodes greedily and tells where the time of the last step went; nil where single tokens do not go through the cooperative kernel.
  ///
  /// - Parameters:
  ///   - batch: single tokens of 1 to 8 sequences.
  ///   - steps: how many steps are run, 1 or more: the first find caches and clocks cold.
  package func traceDecoding(_ batch: Batch, steps: Int) throws(EngineError) -> DecodeTrace? {
    try requireRoom(for: batch, steps: steps)
    guard let decodeStep, let sampling = cooperativeSampling(batch.entries.map(\.output)) else { return nil }
    return try withDevice { () throws in
      var trace: DecodeTrace?
      _ = try admit(batch)
      try decode(
        batch.entries.map(\.sequence), from: batch.entries.map { $0.tokens[0] }, sampling, limit: steps, decodeStep,
        launch: { trace = try $0.trace($1) }, { _ in true })
      return trace
    }
  }

  /// How the tokens of single-token entries are chosen, if the cooperative kernel takes them all together.
  private func cooperativeSampling(_ outputs: [Batch.Output]) -> [SamplingParameters]? {
    let sampling = outputs.compactMap(\.deviceSampling)
    return decodeStep?.canRun(outputs.count) == true && sampling.count == outputs.count ? sampling : nil
  }

  /// Decodes sequences whose last tokens (`tokens`) have been admitted, a few steps ahead of the host.
  private func decode(
    _ sequences: [SequenceID], from tokens: [Int32], _ sampling: [SamplingParameters], limit: Int, _ decodeStep: DecodeStep,
    launch: (DecodeStep, Int) throws -> Void = { try $0.launch($1) }, _ body: ([SampledToken]) -> Bool
  ) throws {
    let lengths = try sequences.map { try store.tokens(of: $0).count }
    defer {
      for sequence in sequences { if let count = try? store.tokens(of: sequence).count { try? store.truncate(sequence, to: count) } }
    }
    try decodeStep.prepare(
      sequences.indices.map {
        .init(id: tokens[$0], position: lengths[$0] - 1, pages: store.pages(of: sequences[$0]).map(\.address), sampling: sampling[$0])
      })
    let count = sequences.count
    var (launched, done) = (0, 0)
    let roundsBefore = rounds
    defer {
      // Nothing of these sequences may be freed while steps that use it are under way. Steps launched beyond the last one that counts
      // have sent messages too.
      try? pass.library.stream.synchronize()
      for output in 0..<count { rounds[output] = roundsBefore[output] &+ UInt32(launched) }
    }
    while done < limit {
      while launched < min(limit, done + Self.stepsAhead) {
        try pass.rotary.extend(to: lengths.max()! + launched)
        for (index, sequence) in sequences.enumerated() { try extend(sequence, index, to: lengths[index] + launched, decodeStep) }
        try launch(decodeStep, count)
        launched += 1
      }
      let ids = try messages(count)
      done += 1
      let goesOn = body(ids.map { SampledToken(token: $0) })
      guard goesOn, done < limit else { break }
      for (sequence, id) in zip(sequences, ids) { store.append(id, to: sequence) }
    }
  }

  /// Sees to it that a sequence has pages for its first `positions` positions, on the device too.
  private func extend(_ sequence: SequenceID, _ index: Int, to positions: Int, _ decodeStep: DecodeStep) throws {
    let held = store.pages(of: sequence).count
    let needed = (positions + attentionChunkLength - 1) / attentionChunkLength
    guard needed > held else { return }
    try pool.reserve(needed - held)
    store.extend(sequence, to: positions) { pool.take() }
    try decodeStep.setPages(store.pages(of: sequence)[held...].map(\.address), of: index, from: held)
  }
}

extension Batch.Output {
  /// How the device chooses the token; nil where all logits must go to the host.
  fileprivate var deviceSampling: SamplingParameters? {
    guard case .sample(let parameters, nil) = self, parameters.repetitionPenalty == 1 else { return nil }
    return parameters
  }
}

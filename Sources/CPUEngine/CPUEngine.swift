import CBitNetTernary
import BitNetInference
import BitNetTernary

/// Runs a model on the processor: the canonical arithmetic with vector instructions and several threads.
///
/// Weights are used where they lie, usually in a mapped file; long texts and servers get a copy in memory that is read faster. Every thread takes a share of each matrix's rows; the members of a team
/// go through the forward pass phase by phase.
package final class CPUEngine: Engine {
  package let configuration: ModelConfiguration
  package let contextLength: Int
  package let instructionSet: InstructionSet
  private let pass: CPUForwardPass
  private var store = SequenceStore<CachePage>()

  /// - Parameters:
  ///   - contextLength: positions a sequence can hold; the model's own when nil.
  ///   - threads: 1 to 1024; `defaultThreads` when nil.
  ///   - instructionSet: one of `InstructionSet.available`; the best of them when nil.
  ///   - screensHead: whether an int8 copy of the output head, half its size, screens the vocabulary; nil to have it where it pays and fits.
  ///     Results are the same. Rows of more than 131,072 columns are not screened.
  ///   - copiesTiles: whether the ternary weights of a mapped file are copied into the process's own memory, which is read faster but is not shared
  ///     with other processes; nil to do so where it pays. A model that was repacked as it was loaded needs no copy.
  /// - Throws: `EngineError.parameter` for a number out of range or a model with a feature that this engine lacks, `EngineError.device` when there is no memory for the copy.
  package init(
    weights: ModelWeights, contextLength: Int? = nil, threads: Int? = nil, instructionSet: InstructionSet? = nil, screensHead: Bool? = nil,
    copiesTiles: Bool? = nil
  ) throws(EngineError) {
    if let threads, !(1...1024 ~= threads) {
      throw .parameter(name: "the number of threads", found: "\(threads)", expected: "1 to 1024")
    }
    if let contextLength, !(1...(1 << 24) ~= contextLength) {
      throw .parameter(name: "the context length", found: "\(contextLength)", expected: "1 to \(1 << 24)")
    }
    try weights.configuration.requireOnly(on: "the CPU engine")
    configuration = weights.configuration
    self.contextLength = contextLength ?? weights.configuration.contextLength
    self.instructionSet = instructionSet ?? InstructionSet.available[0]
    pass = try CPUForwardPass(
      weights, team: ThreadTeam(count: threads ?? Self.defaultThreads), kernels: self.instructionSet.kernels,
      screensHead: screensHead, copiesTiles: copiesTiles)
  }

  /// Threads an engine has by default: one for each physical core that this process may use, and no more than a control group grants it
  /// time for.
  package static var defaultThreads: Int { Processors.current.threadCount }

  /// Threads that work, the caller's included.
  package var threads: Int { pass.team.count }
  package var summary: String { "CPU, \(instructionSet.rawValue), \(threads) thread\(threads == 1 ? "" : "s")" }
  /// Bytes of the int8 copy of the output head; 0 without one.
  package var screenByteCount: Int { pass.screen?.byteCount ?? 0 }

  /// Bytes of tiles that have been copied out of the model's file so far.
  package var copiedByteCount: Int { pass.copiedByteCount }
  /// Copies at once the tiles that would be copied behind the tokens to come: for benchmarks, and servers that have time before their first request.
  package func finishCopying() { pass.finishCopying() }

  package func makeSequence() -> SequenceID { store.make() }
  package func removeSequence(_ id: SequenceID) { store.remove(id) }
  package func tokens(of id: SequenceID) throws(EngineError) -> [Int32] { try store.tokens(of: id) }
  package func truncate(_ id: SequenceID, to length: Int) throws(EngineError) { try store.truncate(id, to: length) }

  package func step(_ batch: Batch) throws(EngineError) -> [StepOutput] {
    let admitted = try store.admit(batch, vocabulary: configuration.vocabularySize, contextLength: contextLength) {
      CachePage(pass.layout)
    }
    // The whole batch as one list of tokens, and what is wanted of each.
    var tokens: [CPUForwardPass.Token] = []
    var rowCount = 0
    var candidateCount = 0
    let screenings = admitted.map { screening($0.entry.output) }
    for (work, screening) in zip(admitted, screenings) {
      for (index, id) in work.entry.tokens.enumerated() {
        let isLast = index == work.entry.tokens.count - 1
        var output = CPUForwardPass.Token.Output.none
        if isLast, let screening {
          output = .candidates(index: candidateCount, screening)
          candidateCount += 1
        } else if work.entry.output.wantsLogits(isLast: isLast) {
          output = .logits(row: rowCount)
          rowCount += 1
        }
        tokens.append(.init(id: Int(id), position: work.start + index, pages: work.pages, output: output))
      }
    }
    let vocabulary = configuration.vocabularySize
    let logits = UnsafeMutablePointer<Float>.allocate(capacity: max(1, rowCount * vocabulary))
    let candidates = UnsafeMutableBufferPointer<ScreenedHead.Candidates>.allocate(capacity: candidateCount)
    candidates.initialize(repeating: .init())
    defer {
      logits.deallocate()
      candidates.deinitialize()
      candidates.deallocate()
    }
    pass.run(tokens, results: .init(logits: logits, candidates: candidates.baseAddress))
    var outputs: [StepOutput] = []
    var (row, place) = (0, 0)
    for (work, screening) in zip(admitted, screenings) {
      switch work.entry.output {
      case .none: outputs.append(.none)
      case .lastLogits, .allLogits:
        var count = 1
        if case .allLogits = work.entry.output { count = work.entry.tokens.count }
        outputs.append(.logits(Array(UnsafeBufferPointer(start: logits + row * vocabulary, count: count * vocabulary))))
        row += count
      case .sample(let parameters, let logProbabilities):
        let history = try store.tokens(of: work.entry.sequence)
        if screening != nil {
          pass.screen?.note(candidates[place], parameters)
          outputs.append(.sampled(candidates[place].choose(parameters, position: history.count)))
          place += 1
        } else {
          outputs.append(
            .sampled(
              Sampler.sample(
                UnsafeBufferPointer(start: logits + row * vocabulary, count: vocabulary), parameters: parameters,
                history: history, position: history.count, logProbabilities: logProbabilities)))
          row += 1
        }
      }
    }
    return outputs
  }

  /// How the token is chosen, if the screened head can serve that and is likely to be worth it.
  private func screening(_ output: Batch.Output) -> SamplingParameters? {
    guard let screen = pass.screen, case .sample(let parameters, nil) = output, parameters.looksAtLargestOnly, screen.pays(parameters)
    else { return nil }
    return parameters
  }
}

extension Batch.Output {
  /// Whether all logits of an entry's token are wanted, `isLast` being whether it is the entry's last.
  fileprivate func wantsLogits(isLast: Bool) -> Bool {
    switch self {
    case .none: false
    case .sample, .lastLogits: isLast
    case .allLogits: true
    }
  }
}

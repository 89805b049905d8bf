import CTernary
import Inference
import Ternary

/// Runs a model on the processor: the canonical arithmetic with vector instructions and several threads.
///
/// Weights are used where they lie, usually in a mapped file. Every thread takes a share of each matrix's rows; the members of the team
/// meet at a barrier between phases.
public final class CPUEngine: Engine {
  public let configuration: ModelConfiguration
  public let contextLength: Int
  public let instructionSet: InstructionSet
  private let pass: CPUForwardPass
  private var store = SequenceStore<CachePage>()

  /// - Parameters:
  ///   - contextLength: positions a sequence can hold; the model's own when nil.
  ///   - threads: 1 to 1024; the processors this process may use when nil.
  ///   - instructionSet: one of `InstructionSet.available`; the best of them when nil.
  /// - Throws: `EngineError.parameter` for a number out of range.
  public init(
    weights: ModelWeights, contextLength: Int? = nil, threads: Int? = nil, instructionSet: InstructionSet? = nil
  ) throws(EngineError) {
    if let threads, !(1...1024 ~= threads) {
      throw .parameter(name: "the number of threads", found: "\(threads)", expected: "1 to 1024")
    }
    if let contextLength, !(1...(1 << 24) ~= contextLength) {
      throw .parameter(name: "the context length", found: "\(contextLength)", expected: "1 to \(1 << 24)")
    }
    configuration = weights.configuration
    self.contextLength = contextLength ?? weights.configuration.contextLength
    self.instructionSet = instructionSet ?? InstructionSet.available[0]
    pass = CPUForwardPass(
      weights, team: ThreadTeam(count: threads ?? InstructionSet.processorCount), kernels: self.instructionSet.kernels)
  }

  /// Threads that work, the caller's included.
  public var threads: Int { pass.team.count }
  public var summary: String { "CPU, \(instructionSet.rawValue), \(threads) thread\(threads == 1 ? "" : "s")" }

  public func makeSequence() -> SequenceID { store.make() }
  public func removeSequence(_ id: SequenceID) { store.remove(id) }
  public func tokens(of id: SequenceID) throws(EngineError) -> [Int32] { try store.tokens(of: id) }
  public func truncate(_ id: SequenceID, to length: Int) throws(EngineError) { try store.truncate(id, to: length) }

  public func step(_ batch: Batch) throws(EngineError) -> [StepOutput] {
    let admitted = try store.admit(batch, vocabulary: configuration.vocabularySize, contextLength: contextLength) {
      CachePage(pass.layout)
    }
    // The whole batch as one list of tokens, and which of them need logits.
    var tokens: [CPUForwardPass.Token] = []
    var rowCount = 0
    for work in admitted {
      for (index, id) in work.entry.tokens.enumerated() {
        let isLast = index == work.entry.tokens.count - 1
        let needsLogits =
          switch work.entry.output {
          case .none: false
          case .sample, .lastLogits: isLast
          case .allLogits: true
          }
        tokens.append(
          .init(id: Int(id), position: work.start + index, pages: work.pages, logitsRow: needsLogits ? rowCount : nil))
        if needsLogits { rowCount += 1 }
      }
    }
    let vocabulary = configuration.vocabularySize
    var outputs: [StepOutput] = []
    try withLogits(rowCount * vocabulary) { (logits) throws(EngineError) in
      pass.run(tokens, logits: logits)
      var row = 0
      for work in admitted {
        switch work.entry.output {
        case .none: outputs.append(.none)
        case .lastLogits, .allLogits:
          var count = 1
          if case .allLogits = work.entry.output { count = work.entry.tokens.count }
          outputs.append(.logits(Array(logits[row * vocabulary..<(row + count) * vocabulary])))
          row += count
        case .sample(let parameters, let logProbabilities):
          let history = try store.tokens(of: work.entry.sequence)
          let sampled = Sampler.sample(
            UnsafeBufferPointer(rebasing: logits[row * vocabulary..<(row + 1) * vocabulary]), parameters: parameters,
            history: history, position: history.count, logProbabilities: logProbabilities)
          outputs.append(.sampled(sampled))
          row += 1
        }
      }
    }
    return outputs
  }

  private func withLogits(_ count: Int, _ body: (UnsafeMutableBufferPointer<Float>) throws(EngineError) -> Void) throws(EngineError) {
    let buffer = AlignedBuffer(count: count * MemoryLayout<Float>.stride)
    defer { withExtendedLifetime(buffer) {} }
    try body(buffer.bytes.bindMemory(to: Float.self))
  }
}

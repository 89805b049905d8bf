import BitNetInference
import BitNetRandomModels

extension EngineComparison {
  /// The parts of the comparison on a model. Each is a separate check.
  package enum ModelPart: String, CaseIterable, Sendable {
    case prompt = "logits of a prompt"
    case greedy = "most likely tokens"
    case drawn = "drawn tokens"
    /// Half of the sequences are greedy, the others are sampled.
    case together = "tokens of 4 sequences together"
    /// More than one kernel takes together.
    case many = "tokens of 12 sequences together"
  }
}

/// Prompts of random tokens for a model, and their continuations.
struct ModelScript {
  private let count: Int
  private let vocabulary: Int
  private let prompts: [[Int32]]
  private let drawn: [SamplingParameters]
  private static let (few, sequences) = (4, 12)

  /// - Parameter count: the number of tokens in each prompt, and in each continuation.
  init(_ configuration: ModelConfiguration, tokens count: Int, seed: UInt64) {
    var generator = SplitMix64(seed: seed)
    let vocabulary = Int32(configuration.vocabularySize)
    (self.count, self.vocabulary) = (count, configuration.vocabularySize)
    prompts = (0..<Self.sequences).map { _ in
      (0..<count).map { _ in Int32.random(in: 0..<vocabulary, using: &generator) }
    }
    drawn = prompts.map { _ in SamplingParameters(temperature: 0.8, topK: 40, topP: 0.95, seed: generator.next()) }
  }

  private var mixed: [SamplingParameters] { drawn.enumerated().map { $0 % 2 == 0 ? .greedy : $1 } }

  func cases(_ part: EngineComparison.ModelPart) -> String {
    let count =
      switch part {
      case .prompt, .greedy, .drawn: 1
      case .together: Self.few
      case .many: Self.sequences
      }
    return plural(count, "sequence")
  }

  func run(_ part: EngineComparison.ModelPart, _ engine: any Engine) throws -> [EngineOutput] {
    switch part {
    case .prompt:
      let id = engine.makeSequence()
      defer { engine.removeSequence(id) }
      let output = try engine.step(Batch([.init(sequence: id, tokens: prompts[0], rows: .all)]))[0]
      return EngineOutput.list(output, place: "a prompt of \(count) tokens", vocabulary: vocabulary)
    case .greedy: return try continuations(engine, [.greedy])
    case .drawn: return try continuations(engine, [drawn[0]])
    case .together: return try continuations(engine, Array(mixed.prefix(Self.few)))
    case .many: return try continuations(engine, mixed)
    }
  }

  /// The tokens that continue the first prompts, all sequences together, and the logits after them.
  private func continuations(_ engine: any Engine, _ sampling: [SamplingParameters]) throws -> [EngineOutput] {
    let ids = sampling.map { _ in engine.makeSequence() }
    defer { for id in ids { engine.removeSequence(id) } }
    // The last token of each prompt comes alone, and so takes the path of single tokens.
    if count > 1 {
      _ = try engine.step(
        Batch(ids.indices.map { .init(sequence: ids[$0], tokens: prompts[$0].dropLast(), rows: .none) }))
    }
    let last = Batch(
      ids.indices.map { .init(sequence: ids[$0], tokens: [prompts[$0][count - 1]], want: .token(sampling[$0])) })
    return try engine.continuationWithLogits(last, limit: count) {
      "sequence \($0) of \(ids.count) after a prompt of \(count) tokens, \(sampling[$0].text)"
    }
  }
}

import Inference

/// Compares engines with one that is taken to be right: logits and tokens, bit for bit.
public struct EngineComparison {
  public typealias MakeEngine = (ModelWeights) throws -> any Engine

  /// An engine that is to be checked.
  public struct Candidate {
    public let name: String
    let make: MakeEngine

    public init(name: String, make: @escaping MakeEngine) {
      self.name = name
      self.make = make
    }
  }

  private let expected: MakeEngine
  private let candidates: [Candidate]
  private let seed: UInt64

  /// - Parameters:
  ///   - expected: makes the engine that is right.
  ///   - candidates: one or more.
  ///   - seed: of everything random: the same seed checks the same.
  public init(expected: @escaping MakeEngine, candidates: [Candidate], seed: UInt64) {
    self.expected = expected
    self.candidates = candidates
    self.seed = seed
  }

  /// Runs small random models of awkward shapes, and one layer in the shape of BitNet b1.58 2B-4T.
  ///
  /// - Parameters:
  ///   - count: how many small ones.
  ///   - isShort: fewer tokens, and without the large layer.
  ///   - progress: called with 0…1.
  /// - Returns: a check of prompts in chunks, one of ragged batches, and for each candidate one of decoding.
  public func randomModels(
    _ count: Int, isShort: Bool = false, progress: (Double) -> Void = { _ in }
  ) throws -> [Verification.Check] {
    let total = isShort ? count : count + 1
    let cases = Verification.Check.count(total, "model")
    var prompts = Verification.Check("logits, prompts in chunks", cases: cases)
    var batches = Verification.Check("logits and tokens, ragged batches", cases: cases)
    var decoding = candidates.map { Verification.Check("decoding, \($0.name)", cases: cases) }
    for index in 0..<total {
      var generator = SplitMix64(seed: seed &+ UInt64(index) << 32)
      var configuration = ModelConfiguration.bitNet2B4T
      if index < count {
        configuration = .random(using: &generator)
      } else {
        (configuration.layerCount, configuration.vocabularySize) = (1, 4096)
      }
      let weights = try ModelWeights(random: configuration, seed: generator.next())
      let script = EngineScript(configuration, isShort: isShort, using: &generator)
      let reference = try expected(weights)
      let prompt = try script.promptLogits(reference, chunks: [script.prompt.count])
      let batch = try script.runBatches(reference)
      let decoded = try script.decode(reference)
      for (place, candidate) in candidates.enumerated() {
        let engine = try candidate.make(weights)
        let here = "\(candidate.name), \(configuration.shape)"
        let chunks = EngineScript.chunks(script.prompt.count, using: &generator)
        prompts.compare(try script.promptLogits(engine, chunks: chunks), prompt, place: "\(here), a prompt in \(chunks)")
        batches.compare(try script.runBatches(engine), batch, place: here)
        decoding[place].compare(try script.decode(engine), decoded, place: configuration.shape)
        progress(Double(index * candidates.count + place + 1) / Double(total * candidates.count))
      }
    }
    return [prompts, batches] + decoding
  }

  /// Runs a prompt of random tokens through a model and goes on from there, greedily and by drawing.
  ///
  /// - Parameters:
  ///   - count: tokens of the prompt, and of each continuation. Both together fit in the context.
  ///   - progress: called with 0…1.
  /// - Returns: a check of the prompt's logits, one of the likeliest tokens and one of drawn ones.
  public func model(
    _ weights: ModelWeights, tokens count: Int, progress: (Double) -> Void = { _ in }
  ) throws -> [Verification.Check] {
    let cases = Verification.Check.count(candidates.count, "engine")
    var logits = Verification.Check("logits, the model's prompt", cases: cases)
    var greedy = Verification.Check("tokens, the model's likeliest", cases: cases)
    var drawn = Verification.Check("tokens, drawn from the model", cases: cases)
    var generator = SplitMix64(seed: seed)
    let prompt = (0..<count).map { _ in Int32.random(in: 0..<Int32(weights.configuration.vocabularySize), using: &generator) }
    let sampling = SamplingParameters(temperature: 0.8, topK: 40, topP: 0.95, seed: generator.next())
    func run(_ engine: any Engine) throws -> (logits: [Float], greedy: [Int32], drawn: [Int32]) {
      let id = engine.makeSequence()
      defer { engine.removeSequence(id) }
      let outputs = try engine.step(Batch([.init(sequence: id, tokens: prompt, output: .lastLogits)]))
      func tokens(_ sampling: SamplingParameters) throws -> [Int32] {
        // The last token of the prompt once more, alone: it goes the way of single tokens.
        try engine.truncate(id, to: count - 1)
        var tokens: [Int32] = []
        try engine.generate(Batch([.init(sequence: id, tokens: [prompt[count - 1]], output: .sample(sampling))]), limit: count) {
          tokens.append($0[0].token)
          return true
        }
        return tokens
      }
      return (outputs[0].logits, try tokens(.greedy), try tokens(sampling))
    }
    let right = try run(expected(weights))
    for (index, candidate) in candidates.enumerated() {
      let found = try run(candidate.make(weights))
      logits.compare(found.logits, right.logits, place: candidate.name)
      greedy.compare(found.greedy, right.greedy, place: candidate.name)
      drawn.compare(found.drawn, right.drawn, place: candidate.name)
      progress(Double(index + 1) / Double(candidates.count))
    }
    return [logits, greedy, drawn]
  }
}

/// What engines have to do with a model, drawn once, so that all of them do the same.
private struct EngineScript {
  /// New tokens of one of the sequences.
  private struct Piece {
    let sequence: Int
    let tokens: [Int32]
    let output: Batch.Output
  }

  let prompt: [Int32]
  private let sequenceCount: Int
  private let batches: [[Piece]]
  private let decodings: [Decoding]

  /// Sequences that are continued together.
  private struct Decoding {
    let prompts: [[Int32]]
    /// Whether the prompts are there already when decoding begins, but for their last tokens.
    let isPrepared: Bool
    let sampling: [Batch.Output]
    let limit: Int
    /// Where each is cut afterwards, and what it gets then.
    let cuts: [Int]
    let last: Int32
  }

  init(_ configuration: ModelConfiguration, isShort: Bool, using generator: inout SplitMix64) {
    func number(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &generator) }
    func tokens(_ count: Int) -> [Int32] {
      (0..<count).map { _ in Int32.random(in: 0..<Int32(configuration.vocabularySize), using: &generator) }
    }
    func sampling() -> SamplingParameters {
      if number(0...2) == 0 { return .greedy }
      return SamplingParameters(
        temperature: Float.random(in: 0.3...1.5, using: &generator), topK: number(0...1) * number(1...20),
        topP: number(0...1) == 0 ? 1 : Float.random(in: 0.3...1, using: &generator),
        minP: number(0...1) == 0 ? 0 : Float.random(in: 0...0.2, using: &generator),
        repetitionPenalty: number(0...7) == 0 ? 1.3 : 1, seed: generator.next())
    }
    prompt = tokens(number(1...(isShort ? 70 : 150)))

    let count = number(2...(isShort ? 4 : 12))
    sequenceCount = count
    batches = (0..<(isShort ? 3 : 6)).map { _ in
      (0..<count).shuffled(using: &generator).prefix(number(1...count)).map { sequence in
        // Half of them single tokens, as when some sequences decode while others read their prompts.
        let new = tokens(number(0...1) == 0 ? 1 : number(2...(isShort ? 10 : 40)))
        let output: Batch.Output =
          switch number(0...4) {
          case 0: .none
          case 1: .allLogits
          case 2: .lastLogits
          default: .sample(sampling(), logProbabilities: number(0...3) == 0 ? 2 : nil)
          }
        return Piece(sequence: sequence, tokens: new, output: output)
      }
    }

    // Alone, as many as the cooperative kernel takes, and more.
    decodings = [1, number(2...8), number(9...12)].prefix(isShort ? 2 : 3).map { count in
      let prompts = (0..<count).map { _ in tokens(number(1...(isShort ? 10 : 130))) }
      let limit = number(1...(isShort ? 6 : 30))
      return Decoding(
        prompts: prompts, isPrepared: number(0...1) == 0, sampling: prompts.map { _ in .sample(sampling()) }, limit: limit,
        cuts: prompts.map { number(0...($0.count + limit - 1)) }, last: tokens(1)[0])
    }
  }

  /// A random way to cut `count` tokens into chunks.
  static func chunks(_ count: Int, using generator: inout SplitMix64) -> [Int] {
    var (chunks, left) = ([Int](), count)
    while left > 0 {
      chunks.append(Int.random(in: 1...left, using: &generator))
      left -= chunks.last!
    }
    return chunks
  }

  /// The logits after each token of the prompt, read in chunks.
  func promptLogits(_ engine: any Engine, chunks: [Int]) throws -> [Float] {
    let id = engine.makeSequence()
    defer { engine.removeSequence(id) }
    var logits: [Float] = []
    var rest = prompt[...]
    for chunk in chunks {
      logits += try engine.step(Batch([.init(sequence: id, tokens: Array(rest.prefix(chunk)), output: .allLogits)]))[0].logits
      rest = rest.dropFirst(chunk)
    }
    return logits
  }

  /// What the batches give: logits, and tokens as numbers.
  func runBatches(_ engine: any Engine) throws -> [Float] {
    let ids = (0..<sequenceCount).map { _ in engine.makeSequence() }
    defer { for id in ids { engine.removeSequence(id) } }
    return try batches.flatMap { pieces in
      let batch = Batch(pieces.map { .init(sequence: ids[$0.sequence], tokens: $0.tokens, output: $0.output) })
      return try engine.step(batch).flatMap(\.numbers)
    }
  }

  /// The tokens that continue the sequences, and then the logits of one more token after a part of them: those tell whether the cache
  /// holds what it should.
  func decode(_ engine: any Engine) throws -> [Float] {
    try decodings.flatMap { decoding in
      let ids = decoding.prompts.map { _ in engine.makeSequence() }
      defer { for id in ids { engine.removeSequence(id) } }
      var prompts = decoding.prompts
      if decoding.isPrepared {
        let long = prompts.indices.filter { prompts[$0].count > 1 }
        let batch = Batch(long.map { .init(sequence: ids[$0], tokens: prompts[$0].dropLast(), output: .none) })
        if !long.isEmpty { _ = try engine.step(batch) }
        prompts = prompts.map { [$0.last!] }
      }
      var numbers: [Float] = []
      let batch = Batch(ids.indices.map { .init(sequence: ids[$0], tokens: prompts[$0], output: decoding.sampling[$0]) })
      try engine.generate(batch, limit: decoding.limit) {
        numbers += $0.flatMap { StepOutput.sampled($0).numbers }
        return true
      }
      for (id, cut) in zip(ids, decoding.cuts) {
        numbers += try engine.tokens(of: id).map(Float.init)
        try engine.truncate(id, to: cut)
      }
      let last = Batch(ids.map { .init(sequence: $0, tokens: [decoding.last], output: .lastLogits) })
      return numbers + (try engine.step(last).flatMap(\.logits))
    }
  }
}

extension StepOutput {
  fileprivate var logits: [Float] {
    guard case .logits(let logits) = self else { return [] }
    return logits
  }

  /// Everything in it. Token ids of models up to 2^24 tokens are exact as Float.
  fileprivate var numbers: [Float] {
    switch self {
    case .none: []
    case .logits(let logits): logits
    case .sampled(let sampled):
      [Float(sampled.token)] + (sampled.logProbability.map { [$0] } ?? [])
        + sampled.alternatives.flatMap { [Float($0.token), $0.logProbability] }
    }
  }
}

extension ModelConfiguration {
  /// The shape in a few words.
  fileprivate var shape: String {
    "hidden \(hiddenSize), feed-forward \(feedForwardSize), \(layerCount) layers, \(headCount) heads of \(headSize), \(keyValueHeadCount) "
      + "with keys, vocabulary \(vocabularySize), \(activation.rawValue)"
  }
}

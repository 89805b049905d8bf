import BitNetDeviceCheck
import BitNetInference
import BitNetRandomModels

/// The work that engines do with a model, drawn at random once, so that all engines do the same.
struct EngineScript {
  /// The parts of a script. Each is compared on its own.
  enum Part: String, CaseIterable {
    case prompts = "logits, prompts in chunks"
    case batches = "logits and tokens, ragged batches"
    case decoding = "decoding"
  }

  /// The new tokens of one sequence in a batch.
  private struct Piece {
    let sequence: Int
    let tokens: [Int32]
    let rows: Batch.Rows
    let want: Batch.Want
  }

  let prompt: [Int32]
  private let vocabulary: Int
  private let sequenceCount: Int
  private let batches: [[Piece]]
  private let decodings: [Decoding]

  /// Sequences that are decoded together.
  private struct Decoding {
    let prompts: [[Int32]]
    /// Whether the prompts, except for their last tokens, are processed before decoding begins.
    let isPrepared: Bool
    let sampling: [SamplingParameters]
    let limit: Int
    /// The length to which each sequence is truncated afterwards, and the token that follows.
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
    vocabulary = configuration.vocabularySize
    prompt = tokens(number(1...(isShort ? 70 : 150)))

    let count = number(2...(isShort ? 4 : 12))
    sequenceCount = count
    batches = (0..<(isShort ? 3 : 6)).map { _ in
      (0..<count).shuffled(using: &generator).prefix(number(1...count)).map { sequence in
        // Half of the pieces are single tokens, as when some sequences decode while others process their prompts.
        let new = tokens(number(0...1) == 0 ? 1 : number(2...(isShort ? 10 : 40)))
        let (rows, want): (Batch.Rows, Batch.Want) =
          switch number(0...4) {
          case 0: (.none, .logits)
          case 1: (.all, .logits)
          case 2: (.last, .logits)
          default: (.last, .token(sampling(), logProbabilities: number(0...3) == 0 ? 2 : nil))
          }
        return Piece(sequence: sequence, tokens: new, rows: rows, want: want)
      }
    }

    // One sequence alone, as many as the cooperative kernel takes, and more.
    decodings = [1, number(2...8), number(9...20)].prefix(isShort ? 2 : 3).map { count in
      let prompts = (0..<count).map { _ in tokens(number(1...(isShort ? 10 : 130))) }
      let limit = number(1...(isShort ? 6 : 30))
      return Decoding(
        prompts: prompts, isPrepared: number(0...1) == 0, sampling: prompts.map { _ in sampling() }, limit: limit,
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

  /// - Parameter chunks: the sizes of the chunks in which the prompt of `.prompts` is processed.
  func run(_ part: Part, _ engine: any Engine, chunks: [Int]) throws -> [EngineOutput] {
    switch part {
    case .prompts: [try promptLogits(engine, chunks: chunks)]
    case .batches: try runBatches(engine)
    case .decoding: try decode(engine)
    }
  }

  /// The logits after each token of the prompt, which is processed in chunks.
  private func promptLogits(_ engine: any Engine, chunks: [Int]) throws -> EngineOutput {
    let id = engine.makeSequence()
    defer { engine.removeSequence(id) }
    var logits: [Float] = []
    var rest = prompt[...]
    for chunk in chunks {
      let output = try engine.step(Batch([.init(sequence: id, tokens: Array(rest.prefix(chunk)), rows: .all)]))[0]
      logits += output.values
      rest = rest.dropFirst(chunk)
    }
    return EngineOutput(place: "the prompt of \(prompt.count) tokens", values: .logits(logits, vocabulary: vocabulary))
  }

  /// The logits and tokens of the batches.
  private func runBatches(_ engine: any Engine) throws -> [EngineOutput] {
    let ids = (0..<sequenceCount).map { _ in engine.makeSequence() }
    defer { for id in ids { engine.removeSequence(id) } }
    return try batches.enumerated().flatMap { index, pieces in
      let batch = Batch(
        pieces.map { .init(sequence: ids[$0.sequence], tokens: $0.tokens, rows: $0.rows, want: $0.want) })
      return try zip(pieces, engine.step(batch)).enumerated().flatMap { entry, found in
        let (piece, output) = found
        let place =
          "batch \(index) of \(pieces.count) entries, entry \(entry) (sequence \(piece.sequence), "
          + "\(piece.tokens.count) new tokens, \(piece.want.text(piece.rows)))"
        return EngineOutput.list(output, place: place, vocabulary: vocabulary)
      }
    }
  }

  /// The tokens that continue the sequences, and then the logits after one more token behind a part of each sequence:
  /// these show whether the cache is right.
  private func decode(_ engine: any Engine) throws -> [EngineOutput] {
    try decodings.flatMap { decoding in
      let ids = decoding.prompts.map { _ in engine.makeSequence() }
      defer { for id in ids { engine.removeSequence(id) } }
      var prompts = decoding.prompts
      if decoding.isPrepared {
        let long = prompts.indices.filter { prompts[$0].count > 1 }
        let batch = Batch(long.map { .init(sequence: ids[$0], tokens: prompts[$0].dropLast(), rows: .none) })
        if !long.isEmpty { _ = try engine.step(batch) }
        prompts = prompts.map { [$0.last!] }
      }
      let batch = Batch(
        ids.indices.map { .init(sequence: ids[$0], tokens: prompts[$0], want: .token(decoding.sampling[$0])) })
      let tokens = try engine.continuation(batch, limit: decoding.limit)
      let places = ids.indices.map {
        "\(decoding.prompts.count) sequences together, sequence \($0) (prompt of \(decoding.prompts[$0].count) tokens"
          + (decoding.isPrepared ? ", read before" : "") + ", \(decoding.sampling[$0].text))"
      }
      var outputs = ids.indices.map { EngineOutput(place: places[$0], values: .tokens(tokens[$0])) }
      for (index, (id, cut)) in zip(ids, decoding.cuts).enumerated() {
        outputs.append(
          .init(place: "\(places[index]), all tokens it holds", values: .tokens(try engine.tokens(of: id))))
        try engine.truncate(id, to: cut)
      }
      let last = Batch(ids.map { .init(sequence: $0, tokens: [decoding.last]) })
      for (index, output) in try engine.step(last).enumerated() {
        let place = "\(places[index]), cut to \(decoding.cuts[index]) tokens and given one more"
        outputs += EngineOutput.list(output, place: place, vocabulary: vocabulary)
      }
      return outputs
    }
  }
}

package import BitNetInference

/// Numbers that an engine computed, and the name of their place.
package struct EngineOutput {
  package enum Values {
    /// `[tokens][vocabulary]`
    case logits([Float], vocabulary: Int)
    /// `[tokens][width]`
    case hiddenStates([Float], width: Int)
    case tokens([Int32])
    case logProbabilities([Float])
  }

  package let place: String
  package let values: Values

  package init(place: String, values: Values) {
    self.place = place
    self.values = values
  }

  /// The numbers in a result of an engine.
  package static func list(_ output: StepResult, place: String, vocabulary: Int) -> [EngineOutput] {
    if !output.values.isEmpty { return [.init(place: place, values: .logits(output.values, vocabulary: vocabulary))] }
    guard let sampled = output.tokens.first else { return [] }
    let tokens = EngineOutput(place: place, values: .tokens([sampled.token] + sampled.alternatives.map(\.token)))
    guard let chosen = sampled.logProbability else { return [tokens] }
    return [
      tokens, .init(place: place, values: .logProbabilities([chosen] + sampled.alternatives.map(\.logProbability))),
    ]
  }
}

extension EqualityCheck {
  /// Compares the outputs of two engines that did the same work.
  package mutating func compare(_ found: [EngineOutput], _ expected: [EngineOutput], place: String) {
    for (one, other) in zip(found, expected) {
      let here = "\(place): \(other.place)"
      switch (one.values, other.values) {
      case (.logits(let found, _), .logits(let expected, let vocabulary)):
        compare(found, expected) { "\(here), logit \($0 % vocabulary) after token \($0 / vocabulary)" }
      case (.hiddenStates(let found, _), .hiddenStates(let expected, let width)):
        compare(found, expected) { "\(here), element \($0 % width) of the hidden state after token \($0 / width)" }
      case (.tokens(let found), .tokens(let expected)): compare(found, expected) { "\(here), token \($0)" }
      case (.logProbabilities(let found), .logProbabilities(let expected)):
        compare(found, expected) { "\(here), log probability \($0)" }
      default: note("\(here): the answer is of another kind", count: 1)
      }
    }
    if found.count != expected.count {
      note(
        "\(place): there are \(found.count) answers; expected \(expected.count)",
        count: abs(found.count - expected.count))
    }
  }
}

extension Engine {
  /// The tokens that continue each sequence of a batch in which every entry samples.
  package func continuation(_ batch: Batch, limit: Int) throws -> [[Int32]] {
    var tokens = batch.entries.map { _ in [Int32]() }
    try generate(batch, limit: limit) { step in
      for (index, sampled) in step.enumerated() { tokens[index].append(sampled.token) }
      return true
    }
    return tokens
  }
}

extension Engine {
  /// The tokens that continue each sequence of a batch in which every entry samples, and the logits after them. Many
  /// wrong numbers give the right tokens, but the logits depend on all keys and values that were written meanwhile.
  ///
  /// - Parameter place: names the sequence of an entry.
  package func continuationWithLogits(_ batch: Batch, limit: Int, place: (Int) -> String) throws -> [EngineOutput] {
    let tokens = try continuation(batch, limit: limit)
    let next = Batch(zip(batch.entries, tokens).map { .init(sequence: $0.sequence, tokens: [$1.last!]) })
    let logits = try step(next)
    return tokens.indices.flatMap { index in
      [EngineOutput(place: place(index), values: .tokens(tokens[index]))]
        + EngineOutput.list(
          logits[index], place: place(index) + ", after all \(limit) tokens", vocabulary: configuration.vocabularySize)
    }
  }
}

extension SamplingParameters {
  /// The parameters in a few words, for the place of a difference.
  package var text: String {
    temperature == 0
      ? "greedy"
      : "temperature \(temperature), top-k \(topK), top-p \(topP), min-p \(minP), penalty \(repetitionPenalty), "
        + "seed \(seed)"
  }
}

extension Batch.Want {
  /// The request in a few words, for the place of a difference.
  package func text(_ rows: Batch.Rows) -> String {
    switch (rows, self) {
    case (.none, _): "no output"
    case (let rows, .token(let sampling, let logProbabilities, let adjustment)):
      sampling.text + (logProbabilities.map { ", \($0) log probabilities" } ?? "")
        + (adjustment.map { ", \($0.masks.count) masks, \($0.biases.count) biases" } ?? "")
        + (rows == .all ? ", after each" : "")
    case (.last, let want): "last \(want.name)"
    case (.all, let want): "all \(want.name)"
    }
  }

  private var name: String {
    switch self {
    case .token: "tokens"
    case .surprise: "surprises"
    case .logits: "logits"
    case .hidden: "hidden states"
    }
  }
}

package import BitNetDeviceCheck
import BitNetInference
import BitNetRandomModels

extension EngineComparison {
  /// Runs texts through small random models with the norms, windows, activations and scales of embedding models, and
  /// through two layers in the shape of Gemma 3 with attention in both directions.
  ///
  /// - Parameters:
  ///   - count: the number of small models.
  ///   - isShort: whether to use shorter texts, and leave out the large model.
  ///   - progress: called with the finished share, 0…1.
  ///   - report: called with a check for each candidate.
  package func embeddingModels(
    _ count: Int, isShort: Bool = false, progress: (Double) -> Void = { _ in }, _ report: EqualityCheck.Report
  ) rethrows {
    let total = isShort ? count : count + 1
    let cases = plural(total, "model")
    var right: [Int: [EngineOutput]] = [:]
    for (place, candidate) in candidates.enumerated() {
      try report(
        check("hidden states and logits of texts, models for embedding", candidate, cases: cases) { check in
          for index in 0..<total {
            var generator = SplitMix64(seed: ~seed &+ UInt64(index) << 32)
            let configuration =
              index < count ? ModelConfiguration.randomWithFeatures(using: &generator) : .twoLayersOfGemma3
            try CheckError.naming("model \(index), \(configuration)") {
              let weights = try ModelWeights(random: configuration, seed: generator.next())
              let texts = (0..<4).map { _ in
                (0..<Int.random(in: 1...(isShort ? 70 : 200), using: &generator)).map { _ in
                  Int32.random(in: 0..<Int32(configuration.vocabularySize), using: &generator)
                }
              }
              let rightHere = try CheckError.naming(expected.name) {
                try right[index] ?? Self.outputs(of: texts, expected.make(weights))
              }
              right[index] = rightHere
              try check.compare(Self.outputs(of: texts, candidate.make(weights)), rightHere, place: "model \(index)")
            }
            progress(Double(place * total + index + 1) / Double(candidates.count * total))
          }
        })
    }
  }

  /// The hidden states after all tokens of some texts in one step, and then the logits after the last ones.
  private static func outputs(of texts: [[Int32]], _ engine: any Engine) throws -> [EngineOutput] {
    try [Batch.Want.hidden, .logits].flatMap { want in
      let entries = texts.map {
        Batch.Entry(sequence: engine.makeSequence(), tokens: $0, rows: want.isHidden ? .all : .last, want: want)
      }
      defer { for entry in entries { engine.removeSequence(entry.sequence) } }
      let (vocabulary, hidden) = (engine.configuration.vocabularySize, engine.configuration.hiddenSize)
      return try engine.step(Batch(entries)).enumerated().map { index, result in
        EngineOutput(
          place: "text \(index) of \(texts.map(\.count)) tokens",
          values: want.isHidden
            ? .hiddenStates(result.values, width: hidden) : .logits(result.values, vocabulary: vocabulary))
      }
    }
  }
}

extension Batch.Want {
  fileprivate var isHidden: Bool { if case .hidden = self { true } else { false } }
}

extension ModelConfiguration {
  /// Two layers in the shape of Gemma 3's embedding model of 300 million parameters, with a norm before each
  /// projection.
  fileprivate static let twoLayersOfGemma3 = ModelConfiguration(
    architecture: "Gemma3TextModel", vocabularySize: 4096, hiddenSize: 768, feedForwardSize: 1152, layerCount: 2,
    headCount: 3, keyValueHeadCount: 1, headSize: 256, contextLength: 2048, normEpsilon: 1e-6, ropeTheta: 1_000_000,
    activation: .geluTanh,
    optionalNorms: Set.projectionNorms.union([.queryHead, .keyHead, .attentionPost, .feedForwardPost]),
    attention: [
      .init(window: 128, isBidirectional: true, ropeTheta: 10_000), .init(isBidirectional: true),
    ],
    embeddingScale: Double(768).squareRoot(), tiedEmbedding: true)
}

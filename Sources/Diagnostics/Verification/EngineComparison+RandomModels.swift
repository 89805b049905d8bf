package import BitNetDeviceCheck
import BitNetInference
import BitNetRandomModels

extension EngineComparison {
  /// Runs small random models of awkward shapes, and one layer in the shape of BitNet b1.58 2B-4T.
  ///
  /// - Parameters:
  ///   - count: the number of small models.
  ///   - isShort: whether to use fewer tokens, and leave out the large layer.
  ///   - progress: called with the finished share, 0…1.
  ///   - report: called, for each candidate, with a check of prompts in chunks, one of ragged batches and one of
  ///     decoding.
  package func randomModels(
    _ count: Int, isShort: Bool = false, progress: (Double) -> Void = { _ in }, _ report: EqualityCheck.Report
  ) rethrows {
    let models = RandomModels(count, isShort: isShort, seed: seed, expected: expected)
    let cases = plural(models.count, "model")
    let total = Double(models.count * candidates.count * EngineScript.Part.allCases.count)
    var done = 0
    for (place, candidate) in candidates.enumerated() {
      for part in EngineScript.Part.allCases {
        try report(
          check(part.rawValue, candidate, cases: cases) { check in
            for index in 0..<models.count {
              var generator = SplitMix64(seed: seed &+ UInt64(index) << 32 &+ UInt64(place + 1))
              try models.withModel(index) { model in
                let right = try model.expected()[part]!
                let engine = try candidate.make(model.weights)
                let chunks = EngineScript.chunks(model.script.prompt.count, using: &generator)
                let place = model.configuration.shape + (part == .prompts ? ", a prompt in chunks of \(chunks)" : "")
                try check.compare(model.script.run(part, engine, chunks: chunks), right, place: place)
              }
              done += 1
              progress(Double(done) / total)
            }
          })
      }
    }
  }
}

/// Small random models, the script that engines run on each, and the results of the engine that is taken to be right.
private final class RandomModels {
  final class Model {
    let configuration: ModelConfiguration
    let weights: ModelWeights
    let script: EngineScript
    private let reference: EngineComparison.Candidate
    private var outputs: [EngineScript.Part: [EngineOutput]]?

    init(
      _ configuration: ModelConfiguration, isShort: Bool, expected: EngineComparison.Candidate,
      using generator: inout SplitMix64
    ) throws {
      self.configuration = configuration
      reference = expected
      weights = try ModelWeights(random: configuration, seed: generator.next())
      script = EngineScript(configuration, isShort: isShort, using: &generator)
    }

    func expected() throws -> [EngineScript.Part: [EngineOutput]] {
      if let outputs { return outputs }
      return try CheckError.naming(reference.name) {
        let engine = try reference.make(weights)
        var outputs: [EngineScript.Part: [EngineOutput]] = [:]
        for part in EngineScript.Part.allCases {
          outputs[part] = try script.run(part, engine, chunks: [script.prompt.count])
        }
        self.outputs = outputs
        return outputs
      }
    }
  }

  let count: Int
  private let isShort: Bool
  private let seed: UInt64
  private let reference: EngineComparison.Candidate
  private var kept: [Int: Model] = [:]
  /// The most models that are kept. Others are generated again for each check, so that memory does not grow with their
  /// number.
  private static let keptLimit = 32

  init(_ count: Int, isShort: Bool, seed: UInt64, expected: EngineComparison.Candidate) {
    self.count = isShort ? count : count + 1
    self.isShort = isShort
    self.seed = seed
    reference = expected
  }

  /// Calls `body` with a model, and adds the model's shape to an error.
  func withModel(_ index: Int, _ body: (Model) throws -> Void) throws {
    if let model = kept[index] { return try CheckError.naming(model.configuration.shape) { try body(model) } }
    var generator = SplitMix64(seed: seed &+ UInt64(index) << 32)
    var configuration = ModelConfiguration.bitNet2B4T
    if !isShort, index == count - 1 {
      (configuration.layerCount, configuration.vocabularySize) = (1, 4096)
    } else {
      configuration = .random(using: &generator)
    }
    try CheckError.naming(configuration.shape) {
      let model = try Model(configuration, isShort: isShort, expected: reference, using: &generator)
      if kept.count < Self.keptLimit { kept[index] = model }
      try body(model)
    }
  }
}

extension ModelConfiguration {
  /// The shape, in a few words.
  fileprivate var shape: String {
    "hidden \(hiddenSize), feed-forward \(feedForwardSize), \(layerCount) layers, \(headCount) heads of \(headSize), "
      + "\(keyValueHeadCount) with keys, vocabulary \(vocabularySize), \(activation.rawValue)"
  }
}

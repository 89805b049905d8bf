package import BitNetDeviceCheck
package import BitNetInference
import BitNetRandomModels

extension EngineComparison {
  /// Decodes the same tokens again and again with each candidate, and then computes the logits after them: the first
  /// time must give the tokens of the engine that is right, every other time those of the first. A fault that depends
  /// on the moment shows as a rare difference.
  ///
  /// - Parameters:
  ///   - label: names the model in the checks.
  ///   - count: most likely tokens of each sequence. They fit in the context with one more before them.
  ///   - repetitions: 1 or more.
  ///   - progress: called with 0…1.
  ///   - report: gets a check of one sequence and one of 2 to 8 together, for each candidate.
  package func soak(
    _ weights: ModelWeights, label: String = "the model", tokens count: Int, repetitions: Int,
    progress: (Double) -> Void = { _ in }, _ report: EqualityCheck.Report
  ) rethrows {
    var generator = SplitMix64(seed: seed)
    let vocabulary = Int32(weights.configuration.vocabularySize)
    let first = (0..<8).map { _ in Int32.random(in: 0..<vocabulary, using: &generator) }
    let sizes = [1, Int.random(in: 2...8, using: &generator)]
    func run(_ engine: any Engine, _ size: Int) throws -> [EngineOutput] {
      let ids = (0..<size).map { _ in engine.makeSequence() }
      defer { for id in ids { engine.removeSequence(id) } }
      let batch = Batch(ids.indices.map { .init(sequence: ids[$0], tokens: [first[$0]], want: .token(.greedy)) })
      return try engine.continuationWithLogits(batch, limit: count) { "sequence \($0) of \(size)" }
    }
    var right: [Int: [EngineOutput]] = [:]
    var done = 0
    for candidate in candidates {
      var engine: (any Engine)?
      for size in sizes {
        let cases = plural(repetitions, "repetition")
        let name = "soak, \(plural(size, "sequence")), \(label), \(candidate.name)"
        try report(
          EqualityCheck(name, candidate: candidate.name, reference: expected.name, cases: cases) { check in
            if right[size] == nil {
              try CheckError.naming(expected.name) { right[size] = try run(expected.make(weights), size) }
            }
            engine = try engine ?? candidate.make(weights)
            var once: [EngineOutput] = []
            for repetition in 0..<repetitions {
              try CheckError.naming("repetition \(repetition)") {
                let found = try run(engine!, size)
                if repetition == 0 {
                  check.compare(found, right[size]!, place: "repetition 0, compared with \(expected.name)")
                  once = found
                } else {
                  check.compare(found, once, place: "repetition \(repetition), compared with repetition 0")
                }
              }
              done += 1
              progress(Double(done) / Double(candidates.count * sizes.count * repetitions))
            }
          })
      }
    }
  }
}

package import BitNetDeviceCheck
package import BitNetInference
import BitNetRandomModels

extension EngineComparison {
  /// Decodes the same tokens repeatedly with each candidate, and then computes the logits after them. The first
  /// repetition must give the results of the expected engine, and every other repetition those of the first. A fault
  /// that depends on timing shows as a rare difference.
  ///
  /// - Parameters:
  ///   - label: the model's name in the checks.
  ///   - count: the number of tokens to decode greedily in each sequence; one less than the context length at most.
  ///   - repetitions: 1 or more.
  ///   - progress: called with the finished share, 0…1.
  ///   - report: called, for each candidate, with a check of one sequence and one of 2 to 8 sequences together.
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

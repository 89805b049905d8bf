package import BitNetInference

/// Compares the logits and tokens of engines with those of an engine that is taken to be right, bit for bit.
///
/// Every check is reported as soon as it is complete, and an error in one check does not stop the others.
package struct EngineComparison {
  package typealias MakeEngine = (ModelWeights) throws -> any Engine

  /// An engine and its name.
  package struct Candidate {
    package let name: String
    package let make: MakeEngine

    package init(name: String, make: @escaping MakeEngine) {
      self.name = name
      self.make = make
    }
  }

  package let expected: Candidate
  package let candidates: [Candidate]
  package let seed: UInt64

  /// - Parameters:
  ///   - expected: the engine whose results are taken to be right.
  ///   - candidates: the engines to check.
  ///   - seed: the seed of all random inputs. The same seed repeats the same checks.
  package init(expected: Candidate, candidates: [Candidate], seed: UInt64) {
    self.expected = expected
    self.candidates = candidates
    self.seed = seed
  }

  /// Runs prompts of random tokens through a model and continues them, one sequence alone and several together.
  ///
  /// - Parameters:
  ///   - label: the model's name in the checks.
  ///   - count: the number of tokens in each prompt, and in each continuation: at most half the context length.
  ///   - parts: the parts to compare.
  ///   - progress: called with the finished share, 0…1.
  ///   - report: called with a check of each part for each candidate.
  package func model(
    _ weights: ModelWeights, label: String = "the model", tokens count: Int, parts: [ModelPart] = ModelPart.allCases,
    progress: (Double) -> Void = { _ in }, _ report: EqualityCheck.Report
  ) rethrows {
    let script = ModelScript(weights.configuration, tokens: count, seed: seed)
    var right: [ModelPart: [EngineOutput]] = [:]
    var reference: (any Engine)?
    var done = 0
    for candidate in candidates {
      var engine: (any Engine)?
      for part in parts {
        try report(
          check("\(part.rawValue), \(label)", candidate, cases: script.cases(part)) { check in
            if right[part] == nil {
              try CheckError.naming(expected.name) {
                reference = try reference ?? expected.make(weights)
                right[part] = try script.run(part, reference!)
              }
            }
            engine = try engine ?? candidate.make(weights)
            try check.compare(script.run(part, engine!), right[part]!, place: label)
          })
        done += 1
        progress(Double(done) / Double(candidates.count * parts.count))
      }
    }
  }

  /// Compares one candidate with the expected engine.
  package func check(
    _ name: String, _ candidate: Candidate, cases: String, _ body: (inout EqualityCheck) throws -> Void
  ) -> EqualityCheck {
    .init("\(name), \(candidate.name)", candidate: candidate.name, reference: expected.name, cases: cases, body)
  }
}

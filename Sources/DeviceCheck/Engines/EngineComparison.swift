package import BitNetInference

/// Compares engines with one that is taken to be right: logits and tokens, bit for bit.
///
/// Every check is reported as soon as it is made, and an error in one of them does not stop the others.
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
  ///   - expected: the engine that is right.
  ///   - candidates: the engines to check.
  ///   - seed: of everything random: the same seed checks the same.
  package init(expected: Candidate, candidates: [Candidate], seed: UInt64) {
    self.expected = expected
    self.candidates = candidates
    self.seed = seed
  }

  /// Runs prompts of random tokens through a model and continues them, one sequence alone and several together.
  ///
  /// - Parameters:
  ///   - label: names the model in the checks.
  ///   - count: tokens of each prompt, and of each continuation. Both together fit in the context.
  ///   - parts: what to compare.
  ///   - progress: called with 0…1.
  ///   - report: gets a check of each part for each candidate.
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

  /// A check of one candidate against the engine that is right.
  package func check(
    _ name: String, _ candidate: Candidate, cases: String, _ body: (inout EqualityCheck) throws -> Void
  ) -> EqualityCheck {
    .init("\(name), \(candidate.name)", candidate: candidate.name, reference: expected.name, cases: cases, body)
  }
}

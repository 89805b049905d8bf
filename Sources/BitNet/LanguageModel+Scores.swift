import BitNetCPUEngine
package import BitNetInference

extension LanguageModel {
  /// The log probability of each token but the first, given the tokens before it, with those of the most likely tokens
  /// in its place. Equal tokens have the same number in both.
  ///
  /// - Parameters:
  ///   - tokens: 1 to ``contextLength``, each below the vocabulary's size.
  ///   - alternatives: how many of the most likely tokens to report.
  /// - Throws: `EngineError`; `CancellationError` when the task is cancelled.
  package func scores(of tokens: [TokenID], alternatives: Int) async throws -> [SampledToken] {
    guard tokens.count > 1 else { return [] }
    let vocabulary = configuration.vocabularySize
    // At most 32 MB of logits at a time; generations take their turns in between.
    let length = max(1, min(64, (8 << 20) / vocabulary))
    let sampler = InstructionSet.available[0].kernels.sampler
    return try await withSequence { sequence in
      var scores: [SampledToken] = []
      for start in stride(from: 0, to: tokens.count - 1, by: length) {
        try Task.checkCancellation()
        let range = start..<min(tokens.count - 1, start + length)
        let entry = Batch.Entry(sequence: sequence, tokens: Array(tokens[range]), rows: .all, want: .logits)
        let targets = tokens[range.lowerBound + 1...range.upperBound]
        scores += try await self.scheduler.perform { engine in
          let logits = try engine.step(Batch([entry]))[0].values
          return logits.withUnsafeBufferPointer { logits in
            zip(0..., targets).map { row, target in
              Sampler.describe(
                UnsafeBufferPointer(rebasing: logits[row * vocabulary..<(row + 1) * vocabulary]), chosen: Int(target),
                alternatives: alternatives, kernels: sampler)
            }
          }
        }
      }
      return scores
    }
  }
}

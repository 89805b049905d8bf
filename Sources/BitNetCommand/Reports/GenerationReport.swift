import BitNet
import BitNetInference

/// The output of `generate --json`.
struct GenerationReport: Encodable {
  struct Alternative: Encodable {
    let id: Int32
    let text: String
    let logprob: Float
  }

  struct Token: Encodable {
    let id: Int32
    let text: String
    let logprob: Float?
    let top: [Alternative]?
  }

  struct Statistics: Encodable {
    let promptTokens: Int
    let generatedTokens: Int
    let draftedTokens: Int
    let acceptedTokens: Int
    let secondsToFirstToken: Double
    let promptTokensPerSecond: Double
    let generatedTokensPerSecond: Double
    let loadSeconds: Double
    let peakMemoryBytes: Int
  }

  let text: String
  let tokens: [Token]
  /// `stop`, `length`, or `interrupted` by Ctrl-C.
  let finishReason: String
  let engine: String
  let sampling: SamplingParameters
  let statistics: Statistics

  init(_ run: GenerationRun, of session: GenerationSession, loadTime: Double) {
    let tokenizer = session.model.tokenizer
    let done = run.statistics ?? GenerationStatistics()
    text = run.text
    tokens = run.tokens.map { sampled in
      Token(
        id: sampled.token, text: tokenizer.decode([sampled.token]), logprob: sampled.logProbability,
        top: sampled.logProbability != nil
          ? sampled.alternatives.map {
            .init(id: $0.token, text: tokenizer.decode([$0.token]), logprob: $0.logProbability)
          } : nil)
    }
    finishReason = run.finish?.description ?? "interrupted"
    engine = session.model.device.description
    sampling = session.options.sampling
    statistics = Statistics(
      promptTokens: done.promptTokens, generatedTokens: done.generatedTokens,
      draftedTokens: done.draftedTokens, acceptedTokens: done.acceptedTokens,
      secondsToFirstToken: done.timeToFirstToken / .seconds(1),
      promptTokensPerSecond: done.promptRate, generatedTokensPerSecond: done.decodeRate, loadSeconds: loadTime,
      peakMemoryBytes: peakMemory())
  }
}

import BitNetInference
import Testing

@Suite("A model configuration")
struct ModelConfigurationTests {
  @Test("is refused with the name of the first field that is out of range")
  func configurationRanges() {
    let good = ModelConfiguration(
      architecture: "test", vocabularySize: 8, hiddenSize: 64, feedForwardSize: 64, layerCount: 1, headCount: 4,
      keyValueHeadCount: 2, headSize: 16, contextLength: 512, normEpsilon: 1e-5, ropeTheta: 500_000, activation: .silu,
      tiedEmbedding: true, beginToken: 1, endTokens: [2])
    #expect(throws: Never.self) { try good.validate() }
    let changes: [(String, (inout ModelConfiguration) -> Void)] = [
      ("vocab_size", { $0.vocabularySize = 0 }), ("hidden_size", { $0.hiddenSize = -1 }),
      ("intermediate_size", { $0.feedForwardSize = .max }), ("num_hidden_layers", { $0.layerCount = 1 << 40 }),
      ("num_attention_heads", { $0.headCount = 0 }), ("num_key_value_heads", { $0.keyValueHeadCount = 3 }),
      ("num_key_value_heads", { $0.keyValueHeadCount = 0 }), ("head_dim", { $0.headSize = 15 }),
      ("head_dim", { $0.headSize = 0 }),
      ("max_position_embeddings", { $0.contextLength = 0 }), ("rms_norm_eps", { $0.normEpsilon = .nan }),
      ("rope_theta", { $0.ropeTheta = 0 }), ("rope_theta", { $0.ropeTheta = .infinity }),
      ("bos_token_id or eos_token_id", { $0.endTokens = [8] }),
      ("bos_token_id or eos_token_id", { $0.beginToken = -1 }),
      (
        "rope_scaling.factor",
        { $0.ropeScaling = .init(factor: 0, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContextLength: 8) }
      ),
    ]
    for (field, change) in changes {
      var bad = good
      change(&bad)
      do {
        try bad.validate()
        Issue.record("\(field) was accepted")
      } catch {
        #expect(error.field == field)
      }
    }
  }
}

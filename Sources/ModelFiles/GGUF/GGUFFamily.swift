import BitNetInference

/// A kind of model in GGUF files: how its `general.architecture` is recognised, and what the metadata does not say.
struct GGUFFamily: Sendable {
  /// The values of `general.architecture`, the one that is written first. Keys of the model begin with it.
  let architectures: [String]
  let activation: ModelConfiguration.Activation
  let names: TensorNames
  /// Whether the rows of q and k are stored with the halves of each head interleaved.
  let interleavesHeads: Bool

  /// The norms of the family's blocks besides those that all blocks have.
  var optionalNorms: Set<NormRole> { Set(names.norms.keys.filter(\.isOptional)) }

  /// All supported families.
  static let all = [
    // BitNet b1.58 2B-4T, in files for bitnet.cpp; the second name is that of the first files.
    GGUFFamily(
      architectures: ["bitnet-b1.58", "bitnet-25"], activation: .squaredReLU, names: .ggufBitNet,
      interleavesHeads: false),
    // 1bitLLM/bitnet_b1_58.
    GGUFFamily(architectures: ["bitnet"], activation: .silu, names: .ggufBitNet, interleavesHeads: false),
    GGUFFamily(architectures: ["llama"], activation: .silu, names: .ggufLlama, interleavesHeads: true),
  ]

  /// Architectures of ternary models that cannot run yet, with the reason.
  static let others = [
    "qwen3": "embedding models and models with a scale for each group of weights are not supported yet",
    "gemma3": "embedding models are not supported yet",
    "gemma-embedding": "embedding models are not supported yet",
    "qwen35": "Gated DeltaNet layers are not supported",
    "minicpm": "models with a scale for each group of weights are not supported yet",
    "maple": "mixtures of experts are not supported",
  ]

  static func find(_ architecture: String, file: String) throws(ModelFileError) -> GGUFFamily {
    if let family = all.first(where: { $0.architectures.contains(architecture) }) { return family }
    let supported = all.flatMap(\.architectures).joined(separator: ", ")
    throw ModelFileError(
      .unsupported, file: file, subject: "key general.architecture", finding: "is \(architecture)",
      expected: supported + (others[architecture].map { "; \($0)" } ?? ""))
  }

  /// The family in which a model can be written; nil if there is none.
  static func find(for model: ModelConfiguration) -> GGUFFamily? {
    guard model.attention == [.causal], !ModelFeature.allCases.contains(where: model.has) else { return nil }
    return all.first { $0.activation == model.activation && $0.optionalNorms == model.optionalNorms }
  }
}

extension TensorNames {
  private static let ggufProjections: [MatrixRole: [String]] = [
    .queryKeyValue: ["attn_q", "attn_k", "attn_v"], .attentionOutput: ["attn_output"],
    .gateUp: ["ffn_gate", "ffn_up"], .down: ["ffn_down"],
  ]

  /// Llama's names in GGUF files, in blocks `blk.{i}.`.
  static let ggufLlama = TensorNames(
    projections: ggufProjections, norms: [.attention: ["attn_norm"], .feedForward: ["ffn_norm"]])

  /// BitNet's names in GGUF files.
  static let ggufBitNet = TensorNames(
    projections: ggufProjections,
    norms: [
      .attention: ["attn_norm"], .feedForward: ["ffn_norm"], .attentionSub: ["attn_sub_norm"],
      .feedForwardSub: ["ffn_sub_norm"],
    ])
}

/// The names of keys and tensors in GGUF files.
enum GGUFName {
  static let architecture = "general.architecture"
  static let embedding = "token_embd.weight"
  static let head = "output.weight"
  static let finalNorm = "output_norm.weight"
  /// The divisors of the rotary frequencies.
  static let rotaryDivisors = "rope_freqs.weight"
  static let tokenizerModel = "tokenizer.ggml.model"
  static let tokens = "tokenizer.ggml.tokens"
  static let chatTemplate = "tokenizer.chat_template"
  /// The names of further templates, and the one for chats with tools.
  static let chatTemplateNames = "tokenizer.chat_templates"
  static let toolTemplate = "tokenizer.chat_template.tool_use"
  static let beginToken = "tokenizer.ggml.bos_token_id"
  /// Tokens that end a text or a turn.
  static let endTokens = ["eos_token_id", "eot_token_id", "eom_token_id"].map { "tokenizer.ggml.\($0)" }

  /// Keys that this library adds, which other readers ignore.
  enum Own {
    /// The scales of all projections as f64, in the order of the forward pass: the types that hold codes round them.
    static let scales = "swift-bitnet.scales"
    /// The rotary scaling as f64: factor, low and high frequency factor, original context length.
    static let rotaryScaling = "swift-bitnet.rope_scaling"
    /// The end-of-sequence tokens, of which other keys hold only the first.
    static let endTokens = "swift-bitnet.end_tokens"
    /// The tokenizer as converted files hold it.
    static let tokenizer = "swift-bitnet.tokenizer"
  }

  static func block(_ index: Int) -> String { "blk.\(index)." }
}

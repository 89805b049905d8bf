import BitNetInference

/// A kind of model in GGUF files: how its `general.architecture` is recognised, and what the metadata does not say.
struct GGUFFamily: Sendable {
  /// The values of `general.architecture`, the one that is written first. Keys of the model begin with it.
  let architectures: [String]
  let activation: ModelConfiguration.Activation
  let names: TensorNames
  /// Whether the rows of q and k are stored with the halves of each head interleaved.
  let interleavesHeads: Bool
  /// Whether a file may have a norm before each projection, `<projection>_norm_in`, and say how layers attend.
  var isEmbedding = false
  /// Whether a token's embedding is multiplied by the root of its width.
  var scalesEmbedding = false
  /// The layers with a window, where a file does not say.
  var local: LocalLayers?

  /// Layers with a window and a rotary base of their own: all but each `period`th.
  struct LocalLayers: Sendable {
    let period: Int
    let window: Int
    let ropeTheta: Double
  }

  /// The norms of the family's blocks besides those that all blocks have, or may have.
  var optionalNorms: Set<NormRole> { Set(names.norms.keys.filter(\.isOptional)) }

  /// The name of the tensor that tells that a file has norms before projections.
  static let firstProjectionNorm = GGUFName.block(0) + "attn_q_norm_in.weight"

  /// All supported families.
  static let all = [
    // BitNet b1.58 2B-4T, in files for bitnet.cpp; the second name is that of the first files.
    GGUFFamily(
      architectures: ["bitnet-b1.58", "bitnet-25"], activation: .squaredReLU, names: .ggufBitNet,
      interleavesHeads: false),
    // 1bitLLM/bitnet_b1_58.
    GGUFFamily(architectures: ["bitnet"], activation: .silu, names: .ggufBitNet, interleavesHeads: false),
    GGUFFamily(architectures: ["llama"], activation: .silu, names: .ggufLlama, interleavesHeads: true),
    GGUFFamily(
      architectures: ["qwen3"], activation: .silu, names: .ggufQwen3, interleavesHeads: false, isEmbedding: true),
    GGUFFamily(
      architectures: ["gemma3"], activation: .geluTanh, names: .ggufGemma3, interleavesHeads: false, isEmbedding: true,
      scalesEmbedding: true, local: LocalLayers(period: 6, window: 512, ropeTheta: 10000)),
  ]

  /// Architectures of ternary models that cannot run yet, with the reason.
  static let others = [
    "gemma-embedding": "BitNet's embedding models are of the architecture gemma3",
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
    guard model.residualScale == 1, model.outputScale == 1, model.projectionNormEpsilon == nil else { return nil }
    return all.first { family in
      let norms = model.optionalNorms
      let scale = family.scalesEmbedding ? Double(model.hiddenSize).squareRoot() : 1
      guard family.activation == model.activation, model.embeddingScale == scale else { return false }
      if family.isEmbedding {
        return norms == family.optionalNorms || norms == family.optionalNorms.subtracting(Set.projectionNorms)
      }
      return norms == family.optionalNorms && model.attention == [.causal] && model.attentionScale == nil
    }
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

  /// Qwen 3's names in GGUF files, with those of Microsoft's converter for norms before projections.
  static let ggufQwen3 = TensorNames(
    projections: ggufProjections,
    norms: [
      .attention: ["attn_norm"], .feedForward: ["ffn_norm"], .queryHead: ["attn_q_norm"], .keyHead: ["attn_k_norm"],
    ]
  ).normingProjections("_norm_in")

  /// Gemma 3's names in GGUF files, whose norms are stored as they act.
  static let ggufGemma3 = TensorNames(
    projections: ggufProjections,
    norms: [
      .attention: ["attn_norm"], .attentionPost: ["post_attention_norm"], .feedForward: ["ffn_norm"],
      .feedForwardPost: ["post_ffw_norm"], .queryHead: ["attn_q_norm"], .keyHead: ["attn_k_norm"],
    ]
  ).normingProjections("_norm_in")

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
    /// YaRN as f64: factor, original context length, attention factor, fast and slow rotations, whether the ramp is of
    /// whole pairs.
    static let yarn = "swift-bitnet.yarn"
    /// How each layer attends as f64: the window or 0, whether it is bidirectional, its rotary base or 0.
    static let attention = "swift-bitnet.attention"
    /// The factor of scores as f64, where it is not the usual one.
    static let attentionScale = "swift-bitnet.attention_scale"
    /// The embedding model's pooling and prompts, as converted files hold them.
    static let embedding = "swift-bitnet.embedding"
    /// The end-of-sequence tokens, of which other keys hold only the first.
    static let endTokens = "swift-bitnet.end_tokens"
    /// The tokenizer as converted files hold it.
    static let tokenizer = "swift-bitnet.tokenizer"
  }

  static func block(_ index: Int) -> String { "blk.\(index)." }
}

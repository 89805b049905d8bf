package import BitNetInference

/// The names of the tensors in the checkpoints of a family.
///
/// Names of a block's tensors are relative to the block, without `.weight`: `self_attn.q_proj` for
/// `model.layers.0.self_attn.q_proj.weight`.
package struct TensorNames: Sendable, Equatable {
  /// The projections that are stacked in each matrix, from the first rows to the last.
  package var projections: [MatrixRole: [String]]
  /// The names that a norm may have, the usual one first. The family has the norms that have a name here.
  package var norms: [NormRole: [String]]
  /// Whether the weights of norms are stored less one, except those before single projections.
  package var storesNormsLessOne: Bool

  package init(
    projections: [MatrixRole: [String]] = Self.projections, norms: [NormRole: [String]],
    storesNormsLessOne: Bool = false
  ) {
    self.projections = projections
    self.norms = norms
    self.storesNormsLessOne = storesNormsLessOne
  }

  /// These names with those of norms before each projection: the projection's name and a suffix.
  func normingProjections(_ suffix: String) -> TensorNames {
    var names = self
    for (role, projections) in projections {
      for (norm, projection) in zip(role.partNorms, projections) { names.norms[norm] = [projection + suffix] }
    }
    return names
  }

  /// The names of projections in nearly all families.
  package static let projections: [MatrixRole: [String]] = [
    .queryKeyValue: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    .attentionOutput: ["self_attn.o_proj"],
    .gateUp: ["mlp.gate_proj", "mlp.up_proj"],
    .down: ["mlp.down_proj"],
  ]

  /// Llama's names.
  package static let llama = TensorNames(norms: [
    .attention: ["input_layernorm"], .feedForward: ["post_attention_layernorm"],
  ])

  /// Qwen 3's names.
  static let qwen3 = TensorNames(norms: [
    .attention: ["input_layernorm"], .feedForward: ["post_attention_layernorm"],
    .queryHead: ["self_attn.q_norm"], .keyHead: ["self_attn.k_norm"],
  ])

  /// Gemma 3's names.
  static let gemma3 = TensorNames(
    norms: [
      .attention: ["input_layernorm"], .attentionPost: ["post_attention_layernorm"],
      .feedForward: ["pre_feedforward_layernorm"], .feedForwardPost: ["post_feedforward_layernorm"],
      .queryHead: ["self_attn.q_norm"], .keyHead: ["self_attn.k_norm"],
    ], storesNormsLessOne: true)

  /// The names of BitNet b1.58 2B-4T. The second name of each sub-norm is that of the first public reproduction,
  /// 1bitLLM/bitnet_b1_58.
  package static let bitNet = TensorNames(norms: [
    .attention: ["input_layernorm"], .feedForward: ["post_attention_layernorm"],
    .attentionSub: ["self_attn.attn_sub_norm", "self_attn.inner_attn_ln"],
    .feedForwardSub: ["mlp.ffn_sub_norm", "mlp.ffn_layernorm"],
  ])
}

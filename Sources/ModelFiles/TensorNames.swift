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

  package init(projections: [MatrixRole: [String]] = Self.projections, norms: [NormRole: [String]]) {
    self.projections = projections
    self.norms = norms
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

  /// The names of BitNet b1.58 2B-4T. The second name of each sub-norm is that of the first public reproduction,
  /// 1bitLLM/bitnet_b1_58.
  package static let bitNet = TensorNames(norms: [
    .attention: ["input_layernorm"], .feedForward: ["post_attention_layernorm"],
    .attentionSub: ["self_attn.attn_sub_norm", "self_attn.inner_attn_ln"],
    .feedForwardSub: ["mlp.ffn_sub_norm", "mlp.ffn_layernorm"],
  ])
}

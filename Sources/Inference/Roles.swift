/// The place of a ternary matrix in a transformer block, in the order of a forward pass. Matrices with the same input
/// are stacked in one.
package enum MatrixRole: Int, CaseIterable, Sendable {
  /// q over k over v: reads the normalised residual stream.
  case queryKeyValue
  /// The attention's output projection: reads the concatenated heads, its product is added to the residual stream.
  case attentionOutput
  /// Gate over up: reads the normalised residual stream.
  case gateUp
  /// The feed-forward part's output projection: reads the gated activation, its product is added to the residual
  /// stream.
  case down

  /// The norm of the matrix's input. For `attentionOutput` and `down` it is a sub-norm, which a model may lack.
  package var inputNorm: NormRole {
    switch self {
    case .queryKeyValue: .attention
    case .attentionOutput: .attentionSub
    case .gateUp: .feedForward
    case .down: .feedForwardSub
    }
  }

  /// What error messages call the matrix.
  package var name: String {
    switch self {
    case .queryKeyValue: "q, k, v"
    case .attentionOutput: "attention output"
    case .gateUp: "gate, up"
    case .down: "down"
    }
  }
}

/// The place of an RMSNorm in a transformer block, in the order of a forward pass. Every block has `attention` and
/// `feedForward`; the others are optional, `ModelConfiguration.optionalNorms` says which a model has.
package enum NormRole: String, CaseIterable, Sendable, Codable {
  /// Over the residual stream before the q, k and v projections: hidden size.
  case attention
  /// Over each query head by itself, after the projection and before the rotary embedding; all heads share the weights:
  /// head size.
  case queryHead
  /// Over each key head, as `queryHead`: head size.
  case keyHead
  /// Over the concatenated heads before the attention's output projection (SubLN): query width.
  case attentionSub
  /// Over the attention's output before it is added to the residual stream: hidden size.
  case attentionPost
  /// Over the residual stream before the gate and up projections: hidden size.
  case feedForward
  /// Over the gated activation before the down projection (SubLN): feed-forward size.
  case feedForwardSub
  /// Over the feed-forward part's output before it is added to the residual stream: hidden size.
  case feedForwardPost

  /// Whether a model may lack the norm.
  package var isOptional: Bool { self != .attention && self != .feedForward }

  /// What error messages call the norm.
  package var name: String {
    switch self {
    case .attention: "attention norm"
    case .queryHead: "query head norm"
    case .keyHead: "key head norm"
    case .attentionSub: "attention sub-norm"
    case .attentionPost: "attention post-norm"
    case .feedForward: "feed-forward norm"
    case .feedForwardSub: "feed-forward sub-norm"
    case .feedForwardPost: "feed-forward post-norm"
    }
  }
}

extension Set<NormRole> {
  /// The norms before the two projections that write to the residual stream.
  package static let subNorms: Set<NormRole> = [.attentionSub, .feedForwardSub]
}

extension ModelConfiguration {
  /// The shape of a block's matrix: the rows of each stacked part, and the columns they share.
  package func shape(of role: MatrixRole) -> (rows: [Int], columns: Int) {
    switch role {
    case .queryKeyValue: ([queryWidth, keyValueWidth, keyValueWidth], hiddenSize)
    case .attentionOutput: ([hiddenSize], queryWidth)
    case .gateUp: ([feedForwardSize, feedForwardSize], hiddenSize)
    case .down: ([hiddenSize], feedForwardSize)
    }
  }

  /// How many weights a block's norm has; nil if the model has no such norm.
  package func width(of role: NormRole) -> Int? {
    guard !role.isOptional || optionalNorms.contains(role) else { return nil }
    return switch role {
    case .attention, .attentionPost, .feedForward, .feedForwardPost: hiddenSize
    case .queryHead, .keyHead: headSize
    case .attentionSub: queryWidth
    case .feedForwardSub: feedForwardSize
    }
  }

  /// The norms that each of the model's blocks has, with their widths, in the order of a forward pass.
  package var norms: [(role: NormRole, width: Int)] {
    NormRole.allCases.compactMap { role in width(of: role).map { (role, $0) } }
  }
}

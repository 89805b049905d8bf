/// The role of a ternary matrix in a transformer block, in the order of a forward pass. Matrices with the same input
/// are stacked into one.
package enum MatrixRole: Int, CaseIterable, Sendable {
  /// q, k and v stacked; reads the normalised residual stream.
  case queryKeyValue
  /// The attention's output projection; reads the concatenated heads and adds its product to the residual stream.
  case attentionOutput
  /// Gate and up stacked; reads the normalised residual stream.
  case gateUp
  /// The feed-forward part's output projection; reads the gated activation and adds its product to the residual stream.
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

  /// The norms of the stacked parts' own inputs, which come after `inputNorm` and which a model may lack.
  package var partNorms: [NormRole] {
    switch self {
    case .queryKeyValue: [.queryInput, .keyInput, .valueInput]
    case .attentionOutput: [.attentionOutputInput]
    case .gateUp: [.gateInput, .upInput]
    case .down: [.downInput]
    }
  }

  /// The matrix's name in error messages.
  package var name: String {
    switch self {
    case .queryKeyValue: "q, k, v"
    case .attentionOutput: "attention output"
    case .gateUp: "gate, up"
    case .down: "down"
    }
  }
}

/// The role of an RMSNorm in a transformer block, in the order of a forward pass. Every block has `attention` and
/// `feedForward`; `ModelConfiguration.optionalNorms` lists which of the others a model has.
package enum NormRole: String, CaseIterable, Sendable, Codable {
  /// Over the residual stream before the q, k and v projections: hidden size.
  case attention
  /// Over each query head separately, after the projection and before the rotary embedding; all heads share the
  /// weights: head size.
  case queryHead
  /// Over each key head, like `queryHead`: head size.
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
  /// Over the input of the query projection alone, after `attention`: hidden size.
  case queryInput
  /// Over the input of the key projection alone, after `attention`: hidden size.
  case keyInput
  /// Over the input of the value projection alone, after `attention`: hidden size.
  case valueInput
  /// Over the input of the attention's output projection, after `attentionSub`: query width.
  case attentionOutputInput
  /// Over the input of the gate projection alone, after `feedForward`: hidden size.
  case gateInput
  /// Over the input of the up projection alone, after `feedForward`: hidden size.
  case upInput
  /// Over the input of the down projection, after `feedForwardSub`: feed-forward size.
  case downInput

  /// Whether a model may lack the norm.
  package var isOptional: Bool { self != .attention && self != .feedForward }

  /// The norm's name in error messages.
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
    case .queryInput: "norm of q's input"
    case .keyInput: "norm of k's input"
    case .valueInput: "norm of v's input"
    case .attentionOutputInput: "norm of the attention output's input"
    case .gateInput: "norm of gate's input"
    case .upInput: "norm of up's input"
    case .downInput: "norm of down's input"
    }
  }
}

extension Set<NormRole> {
  /// The norms before the two projections that write to the residual stream.
  package static let subNorms: Set<NormRole> = [.attentionSub, .feedForwardSub]
  /// The norms of each projection's own input, besides those of the stacked projections' common input.
  package static let projectionNorms = Set(MatrixRole.allCases.flatMap(\.partNorms))
}

extension ModelConfiguration {
  /// The shape of a block's matrix: the rows of each stacked part and their common number of columns.
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
    case .attention, .attentionPost, .feedForward, .feedForwardPost, .queryInput, .keyInput, .valueInput, .gateInput,
      .upInput:
      hiddenSize
    case .queryHead, .keyHead: headSize
    case .attentionSub, .attentionOutputInput: queryWidth
    case .feedForwardSub, .downInput: feedForwardSize
    }
  }

  /// The norms of each block with their widths, in the order of a forward pass.
  package var norms: [(role: NormRole, width: Int)] {
    NormRole.allCases.compactMap { role in width(of: role).map { (role, $0) } }
  }
}

/// A part of the arithmetic that BitNet's language models do not need.
package enum ModelFeature: CaseIterable, Sendable {
  case headNorms, postNorms, geluTanh, attentionWindow, bidirectionalAttention, ropeThetaByLayer
  case attentionScale, embeddingScale, residualScale, outputScale, projectionNorms, yarnScaling
}

extension ModelConfiguration {
  /// Whether the model needs a feature.
  package func has(_ feature: ModelFeature) -> Bool {
    switch feature {
    case .headNorms: !optionalNorms.isDisjoint(with: [.queryHead, .keyHead])
    case .postNorms: !optionalNorms.isDisjoint(with: [.attentionPost, .feedForwardPost])
    case .geluTanh: activation == .geluTanh
    case .attentionWindow: attention.contains { $0.window != nil }
    case .bidirectionalAttention: isBidirectional
    case .ropeThetaByLayer: attention.contains { $0.ropeTheta != nil }
    case .attentionScale: attentionScale != nil
    case .embeddingScale: embeddingScale != 1
    case .residualScale: residualScale != 1
    case .outputScale: outputScale != 1
    case .projectionNorms: !optionalNorms.isDisjoint(with: Set.projectionNorms)
    case .yarnScaling: yarnScaling != nil
    }
  }
}

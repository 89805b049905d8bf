/// A part of the arithmetic that only some models need and only some engines support. The reference supports all.
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

  /// - Parameters:
  ///   - features: the features that the engine supports.
  ///   - engine: the engine's name in the error, such as "the CPU engine".
  /// - Throws: `EngineError.parameter` naming the first feature that the model needs and the engine lacks.
  package func requireOnly(_ features: Set<ModelFeature> = [], on engine: String) throws(EngineError) {
    for feature in ModelFeature.allCases where has(feature) && !features.contains(feature) {
      let (name, found, expected) = description(of: feature)
      throw .parameter(
        name: "the model's \(name)", found: found,
        expected: "\(expected) on \(engine); the CPU engine (--device cpu) runs the model")
    }
  }

  private func description(of feature: ModelFeature) -> (name: String, found: String, expected: String) {
    func norms(_ roles: [NormRole]) -> String {
      roles.filter(optionalNorms.contains).map(\.name).joined(separator: " and ")
    }
    func first<Value>(_ value: KeyPath<Attention, Value?>) -> Value? {
      attention.lazy.compactMap { $0[keyPath: value] }.first
    }
    return switch feature {
    case .headNorms: ("normalisation of heads", "a \(norms([.queryHead, .keyHead]))", "none")
    case .postNorms: ("normalisation of a block's outputs", "an \(norms([.attentionPost, .feedForwardPost]))", "none")
    case .geluTanh:
      ("activation", activation.rawValue, "\(Activation.squaredReLU.rawValue) or \(Activation.silu.rawValue)")
    case .attentionWindow:
      ("attention window", "\(first(\.window) ?? 0) positions", "attention to all earlier positions")
    case .bidirectionalAttention: ("attention", "bidirectional", "causal attention")
    case .ropeThetaByLayer: ("rope_theta of some layers", "\(first(\.ropeTheta) ?? 0)", "one rope_theta for all layers")
    case .attentionScale: ("attention scale", "\(attentionScale ?? 1)", "1 / √head_dim")
    case .embeddingScale: ("embedding scale", "\(embeddingScale)", "1")
    case .residualScale: ("residual scale", "\(residualScale)", "1")
    case .outputScale: ("output scale", "\(outputScale)", "1")
    case .projectionNorms:
      ("normalisation before projections", "a norm for each projection", "one norm for projections of the same input")
    case .yarnScaling: ("rotary scaling", "YaRN", "none, or that of Llama 3.1")
    }
  }
}

import BitNetInference
import Testing

@Suite("A model feature")
struct ModelFeatureTests {
  private static let plain = ModelConfiguration(
    architecture: "test", vocabularySize: 10, hiddenSize: 8, feedForwardSize: 8, layerCount: 2, headCount: 2,
    keyValueHeadCount: 1,
    headSize: 4, contextLength: 100, normEpsilon: 1e-5, ropeTheta: 10000, activation: .silu, optionalNorms: [],
    tiedEmbedding: true)

  private static func model(with feature: ModelFeature) -> ModelConfiguration {
    var model = plain
    switch feature {
    case .headNorms: model.optionalNorms = [.queryHead, .keyHead]
    case .postNorms: model.optionalNorms = [.attentionPost]
    case .geluTanh: model.activation = .geluTanh
    case .attentionWindow: model.attention = [.init(window: 7), .causal]
    case .bidirectionalAttention: model.attention = [.init(isBidirectional: true)]
    case .ropeThetaByLayer: model.attention = [.init(ropeTheta: 500), .causal]
    case .attentionScale: model.attentionScale = 0.25
    case .embeddingScale: model.embeddingScale = 8
    case .residualScale: model.residualScale = 0.5
    case .outputScale: model.outputScale = 2
    case .projectionNorms: model.optionalNorms = [.downInput]
    case .yarnScaling: model.yarnScaling = .init(factor: 4, originalContextLength: 25)
    }
    return model
  }

  @Test("is valid and is detected", arguments: ModelFeature.allCases)
  func features(feature: ModelFeature) throws {
    let model = Self.model(with: feature)
    try model.validate()
    #expect(ModelFeature.allCases.filter(model.has) == [feature])
  }

  @Test("is absent from a plain model")
  func plainModel() throws {
    #expect(!ModelFeature.allCases.contains(where: Self.plain.has))
  }

  @Test("is refused with the name of its field when its value is out of range")
  func validation() {
    let changes: [(field: String, change: (inout ModelConfiguration) -> Void)] = [
      ("attention", { $0.attention = [] }), ("attention", { $0.attention = [.causal, .causal, .causal] }),
      ("attention.window", { $0.attention = [.init(window: 0)] }),
      ("attention.ropeTheta", { $0.attention = [.init(ropeTheta: .nan)] }),
      ("attentionScale", { $0.attentionScale = 0 }), ("embeddingScale", { $0.embeddingScale = .infinity }),
      ("residualScale", { $0.residualScale = -1 }), ("outputScale", { $0.outputScale = .nan }),
      ("norms", { $0.optionalNorms = [.attention] }), ("projectionNormEpsilon", { $0.projectionNormEpsilon = -1 }),
      ("yarnScaling.factor", { $0.yarnScaling = .init(factor: 0.5, originalContextLength: 25) }),
      ("yarnScaling.originalContextLength", { $0.yarnScaling = .init(factor: 2, originalContextLength: 0) }),
      (
        "yarnScaling.attentionFactor",
        { $0.yarnScaling = .init(factor: 2, originalContextLength: 25, attentionFactor: .nan) }
      ),
      (
        "yarnScaling.fastRotations",
        { $0.yarnScaling = .init(factor: 2, originalContextLength: 25, fastRotations: 1, slowRotations: 2) }
      ),
    ]
    for (field, change) in changes {
      var model = Self.plain
      change(&model)
      let error = #expect(throws: ConfigurationError.self) { try model.validate() }
      #expect(error?.field == field)
    }
  }
}

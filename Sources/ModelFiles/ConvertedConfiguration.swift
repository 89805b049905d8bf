import BitNetInference
import BitNetJSON

extension ModelConfiguration {
  /// Reads the configuration in a converted file, which `encode(to:)` wrote. Fields that a model of the first version
  /// cannot have may be missing.
  init(_ json: JSONValue) throws(JSONError) {
    var fields = try json.fields()
    var norms: Set<NormRole> = try fields["hasSubNorms"].bool() ? .subNorms : []
    if let others = try fields["norms"].ifPresent?.elements() {
      for other in others { norms.insert(try other.choice(among: "the name of a norm", NormRole.init)) }
    }
    var attention: [Attention] = [.causal]
    if let layers = try fields["attention"].ifPresent?.elements() {
      attention = []
      for layer in layers { attention.append(try Attention(layer)) }
    }
    self.init(
      architecture: try fields["architecture"].string(),
      vocabularySize: try fields["vocabularySize"].integer(),
      hiddenSize: try fields["hiddenSize"].integer(),
      feedForwardSize: try fields["feedForwardSize"].integer(),
      layerCount: try fields["layerCount"].integer(),
      headCount: try fields["headCount"].integer(),
      keyValueHeadCount: try fields["keyValueHeadCount"].integer(),
      headSize: try fields["headSize"].integer(),
      contextLength: try fields["contextLength"].integer(),
      normEpsilon: try fields["normEpsilon"].number(),
      projectionNormEpsilon: try fields["projectionNormEpsilon"].ifPresent?.number(),
      ropeTheta: try fields["ropeTheta"].number(),
      ropeScaling: try fields["ropeScaling"].ifPresent.map(RotaryScaling.init),
      yarnScaling: try fields["yarnScaling"].ifPresent.map(YarnScaling.init),
      activation: try fields["activation"].choice(among: Self.activationNames, Activation.init),
      optionalNorms: norms,
      attention: attention,
      attentionScale: try fields["attentionScale"].ifPresent?.number(),
      embeddingScale: try fields["embeddingScale"].ifPresent?.number() ?? 1,
      residualScale: try fields["residualScale"].ifPresent?.number() ?? 1,
      outputScale: try fields["outputScale"].ifPresent?.number() ?? 1,
      tiedEmbedding: try fields["tiedEmbedding"].bool(),
      beginToken: try fields["beginToken"].ifPresent?.integer(as: Int32.self),
      endTokens: try fields["endTokens"].tokenIDs())
  }
}

extension ModelConfiguration {
  /// The names of activations in files, for errors.
  static let activationNames = "relu2, silu or gelu_pytorch_tanh"
}

extension ModelConfiguration.RotaryScaling {
  fileprivate init(_ json: JSONValue) throws(JSONError) {
    var fields = try json.fields()
    self.init(
      factor: try fields["factor"].number(), lowFrequencyFactor: try fields["lowFrequencyFactor"].number(),
      highFrequencyFactor: try fields["highFrequencyFactor"].number(),
      originalContextLength: try fields["originalContextLength"].integer())
  }
}

extension ModelConfiguration.YarnScaling {
  fileprivate init(_ json: JSONValue) throws(JSONError) {
    var fields = try json.fields()
    self.init(
      factor: try fields["factor"].number(),
      originalContextLength: try fields["originalContextLength"].integer(),
      attentionFactor: try fields["attentionFactor"].number(), fastRotations: try fields["fastRotations"].number(),
      slowRotations: try fields["slowRotations"].number(), truncates: try fields["truncates"].bool())
  }
}

extension ModelConfiguration.Attention {
  fileprivate init(_ json: JSONValue) throws(JSONError) {
    var fields = try json.fields()
    self.init(
      window: try fields["window"].ifPresent?.integer(),
      isBidirectional: try fields["isBidirectional"].ifPresent?.bool() ?? false,
      ropeTheta: try fields["ropeTheta"].ifPresent?.number())
  }
}

extension JSONValue {
  /// A string that is one of a few words.
  fileprivate func choice<Choice>(
    among choices: String, _ choice: (String) -> Choice?
  ) throws(JSONError) -> Choice {
    guard let found = choice(try string()) else { throw error(expected: choices) }
    return found
  }
}

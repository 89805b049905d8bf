// Fields added after the first version of the file format are optional or have a default, and are written only when
// they differ from it. So files of older models stay byte-for-byte the same, and files written before a field existed
// can be read.

extension ModelConfiguration: Encodable {
  private enum CodingKeys: String, CodingKey {
    case architecture, vocabularySize, hiddenSize, feedForwardSize, layerCount, headCount, keyValueHeadCount, headSize,
      contextLength,
      normEpsilon, ropeTheta, ropeScaling, activation, hasSubNorms, tiedEmbedding, beginToken, endTokens
    /// Optional norms that `hasSubNorms` does not cover.
    case norms
    case attention, attentionScale, embeddingScale, residualScale, outputScale, projectionNormEpsilon, yarnScaling
  }

  /// Writes a configuration as converted files store it.
  package func encode(to encoder: any Encoder) throws {
    var fields = encoder.container(keyedBy: CodingKeys.self)
    try fields.encode(architecture, forKey: .architecture)
    try fields.encode(vocabularySize, forKey: .vocabularySize)
    try fields.encode(hiddenSize, forKey: .hiddenSize)
    try fields.encode(feedForwardSize, forKey: .feedForwardSize)
    try fields.encode(layerCount, forKey: .layerCount)
    try fields.encode(headCount, forKey: .headCount)
    try fields.encode(keyValueHeadCount, forKey: .keyValueHeadCount)
    try fields.encode(headSize, forKey: .headSize)
    try fields.encode(contextLength, forKey: .contextLength)
    try fields.encode(normEpsilon, forKey: .normEpsilon)
    try fields.encode(ropeTheta, forKey: .ropeTheta)
    try fields.encodeIfPresent(ropeScaling, forKey: .ropeScaling)
    try fields.encode(activation, forKey: .activation)
    try fields.encode(hasSubNorms, forKey: .hasSubNorms)
    let others = hasSubNorms ? optionalNorms.subtracting(Set.subNorms) : optionalNorms
    if !others.isEmpty { try fields.encode(NormRole.allCases.filter(others.contains), forKey: .norms) }
    if attention != [.causal] { try fields.encode(attention, forKey: .attention) }
    try fields.encodeIfPresent(attentionScale, forKey: .attentionScale)
    if embeddingScale != 1 { try fields.encode(embeddingScale, forKey: .embeddingScale) }
    if residualScale != 1 { try fields.encode(residualScale, forKey: .residualScale) }
    if outputScale != 1 { try fields.encode(outputScale, forKey: .outputScale) }
    try fields.encodeIfPresent(projectionNormEpsilon, forKey: .projectionNormEpsilon)
    try fields.encodeIfPresent(yarnScaling, forKey: .yarnScaling)
    try fields.encode(tiedEmbedding, forKey: .tiedEmbedding)
    try fields.encodeIfPresent(beginToken, forKey: .beginToken)
    try fields.encode(endTokens, forKey: .endTokens)
  }
}

extension ModelConfiguration.Attention: Encodable {
  private enum CodingKeys: String, CodingKey {
    case window, isBidirectional, ropeTheta
  }

  package func encode(to encoder: any Encoder) throws {
    var fields = encoder.container(keyedBy: CodingKeys.self)
    try fields.encodeIfPresent(window, forKey: .window)
    if isBidirectional { try fields.encode(true, forKey: .isBidirectional) }
    try fields.encodeIfPresent(ropeTheta, forKey: .ropeTheta)
  }
}

import BitNetInference

/// The keys of GGUF files about attention that only some architectures have.
extension GGUFModelFields {
  /// How each layer attends: as this library wrote it down, or by the keys of other programs, or as the architecture
  /// does where they say nothing.
  ///
  /// - Parameter layerCount: not yet checked.
  func attention(
    of family: GGUFFamily, layerCount: Int
  ) throws(ModelFileError) -> [ModelConfiguration.Attention] {
    guard 1...4096 ~= layerCount else { return [.causal] }  // refused when the configuration is validated
    if let own = try metadata.numbers(GGUFName.Own.attention) {
      guard own.count % 3 == 0, 1...layerCount ~= own.count / 3 else {
        throw metadata.refusal(
          GGUFName.Own.attention, "holds \(own.count) numbers", expected: "three for each of up to \(layerCount) layers"
        )
      }
      return try (0..<own.count / 3).map { (layer) throws(ModelFileError) in
        guard let window = Int(exactly: own[3 * layer]) else {
          throw metadata.refusal(
            GGUFName.Own.attention, "holds the window \(own[3 * layer])", expected: "a whole number")
        }
        let theta = own[3 * layer + 2]
        return .init(
          window: window == 0 ? nil : window, isBidirectional: own[3 * layer + 1] != 0,
          ropeTheta: theta == 0 ? nil : theta)
      }
    }
    if let causal = try metadata.bool(key("attention.causal")), !causal {
      throw unsupported("attention.causal", "false", "true: how far windows reach forwards is not in the file")
    }
    let window = try integer("attention.sliding_window") ?? family.local?.window ?? 0
    guard window > 0, let local = family.local else {
      guard window == 0 else { throw unsupported("attention.sliding_window", window, "0") }
      return [.causal]
    }
    let theta = try decimal("rope.freq_base_swa") ?? local.ropeTheta
    let period = try integer("attention.sliding_window_pattern") ?? local.period
    guard 1...4096 ~= period else {
      throw metadata.refusal(key("attention.sliding_window_pattern"), "is \(period)", expected: "1 to 4096")
    }
    let layers = (1...layerCount).map { layer in
      layer % period == 0 ? ModelConfiguration.Attention.causal : .init(window: window, ropeTheta: theta)
    }
    return layers.allSatisfy { $0 == layers[0] } ? [layers[0]] : layers
  }

  /// Nil for the usual one.
  func attentionScale(headSize: Int) throws(ModelFileError) -> Double? {
    if let own = try metadata.numbers(GGUFName.Own.attentionScale) {
      guard own.count == 1 else {
        throw metadata.refusal(GGUFName.Own.attentionScale, "holds \(own.count) numbers", expected: "1")
      }
      return own[0]
    }
    guard let scale = try decimal("attention.scale"), headSize > 0 else { return nil }
    let usual = 1 / Double(headSize).squareRoot()
    return abs(scale / usual - 1) < 1e-6 ? nil : scale
  }

  /// Nil if the file has no YaRN.
  func yarnScaling(contextLength: Int) throws(ModelFileError) -> ModelConfiguration.YarnScaling? {
    guard try metadata.string(key("rope.scaling.type")) == "yarn" else { return nil }
    if let own = try metadata.numbers(GGUFName.Own.yarn) {
      guard own.count == 6, let length = Int(exactly: own[1]) else {
        throw metadata.refusal(
          GGUFName.Own.yarn, "holds \(own.count) numbers", expected: "6, the second one whole")
      }
      return .init(
        factor: own[0], originalContextLength: length, attentionFactor: own[2], fastRotations: own[3],
        slowRotations: own[4], truncates: own[5] != 0)
    }
    let factor = try metadata.required(key("rope.scaling.factor"), decimal("rope.scaling.factor"))
    let usual = ModelConfiguration.YarnScaling.attentionFactor(factor)
    return .init(
      factor: factor,
      originalContextLength: try integer("rope.scaling.original_context_length") ?? contextLength,
      attentionFactor: usual * (try decimal("rope.scaling.attn_factor") ?? 1),
      fastRotations: try decimal("rope.scaling.yarn_beta_fast") ?? 32,
      slowRotations: try decimal("rope.scaling.yarn_beta_slow") ?? 1)
  }
}

import BitNetInference

/// The families of BitNet's embedding models, whose projections each have a norm of their own.
extension ModelFamily {
  /// Qwen 3: norms of heads.
  static func qwen3(_ architecture: String, modelType: String? = nil) -> ModelFamily {
    ModelFamily(
      architecture: architecture, modelType: modelType, hasMasters: true, normsProjections: true, names: .qwen3
    ) { (fields, model) throws(ModelFileError) in
      if !architecture.hasSuffix("ForCausalLM") { model.tiedEmbedding = true }
      var windows: [Int?] = [nil]
      if try fields.flag("use_sliding_window") == true {
        let first = try fields.integerIfPresent("max_window_layers") ?? 28
        windows = try fields.windows(of: model) { $0 >= first }
      }
      try fields.setAttention(of: &model, windows: windows)
    }
  }

  /// Gemma 3: norms of heads and of a block's outputs, sliding windows with a rotary base of their own, scaled
  /// embeddings, and norms whose weights are stored less one.
  static func gemma3(_ architecture: String, modelType: String? = nil) -> ModelFamily {
    ModelFamily(
      architecture: architecture, modelType: modelType, hasMasters: true, normsProjections: true, names: .gemma3
    ) { (fields, model) throws(ModelFileError) in
      for name in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if let cap = try fields.numberIfPresent(name) { throw fields.unsupported(name, cap, "null") }
      }
      // Gemma's configurations leave out what has its default.
      model.tiedEmbedding = try fields.flag("tie_word_embeddings") ?? true
      if !architecture.hasSuffix("ForCausalLM") { model.tiedEmbedding = true }
      model.embeddingScale = Double(model.hiddenSize).squareRoot()
      let scalar = try fields.numberIfPresent("query_pre_attn_scalar") ?? 256
      guard scalar > 0, scalar <= 1e12 else {
        throw fields.invalid("query_pre_attn_scalar", scalar, "a number above 0, at most 1e12")
      }
      model.attentionScale = scalar == Double(model.headSize) ? nil : 1 / scalar.squareRoot()
      let given = try fields.integerIfPresent("sliding_window_pattern") ?? 6
      let pattern = try fields.integerIfPresent("_sliding_window_pattern") ?? given
      guard 1...4096 ~= pattern else { throw fields.invalid("sliding_window_pattern", pattern, "1 to 4096") }
      let windows = try fields.windows(of: model) { ($0 + 1) % pattern != 0 }
      let theta = try fields.numberIfPresent("rope_local_base_freq") ?? 10000
      try fields.setAttention(of: &model, windows: windows, slidingTheta: fields.slidingTheta ?? theta)
    }
  }
}

extension ConfigurationFields {
  /// Each layer's window: `sliding_window` in the layers that `layer_types` names, or by their number if it is missing.
  fileprivate func windows(of model: ModelConfiguration, isSliding: (Int) -> Bool) throws(ModelFileError) -> [Int?] {
    let types = try stringsIfPresent("layer_types")
    if let types {
      guard types.count == model.layerCount else {
        throw invalid("layer_types", "a list of \(types.count)", "\(model.layerCount) entries, one for each layer")
      }
      if let other = types.first(where: { $0 != "sliding_attention" && $0 != "full_attention" }) {
        throw unsupported("layer_types", "a list with \(other)", "sliding_attention or full_attention")
      }
    }
    guard 1...4096 ~= model.layerCount else { return [nil] }  // refused when the configuration is validated
    let sliding = types?.map { $0 == "sliding_attention" } ?? (0..<model.layerCount).map(isSliding)
    guard sliding.contains(true) else { return sliding.map { _ in nil } }
    let window = try integer("sliding_window")
    return sliding.map { $0 ? window : nil }
  }

  /// Sets the layers' attention, which is bidirectional if the file says so.
  fileprivate func setAttention(
    of model: inout ModelConfiguration, windows: [Int?], slidingTheta: Double? = nil
  ) throws(ModelFileError) {
    let both = try flag("use_bidirectional_attention") == true
    let isCausal = try flag("is_causal") ?? true
    let isBidirectional = both || !isCausal
    let layers = windows.map { window in
      ModelConfiguration.Attention(
        // A bidirectional window is the whole width, of which half lies on each side.
        window: window.map { isBidirectional && $0 > 0 ? $0 / 2 + 1 : $0 }, isBidirectional: isBidirectional,
        ropeTheta: window == nil ? nil : slidingTheta)
    }
    model.attention = layers.allSatisfy { $0 == layers[0] } ? [layers[0]] : layers
  }
}

import BitNetInference
import BitNetTernary

/// A Hugging Face checkpoint whose tensors have all been found and checked against its configuration.
struct HuggingFaceCheckpoint: Sendable {
  /// One transformer block's tensors.
  struct Layer: Sendable {
    let attentionNorm: StoredTensor
    let queryKeyValue: ProjectionStack
    let attentionSubNorm: StoredTensor?
    let attentionOutput: ProjectionStack
    let feedForwardNorm: StoredTensor
    let gateUp: ProjectionStack
    let feedForwardSubNorm: StoredTensor?
    let down: ProjectionStack

    var stacks: [ProjectionStack] { [queryKeyValue, attentionOutput, gateUp, down] }
  }

  let configuration: HuggingFaceConfiguration
  let tensors: SafetensorsFolder
  let layers: [Layer]
  let embedding: StoredTable
  /// Nil when the embedding is the head.
  let head: StoredTable?
  let finalNorm: StoredTensor

  /// - Throws: `ModelFileError` naming the first tensor that is missing, has the wrong type or shape, or that would be ignored
  ///   although it looks like a weight.
  init(configuration: HuggingFaceConfiguration, tensors: SafetensorsFolder) throws(ModelFileError) {
    let model = configuration.model
    let prefix = tensors["model.embed_tokens.weight"] == nil && tensors["embed_tokens.weight"] != nil ? "" : "model."
    var finder = TensorFinder(tensors: tensors, meaning: configuration.scaleMeaning)

    embedding = try finder.table(prefix + "embed_tokens.weight", rows: model.vocabularySize, columns: model.hiddenSize)
    finalNorm = try finder.norm([prefix + "norm.weight"], count: model.hiddenSize)
    if model.tiedEmbedding {
      finder.ignore("lm_head.weight")  // some tied checkpoints carry a copy
      head = nil
    } else {
      head = try finder.table("lm_head.weight", rows: model.vocabularySize, columns: model.hiddenSize)
    }
    var layers: [Layer] = []
    for index in 0..<model.layerCount {
      layers.append(try finder.layer("\(prefix)layers.\(index).", name: ConvertedForm.layerPrefix(index), model: model))
    }
    try finder.requireNoStrangers(prefix: prefix)
    self.configuration = configuration
    self.tensors = tensors
    self.layers = layers
  }
}

/// Finds tensors by name and remembers which ones had a use.
private struct TensorFinder {
  let tensors: SafetensorsFolder
  let meaning: HuggingFaceConfiguration.ScaleMeaning?
  private var used: Set<String> = []

  init(tensors: SafetensorsFolder, meaning: HuggingFaceConfiguration.ScaleMeaning?) {
    self.tensors = tensors
    self.meaning = meaning
  }

  mutating func ignore(_ name: String) { used.insert(name) }

  mutating func table(_ name: String, rows: Int, columns: Int) throws(ModelFileError) -> StoredTable {
    used.insert(name)
    return try StoredTable(name: name, rows: rows, columns: columns, tensors: tensors)
  }

  /// A norm's weights, under the first of its names that is there.
  mutating func norm(_ names: [String], count: Int) throws(ModelFileError) -> StoredTensor {
    guard let name = names.first(where: { tensors[$0] != nil }), let tensor = tensors[name] else {
      throw ModelFileError(tensor: names[0], file: tensors.name, finding: "is missing", expected: "shape [\(count)]")
    }
    try tensor.require(StoredTensor.floatTypes, shape: [count])
    used.insert(name)
    return tensor
  }

  mutating func stack(
    _ name: String, _ parts: [(name: String, rows: Int)], columns: Int, in layer: String
  ) throws(ModelFileError) -> ProjectionStack {
    var projections: [StoredProjection] = []
    for part in parts {
      let weight = layer + part.name + ".weight"
      used.insert(weight)
      used.insert(weight + "_scale")
      projections.append(
        try StoredProjection(name: weight, rows: part.rows, columns: columns, tensors: tensors, meaning: meaning))
    }
    return ProjectionStack(name: name, parts: projections)
  }

  /// - Parameters:
  ///   - prefix: the layer's prefix in the checkpoint.
  ///   - name: its prefix in the converted form.
  mutating func layer(
    _ prefix: String, name: String, model: ModelConfiguration
  ) throws(ModelFileError) -> HuggingFaceCheckpoint.Layer {
    // The second name of each sub-norm is that of the first public reproduction, 1bitLLM/bitnet_b1_58.
    let attentionSubNorm = [prefix + "self_attn.attn_sub_norm.weight", prefix + "self_attn.inner_attn_ln.weight"]
    let feedForwardSubNorm = [prefix + "mlp.ffn_sub_norm.weight", prefix + "mlp.ffn_layernorm.weight"]
    return HuggingFaceCheckpoint.Layer(
      attentionNorm: try norm([prefix + "input_layernorm.weight"], count: model.hiddenSize),
      queryKeyValue: try stack(
        name + ConvertedForm.queryKeyValue,
        [
          ("self_attn.q_proj", model.queryWidth), ("self_attn.k_proj", model.keyValueWidth),
          ("self_attn.v_proj", model.keyValueWidth),
        ], columns: model.hiddenSize, in: prefix),
      attentionSubNorm: model.hasSubNorms ? try norm(attentionSubNorm, count: model.queryWidth) : nil,
      attentionOutput: try stack(
        name + ConvertedForm.attentionOutput, [("self_attn.o_proj", model.hiddenSize)], columns: model.queryWidth, in: prefix),
      feedForwardNorm: try norm([prefix + "post_attention_layernorm.weight"], count: model.hiddenSize),
      gateUp: try stack(
        name + ConvertedForm.gateUp, [("mlp.gate_proj", model.feedForwardSize), ("mlp.up_proj", model.feedForwardSize)],
        columns: model.hiddenSize, in: prefix),
      feedForwardSubNorm: model.hasSubNorms ? try norm(feedForwardSubNorm, count: model.feedForwardSize) : nil,
      down: try stack(
        name + ConvertedForm.down, [("mlp.down_proj", model.hiddenSize)], columns: model.feedForwardSize, in: prefix))
  }

  /// - Throws: `ModelFileError` for a tensor of the layers, the final norm or the head that nothing has asked for: a bias or an extra
  ///   norm would silently change the model's output.
  func requireNoStrangers(prefix: String) throws(ModelFileError) {
    for name in tensors.names where !used.contains(name) {
      guard name.hasPrefix(prefix + "layers.") || name.hasPrefix(prefix + "norm.") || name.hasPrefix("lm_head.") else { continue }
      // Tables of frequencies, which old checkpoints carry: a function of rope_theta.
      if name.hasSuffix("rotary_emb.inv_freq") { continue }
      throw ModelFileError(
        tensor: name, file: tensors[name]?.file.name ?? tensors.name, finding: "has no place in this architecture",
        expected: "only the weights that config.json describes")
    }
  }
}

import BitNetInference

extension Checkpoint {
  /// A Hugging Face checkpoint.
  ///
  /// - Throws: `ModelFileError` naming the first tensor that is missing, has the wrong type or shape, or is a weight
  ///   that the architecture does not use.
  init(configuration: HuggingFaceConfiguration, tensors: SafetensorsFolder) throws(ModelFileError) {
    let model = configuration.model
    let prefix = tensors["model.embed_tokens.weight"] == nil && tensors["embed_tokens.weight"] != nil ? "" : "model."
    var finder = TensorFinder(tensors)

    embedding = try finder.table(prefix + "embed_tokens.weight", rows: model.vocabularySize, columns: model.hiddenSize)
    finalNorm = try finder.norm(
      [prefix + "norm.weight"], count: model.hiddenSize, isStoredLessOne: configuration.names.storesNormsLessOne)
    if configuration.scaleMeaning == nil, let norm = configuration.names.norms[.queryInput]?.first {
      let first = "\(prefix)layers.0.\(norm).weight"
      guard tensors[first] != nil else {
        throw ModelFileError(
          .unsupported, file: tensors.name, subject: "quantization_config",
          finding: "is missing, and so is tensor \(first): this is not a BitNet model",
          expected: "a model with ternary weights, or a BitNet embedding model, which has norms before its projections")
      }
    }
    if model.tiedEmbedding {
      finder.use("lm_head.weight")  // some tied checkpoints have a copy
      head = nil
    } else {
      head = try finder.table("lm_head.weight", rows: model.vocabularySize, columns: model.hiddenSize)
    }
    var layers: [Layer] = []
    for index in 0..<model.layerCount {
      layers.append(
        try finder.layer(index, prefix: "\(prefix)layers.\(index).", names: configuration.names, of: model) {
          (finder, weight, rows, columns) throws(ModelFileError) in
          finder.use(weight + "_scale")
          return try StoredProjection(
            name: weight, rows: rows, columns: columns, tensors: tensors, meaning: configuration.scaleMeaning)
        })
    }
    try finder.requireNoStrangers(prefix: prefix)
    self.model = model
    self.name = tensors.name
    self.files = tensors.files
    self.tensors = tensors.files.flatMap { file in file.header.tensors.compactMap { file[$0.name] } }
    self.layers = layers
  }
}

extension TensorFinder {
  /// - Throws: `ModelFileError` for an unused tensor of the layers, the final norm or the head: ignoring a bias or an
  ///   extra norm would silently change the model's output.
  fileprivate func requireNoStrangers(prefix: String) throws(ModelFileError) {
    for name in tensors.names where !isUsed(name) {
      guard name.hasPrefix(prefix + "layers.") || name.hasPrefix(prefix + "norm.") || name.hasPrefix("lm_head.") else {
        continue
      }
      // Frequency tables of old checkpoints; they are a function of rope_theta.
      if name.hasSuffix("rotary_emb.inv_freq") { continue }
      throw ModelFileError(
        tensor: name, file: tensors[name]?.file.name ?? tensors.name, finding: "has no place in this architecture",
        expected: "only the weights that config.json describes")
    }
  }
}

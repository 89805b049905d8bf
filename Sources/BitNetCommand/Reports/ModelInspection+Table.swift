import BitNetInference
import BitNetModelFiles

extension ModelInspection {
  /// The results as rows of a table, in order.
  var table: [(label: String, value: String)] {
    let model = configuration
    let everything = files.reduce(0) { $0 + $1.byteCount }
    var rows: [(label: String, value: String)] = [
      ("format", format.rawValue),
      ("source", source),
      ("architecture", model.architecture),
      ("layers", "\(model.layerCount)"),
      ("hidden size", "\(model.hiddenSize)"),
      ("feed-forward size", "\(model.feedForwardSize), \(model.activation.rawValue)"),
      ("attention heads", "\(model.headCount) of \(model.headSize), \(model.keyValueHeadCount) key/value"),
      ("vocabulary", "\(model.vocabularySize.grouped), embedding \(model.tiedEmbedding ? "tied" : "not tied")"),
      ("sub-norms", model.hasSubNorms ? "yes" : "no"),
      ("context", "\(model.contextLength.grouped) tokens"),
      ("RoPE", rope),
      ("parameters", "\(parameters.total.grouped), of these \(parameters.ternary.grouped) ternary"),
      ("ternary weights", storage),
      ("bits per ternary weight", bitsPerTernaryWeight.decimals(2)),
      ("scales", scales.map { "\($0.count) from \($0.smallest) to \($0.largest)" } ?? "computed while loading"),
      ("codes", codesVerified ? "all valid" : "not read"),
      ("bytes, ternary", size(bytes.ternary)),
      ("bytes, embedding", size(bytes.embedding)),
    ]
    if bytes.head > 0 { rows.append(("bytes, output head", size(bytes.head))) }
    rows += [
      ("bytes, norms and scales", size(bytes.norms + scaleBytes)),
      ("bytes, other", size(otherBytes)),
      ("bytes, all", size(everything)),
      ("files", files.map(\.name).joined(separator: ", ")),
      ("tensors", "\(tensors.count)"),
      ("tokenizer", tokenizer ?? "none"),
      ("chat template", hasChatTemplate ? "yes" : "no"),
    ]
    if let generation, generation != GenerationDefaults() {
      let values = [
        generation.temperature.map { "temperature \($0)" }, generation.topP.map { "top-p \($0)" },
        generation.topK.map { "top-k \($0)" },
      ]
      rows.append(("sampling", values.compactMap(\.self).joined(separator: ", ")))
    }
    return rows
  }

  private var rope: String {
    let theta = "theta \(configuration.ropeTheta)"
    guard let scaling = configuration.ropeScaling else { return theta }
    return theta + ", llama3 scaling by \(scaling.factor) from \(scaling.originalContextLength.grouped) tokens"
  }
}

import BitNetInference

extension ModelInspection {
  /// The findings as lines of a table for people, in order.
  package var table: [(label: String, value: String)] {
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
      ("vocabulary", "\(grouped(model.vocabularySize)), embedding \(model.tiedEmbedding ? "tied" : "not tied")"),
      ("sub-norms", model.hasSubNorms ? "yes" : "no"),
      ("context", "\(grouped(model.contextLength)) tokens"),
      ("RoPE", rope),
      ("parameters", "\(grouped(parameters.total)), of these \(grouped(parameters.ternary)) ternary"),
      ("ternary weights", storage),
      ("bits per ternary weight", fixed(bitsPerTernaryWeight, 2)),
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
    return theta + ", llama3 scaling by \(scaling.factor) from \(grouped(scaling.originalContextLength)) tokens"
  }
}

/// A count with a comma between groups of three digits.
private func grouped(_ value: Int) -> String {
  let digits = Array(String(value))
  return digits.indices.reduce(into: "") { text, index in
    if index > 0, (digits.count - index) % 3 == 0 { text.append(",") }
    text.append(digits[index])
  }
}

/// A value at or above zero with a fixed number of decimals.
private func fixed(_ value: Double, _ decimals: Int) -> String {
  let unit = (0..<decimals).reduce(1) { unit, _ in unit * 10 }
  let scaled = Int((value * Double(unit)).rounded())
  let fraction = String(scaled % unit)
  return "\(scaled / unit)." + String(repeating: "0", count: decimals - fraction.count) + fraction
}

/// Bytes with a unit that keeps the number short.
private func size(_ bytes: Int) -> String {
  switch bytes {
  case 1_000_000_000...: fixed(Double(bytes) / 1e9, 2) + " GB"
  case 1_000_000...: fixed(Double(bytes) / 1e6, 1) + " MB"
  case 1_000...: fixed(Double(bytes) / 1e3, 1) + " kB"
  default: "\(bytes) bytes"
  }
}

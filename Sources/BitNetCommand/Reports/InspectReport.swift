import BitNet
import BitNetInference
import BitNetModelFiles
import BitNetTokenization

/// The results of `bitnet inspect`, as a table for people and as JSON.
struct InspectReport: Encodable {
  private enum Key: String, CodingKey {
    case chatFormat, endOfTurn, chatTemplateFault, chatTemplateWarning, fingerprint, digest
  }

  private let inspection: ModelInspection
  /// The format that the chat template is recognised as; nil if the files have none, or another one.
  private let chatFormat: String?
  /// The text after which a message of the model is complete; nil if that is unknown.
  private let endOfTurn: String?
  /// What is wrong with the chat template; nil if it is sound, or missing.
  private let chatTemplateFault: String?
  /// A sentence about special tokens of the chat template that the tokenizer lacks; nil if there are none.
  private let chatTemplateWarning: String?

  /// Nil if the weights would have to be read.
  private let fingerprint: ModelFingerprint?

  /// - Parameters:
  ///   - fingerprint: the model's, if it is known.
  ///   - tokenizer: the model's, if it has one that can be read.
  init(_ inspection: ModelInspection, _ fingerprint: ModelFingerprint?, tokenizer: Tokenizer?) {
    self.inspection = inspection
    self.fingerprint = fingerprint
    let jinja = inspection.chatTemplate
    chatFormat = jinja.flatMap { ChatTemplate(recognising: $0)?.name }
    do {
      let template = try jinja.map { (jinja) throws(JinjaError) in
        try ChatTemplate(jinja: jinja, tools: inspection.toolTemplate, beginText: nil, endText: nil)
      }
      endOfTurn = template?.endOfTurn
      chatTemplateWarning = tokenizer.flatMap { template?.warning(about: $0) }
      chatTemplateFault = nil
    } catch {
      endOfTurn = nil
      chatTemplateWarning = nil
      chatTemplateFault = "\(error)"
    }
  }

  func encode(to encoder: any Encoder) throws {
    try inspection.encode(to: encoder)
    var container = encoder.container(keyedBy: Key.self)
    try container.encode(chatFormat, forKey: .chatFormat)
    try container.encode(endOfTurn, forKey: .endOfTurn)
    try container.encode(chatTemplateFault, forKey: .chatTemplateFault)
    try container.encodeIfPresent(chatTemplateWarning, forKey: .chatTemplateWarning)
    try container.encode(fingerprint?.description, forKey: .fingerprint)
    try container.encode(fingerprint?.digest.description, forKey: .digest)
  }

  var rows: [(label: String, value: String)] {
    let model = inspection.configuration
    let bytes = inspection.bytes
    let parameters = inspection.parameters
    let scales = inspection.scales.map { "\($0.count) from \($0.smallest) to \($0.largest)" }
    var rows: [(label: String, value: String)] = [
      ("format", inspection.format.rawValue),
      ("source", inspection.source),
      ("architecture", model.architecture),
      ("layers", "\(model.layerCount)"),
      ("hidden size", "\(model.hiddenSize)"),
      ("feed-forward size", "\(model.feedForwardSize), \(model.activation.rawValue)"),
      ("attention heads", "\(model.headCount) of \(model.headSize), \(model.keyValueHeadCount) key/value"),
      ("vocabulary", "\(model.vocabularySize.grouped), embedding \(model.tiedEmbedding ? "tied" : "not tied")"),
      ("sub-norms", model.hasSubNorms ? "yes" : "no"),
      ("context", "\(model.contextLength.grouped) tokens"),
      ("RoPE", rope),
      ("parameters", "\(parameters.total.grouped), \(parameters.ternary.grouped) of them ternary"),
      ("ternary weights", inspection.storage),
      ("bits per ternary weight", inspection.bitsPerTernaryWeight.decimals(2)),
      ("scales", scales ?? "computed while loading"),
      ("codes", inspection.codesVerified ? "all valid" : "not read"),
      ("bytes, ternary", size(bytes.ternary)),
      ("bytes, embedding", size(bytes.embedding)),
    ]
    if bytes.head > 0 { rows.append(("bytes, LM head", size(bytes.head))) }
    rows += [
      ("bytes, norms and scales", size(bytes.norms + inspection.scaleBytes)),
      ("bytes, other", size(inspection.otherBytes)),
      ("bytes, all", size(inspection.files.reduce(0) { $0 + $1.byteCount })),
      ("files", inspection.files.map(\.name).joined(separator: ", ")),
      ("tensors", "\(inspection.tensors.count)"),
      ("fingerprint", fingerprint.map { "\($0)" } ?? "not known without reading the weights; --verify computes it"),
      ("digest", fingerprint.map { "\($0.digest)" } ?? "not known"),
      ("tokenizer", inspection.tokenizer ?? "none"),
      ("chat template", chatTemplate),
    ]
    if let embedding = inspection.embedding {
      let prompts = embedding.prompts.keys.sorted().joined(separator: ", ")
      rows.append(("pooling", Self.name(embedding.pooling) + (embedding.isNormalized ? ", length 1" : "")))
      if !prompts.isEmpty { rows.append(("prompts", prompts)) }
    }
    for warning in [inspection.warning, chatTemplateWarning].compactMap(\.self) { rows.append(("warning", warning)) }
    if !model.endTokens.isEmpty {
      rows.append(("end tokens", model.endTokens.map(String.init).joined(separator: ", ")))
    }
    if let generation = inspection.generation, generation != GenerationDefaults() {
      let values = [
        generation.temperature.map { "temperature \($0)" }, generation.topP.map { "top-p \($0)" },
        generation.topK.map { "top-k \($0)" },
      ]
      rows.append(("sampling", values.compactMap(\.self).joined(separator: ", ")))
    }
    return rows
  }

  private var chatTemplate: String {
    if inspection.chatTemplate == nil { return "none" }
    if let chatTemplateFault { return "\(chatTemplateFault): `bitnet chat` needs --chat-format" }
    let end = endOfTurn.map { ", a message ends with \($0)" } ?? ""
    return (chatFormat ?? "the model's own") + end
  }

  private static func name(_ pooling: EmbeddingConfiguration.Pooling) -> String {
    switch pooling {
    case .lastToken: "last token"
    case .mean: "mean"
    case .firstToken: "first token"
    }
  }

  private var rope: String {
    let theta = "theta \(inspection.configuration.ropeTheta)"
    if let yarn = inspection.configuration.yarnScaling {
      return theta + ", YaRN scaling by \(yarn.factor) from \(yarn.originalContextLength.grouped) tokens"
    }
    guard let scaling = inspection.configuration.ropeScaling else { return theta }
    return theta + ", llama3 scaling by \(scaling.factor) from \(scaling.originalContextLength.grouped) tokens"
  }
}

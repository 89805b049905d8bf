import BitNet
import BitNetJSON

/// The served models as Ollama describes them.
enum OllamaModels {
  /// An element of `/api/tags`.
  static func tag(_ served: ServedModel) -> JSONTree { .object(head(served)) }

  /// An element of `/api/ps`: every served model is loaded, for as long as the server runs.
  static func running(_ served: ServedModel) -> JSONTree {
    .object(
      head(served) + [
        .init("expires_at", .string(OllamaTime.text(WallClock.seconds + 365 * 86_400))), .init("size_vram", 0),
        .init("context_length", .integer(served.model.contextLength)),
      ])
  }

  /// The answer of `/api/show`.
  static func description(_ served: ServedModel) -> JSONTree {
    let model = served.model
    let family = served.family
    let sampling = model.suggestedSampling
    return [
      "modelfile": .string("FROM \(served.name)\n"),
      "parameters": .string("temperature \(sampling.temperature)\ntop_k \(sampling.topK)\ntop_p \(sampling.topP)"),
      "template": "{{ .Prompt }}", "details": details(served),
      "model_info": [
        "general.architecture": .string(family), "general.parameter_count": .integer(model.parameterCount),
        "\(family).context_length": .integer(model.contextLength),
        "\(family).embedding_length": .integer(model.configuration.hiddenSize),
        "\(family).block_count": .integer(model.configuration.layerCount),
        "\(family).vocab_size": .integer(model.configuration.vocabularySize),
      ],
      "capabilities": served.toolStyle == nil ? ["completion"] : ["completion", "tools"],
      "modified_at": .string(OllamaTime.text(Double(served.created))),
    ]
  }

  private static func head(_ served: ServedModel) -> [JSONTree.Member] {
    [
      .init("name", .string(served.name)), .init("model", .string(served.name)),
      .init("modified_at", .string(OllamaTime.text(Double(served.created)))),
      // Two bits a weight; the files know more exactly.
      .init("size", .integer(served.model.parameterCount / 4)), .init("digest", .string(served.fingerprint)),
      .init("details", details(served)),
    ]
  }

  private static func details(_ served: ServedModel) -> JSONTree {
    let count = Double(served.model.parameterCount)
    let size =
      count >= 1e9
      ? "\((count / 1e8).rounded() / 10)B" : "\((count / 1e5).rounded() / 10)M"
    return [
      "parent_model": "", "format": "safetensors", "family": .string(served.family),
      "families": [.string(served.family)], "parameter_size": .string(size), "quantization_level": "W2A8",
    ]
  }
}

extension ServedModel {
  /// The architecture's name as Ollama writes such names: `bitnet` for `BitNetForCausalLM`.
  fileprivate var family: String {
    let name = model.architecture
    let suffix = "ForCausalLM"
    return (name.hasSuffix(suffix) ? String(name.dropLast(suffix.count)) : name).lowercased()
  }
}

package import BitNet
package import BitNetTokenization
package import BitNetToolCalls

/// A model under the names that requests call it by.
package struct ServedModel: Sendable {
  /// The name in responses.
  package let name: String
  /// Other names that requests may use.
  package let aliases: [String]
  /// The first replica.
  package let model: LanguageModel
  /// The same model on one or more devices, which share the requests.
  package let replicas: [LanguageModel]
  /// Seconds since 1970.
  package let created: Int
  package let metrics = ModelMetrics()
  /// How the model's template has functions called; nil if it writes none.
  package let toolStyle: ToolCallStyle?

  package init(
    name: String, aliases: [String] = [], model: LanguageModel, otherReplicas: [LanguageModel] = [], created: Int
  ) {
    self.name = name
    self.aliases = aliases
    self.model = model
    replicas = [model] + otherReplicas
    self.created = created
    toolStyle = model.toolTemplateText.flatMap { ToolCallStyle(template: $0) }
  }

  package var tokenizer: Tokenizer { model.tokenizer }

  /// OpenAI's `system_fingerprint`: answers of the same one are the same.
  package var fingerprint: String { model.fingerprint }

  /// The rule by which messages become a prompt. A model without one continues the messages as plain text.
  ///
  /// - Throws: `RequestError` if the model's files have one that is not valid.
  package func chatTemplate() throws(RequestError) -> ChatTemplate {
    if let fault = model.chatTemplateFault {
      throw .failure("the model's chat template is invalid: \(fault)")
    }
    return model.chatTemplate ?? .plain
  }
}

/// The models of a server, by name.
package struct ModelCatalog: Sendable {
  /// Models that generate texts.
  package let models: [ServedModel]
  /// Models that turn texts into vectors.
  package let embedders: [ServedEmbedder]
  private let byName: [String: Place]

  private enum Place: Hashable {
    case model(Int)
    case embedder(Int)
  }

  /// - Parameters:
  ///   - models: the first one answers requests without a name.
  ///   - embedders: as well, for requests for vectors.
  /// - Throws: `RequestError` if a name stands for two models.
  package init(_ models: [ServedModel], embedders: [ServedEmbedder] = []) throws(RequestError) {
    self.models = models
    self.embedders = embedders
    let named =
      models.enumerated().map { (Place.model($0), [$1.name] + $1.aliases) }
      + embedders.enumerated().map { (Place.embedder($0), [$1.name] + $1.aliases) }
    var byName: [String: Place] = [:]
    for (place, names) in named {
      for name in names {
        if let other = byName[name], other != place {
          throw .invalid("the model's name \(name) is given twice; expected a name of its own, as in NAME=MODEL")
        }
        byName[name] = place
      }
    }
    self.byName = byName
  }

  private var names: [String] { models.map(\.name) + embedders.map(\.name) }

  /// The model of that name that generates texts; the first one without a name.
  package func find(_ name: String?) throws(RequestError) -> ServedModel {
    switch name.map({ byName[$0] }) {
    case nil where !models.isEmpty: return models[0]
    case .model(let index)??: return models[index]
    case nil, .embedder??: throw .otherKind(name, found: "gives vectors", expected: models.map(\.name))
    case .some(nil): throw .unknownModel(name ?? "", known: names)
    }
  }

  /// The embedding model of that name; the first one without a name.
  package func findEmbedder(_ name: String?) throws(RequestError) -> ServedEmbedder {
    switch name.map({ byName[$0] }) {
    case nil where !embedders.isEmpty: return embedders[0]
    case .embedder(let index)??: return embedders[index]
    case nil, .model??: throw .otherKind(name, found: "generates texts", expected: embedders.map(\.name))
    case .some(nil): throw .unknownModel(name ?? "", known: names)
    }
  }
}

package import BitNet
package import BitNetTokenization

/// A model under the names that requests call it by.
package struct ServedModel: Sendable {
  /// The name in responses.
  package let name: String
  /// Other names that requests may use.
  package let aliases: [String]
  package let model: LanguageModel
  /// Seconds since 1970.
  package let created: Int
  package let metrics = ModelMetrics()

  package init(name: String, aliases: [String] = [], model: LanguageModel, created: Int) {
    self.name = name
    self.aliases = aliases
    self.model = model
    self.created = created
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
  package let models: [ServedModel]
  private let byName: [String: Int]

  /// - Parameter models: at least one; the first one answers requests without a name.
  /// - Throws: `RequestError` if a name stands for two models.
  package init(_ models: [ServedModel]) throws(RequestError) {
    self.models = models
    var byName: [String: Int] = [:]
    for (index, model) in models.enumerated() {
      for name in [model.name] + model.aliases {
        if let other = byName[name], other != index {
          throw .invalid("the model's name \(name) is given twice; expected a name of its own, as in NAME=MODEL")
        }
        byName[name] = index
      }
    }
    self.byName = byName
  }

  /// The model of that name; the first one without a name.
  package func find(_ name: String?) throws(RequestError) -> ServedModel {
    guard let name else { return models[0] }
    guard let index = byName[name] else { throw .unknownModel(name, known: models.map(\.name)) }
    return models[index]
  }
}

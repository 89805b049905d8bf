import BitNet
import BitNetInference
import BitNetJSON
import BitNetTokenization

/// A request of `POST /v1/chat/completions`.
package struct ChatCompletionRequest: Sendable {
  let served: ServedModel
  /// The model's name as the request gives it.
  let modelName: String
  let stream: StreamFields?
  let answer: AnswerRequest

  private static let mostAlternatives = 20

  /// - Throws: `JSONError` or `RequestError` naming the field.
  init(_ json: JSONValue, _ catalog: ModelCatalog) throws {
    var fields = try json.fields()
    let name = try fields["model"].ifPresent?.string()
    served = try catalog.find(name)
    modelName = name ?? served.name
    stream = try StreamFields.read(&fields)
    let chat = try ChatFields.read(&fields)
    try Self.refuseUnsupported(&fields)
    let generating = try fields["add_generation_prompt"].ifPresent?.bool() ?? true
    let prompt = try served.chatTemplate().encode(chat, with: served.tokenizer, generating: generating)
    var answer = AnswerRequest(prompts: [prompt])
    try SamplingFields.read(&fields, into: &answer, suggested: served.model.suggestedSampling)
    answer.wantsReceipt = try fields["receipt"].ifPresent?.bool() ?? false
    answer.constraint = try ResponseFormatFields.constraint(fields["response_format"], served)
    let limits = (fields["max_completion_tokens"], fields["max_tokens"])
    answer.maximumTokens = try SamplingFields.maximumTokens(limits.0) ?? SamplingFields.maximumTokens(limits.1)
    let alternatives = fields["top_logprobs"].ifPresent
    let count = try alternatives?.integer(in: 0...Self.mostAlternatives)
    if try fields["logprobs"].ifPresent?.bool() ?? false {
      answer.logProbabilities = min(count ?? 0, served.model.configuration.vocabularySize)
    } else if let alternatives, count != 0 {
      throw RequestError.invalid(
        "top_logprobs is \(alternatives.written) without logprobs; expected logprobs to be true",
        parameter: "top_logprobs")
    }
    self.answer = answer
  }

  private static func refuseUnsupported(_ fields: inout JSONFields) throws {
    for name in ["tools", "functions", "modalities"] {
      guard let list = fields[name].ifPresent else { continue }
      let isText = name == "modalities" ? try list.elements().allSatisfy { try $0.string() == "text" } : false
      var elements = try list.elements()
      if elements.next() != nil, !isText {
        throw RequestError.unsupported(list, expected: name == "modalities" ? "[\"text\"]" : "none")
      }
    }
    for name in ["audio", "prediction", "web_search_options"] {
      if let field = fields[name].ifPresent { throw RequestError.unsupported(field, expected: "none") }
    }
  }
}

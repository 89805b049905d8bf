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
  /// Nil where the answer can have no calls of functions.
  let callForm: ChatCompletionEncoder.CallForm?

  private static let mostAlternatives = 20

  /// - Throws: `JSONError` or `RequestError` naming the field.
  init(_ json: JSONValue, _ catalog: ModelCatalog) throws {
    var fields = try json.fields()
    let name = try fields["model"].ifPresent?.string()
    served = try catalog.find(name)
    modelName = name ?? served.name
    stream = try StreamFields.read(&fields)
    let tools = try ToolFields.chat(&fields)
    let chat = tools.chat(try ChatFields.read(&fields), for: served)
    try Self.refuseUnsupported(&fields)
    let generating = try fields["add_generation_prompt"].ifPresent?.bool() ?? true
    let prompt = try served.chatTemplate().encode(chat, with: served.tokenizer, generating: generating)
    var answer = AnswerRequest(prompts: [prompt])
    try SamplingFields.read(&fields, into: &answer, suggested: served.model.suggestedSampling)
    answer.wantsReceipt = try fields["receipt"].ifPresent?.bool() ?? false
    let format = try AnswerFormat.openAI(fields["response_format"], nested: "json_schema")
    try tools.apply(format, to: &answer, served, prefix: "call_")
    callForm = answer.calls == nil ? nil : ToolFields.isOlder(&fields) ? .function : .tools
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
    if let list = fields["modalities"].ifPresent, try !list.elements().allSatisfy({ try $0.string() == "text" }) {
      throw RequestError.unsupported(list, expected: "[\"text\"]")
    }
    for name in ["audio", "prediction", "web_search_options"] {
      if let field = fields[name].ifPresent { throw RequestError.unsupported(field, expected: "none") }
    }
  }
}

import BitNet
import BitNetInference
import BitNetJSON
import BitNetTokenization

/// A request of `POST /v1/messages`.
struct AnthropicRequest: Sendable {
  let served: ServedModel
  /// The model's name as the request gives it.
  let modelName: String
  let isStreamed: Bool
  let answer: AnswerRequest

  /// - Throws: `JSONError` or `RequestError` naming the field.
  init(_ json: JSONValue, _ catalog: ModelCatalog) throws {
    var fields = try json.fields()
    let prompt = try Prompt(&fields, catalog)
    (served, modelName) = (prompt.served, prompt.modelName)
    isStreamed = try fields["stream"].ifPresent?.bool() ?? false
    var answer = AnswerRequest(prompts: [prompt.tokens])
    _ = try fields["temperature"].ifPresent?.number(in: 0...1)
    try SamplingFields.read(&fields, into: &answer, suggested: served.model.suggestedSampling)
    answer.choiceCount = 1
    answer.maximumTokens = try fields["max_tokens"].integer(in: 1 ... .max)
    if let stops = fields["stop_sequences"].ifPresent { answer.stopTexts = try SamplingFields.stops(stops) }
    try prompt.tools.apply(AnswerFormat.anthropic(&fields), to: &answer, served, prefix: "toolu_")
    self.answer = answer
  }

  /// What requests of both endpoints have.
  struct Prompt {
    let served: ServedModel
    let modelName: String
    let tools: RequestedTools
    let tokens: [TokenID]

    init(_ fields: inout JSONFields, _ catalog: ModelCatalog) throws {
      modelName = try fields["model"].string()
      served = try catalog.find(modelName)
      tools = try ToolFields.anthropic(&fields)
      let chat = tools.chat(try AnthropicChat.read(&fields), for: served)
      tokens = try served.chatTemplate().encode(chat, with: served.tokenizer, generating: true)
    }
  }
}

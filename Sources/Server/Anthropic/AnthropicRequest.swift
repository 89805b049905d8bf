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
    let prompt: [TokenID]
    (served, modelName, prompt) = try Self.prompt(&fields, catalog)
    isStreamed = try fields["stream"].ifPresent?.bool() ?? false
    var answer = AnswerRequest(prompts: [prompt])
    _ = try fields["temperature"].ifPresent?.number(in: 0...1)
    try SamplingFields.read(&fields, into: &answer, suggested: served.model.suggestedSampling)
    answer.choiceCount = 1
    answer.maximumTokens = try fields["max_tokens"].integer(in: 1 ... .max)
    if let stops = fields["stop_sequences"].ifPresent { answer.stopTexts = try SamplingFields.stops(stops) }
    self.answer = answer
  }

  /// The tokens of a request of either endpoint.
  static func prompt(
    _ fields: inout JSONFields, _ catalog: ModelCatalog
  ) throws -> (served: ServedModel, name: String, tokens: [TokenID]) {
    let name = try fields["model"].string()
    let served = try catalog.find(name)
    let chat = try AnthropicChat.read(&fields)
    try refuseTools(&fields)
    return (served, name, try served.chatTemplate().encode(chat, with: served.tokenizer, generating: true))
  }

  private static func refuseTools(_ fields: inout JSONFields) throws {
    let choice = try fields["tool_choice"].ifPresent?["type"].string()
    guard let tools = fields["tools"].ifPresent, choice != "none" else { return }
    var elements = try tools.elements()
    if elements.next() != nil { throw RequestError.unsupported(tools, expected: "none") }
  }
}

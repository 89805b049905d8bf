import BitNet
import BitNetInference
import BitNetJSON
import BitNetTokenization

/// A request of `POST /v1/responses`.
struct ResponsesRequest: Sendable {
  let served: ServedModel
  /// The model's name as the request gives it.
  let modelName: String
  let isStreamed: Bool
  let answer: AnswerRequest
  /// The fields that a response repeats.
  let echoed: [JSONTree.Member]

  /// - Throws: `JSONError` or `RequestError` naming the field.
  init(_ json: JSONValue, _ catalog: ModelCatalog) throws {
    var fields = try json.fields()
    let name = try fields["model"].ifPresent?.string()
    served = try catalog.find(name)
    modelName = name ?? served.name
    isStreamed = try fields["stream"].ifPresent?.bool() ?? false
    try Self.refuseUnsupported(&fields)
    let tools = try ToolFields.responses(&fields)
    let chat = tools.chat(try ResponsesChat.read(&fields), for: served)
    let prompt = try served.chatTemplate().encode(chat, with: served.tokenizer, generating: true)
    var answer = AnswerRequest(prompts: [prompt])
    try SamplingFields.read(&fields, into: &answer, suggested: served.model.suggestedSampling)
    answer.choiceCount = 1
    answer.maximumTokens = try SamplingFields.maximumTokens(fields["max_output_tokens"])
    let format = try fields["text"].ifPresent?["format"]
    try tools.apply(
      format.map { try AnswerFormat.openAI($0, nested: nil) } ?? nil, to: &answer, served, prefix: "call_")
    self.answer = answer
    func copy(_ name: String, absent: JSONTree = .null) throws -> JSONTree {
      try fields[name].ifPresent.map { try JSONTree($0) } ?? absent
    }
    echoed = [
      .init("instructions", try copy("instructions")), .init("max_output_tokens", try copy("max_output_tokens")),
      .init("metadata", try copy("metadata", absent: [:])),
      .init("parallel_tool_calls", .bool(tools.isParallel)),
      .init("temperature", .number(Double(answer.sampling.temperature))),
      .init("text", ["format": try format?.ifPresent.map { try JSONTree($0) } ?? ["type": "text"]]),
      .init("tool_choice", try copy("tool_choice", absent: "auto")), .init("tools", try copy("tools", absent: [])),
      .init("top_p", .number(Double(answer.sampling.topP))), .init("user", try copy("user")),
    ]
  }

  private static func refuseUnsupported(_ fields: inout JSONFields) throws {
    for name in ["previous_response_id", "conversation", "prompt"] {
      if let field = fields[name].ifPresent {
        throw RequestError.unsupported(field, expected: "none, and the whole conversation in input")
      }
    }
    if let background = fields["background"].ifPresent, try background.bool() {
      throw RequestError.unsupported(background, expected: "false")
    }
    if let truncation = fields["truncation"].ifPresent, try truncation.string() != "disabled" {
      throw RequestError.unsupported(truncation, expected: "\"disabled\"")
    }
    if let count = fields["top_logprobs"].ifPresent, try count.integer() != 0 {
      throw RequestError.unsupported(count, expected: "0")
    }
  }
}

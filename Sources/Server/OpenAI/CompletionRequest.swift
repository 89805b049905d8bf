import BitNet
import BitNetInference
import BitNetJSON
import BitNetTokenization

/// A request of `POST /v1/completions`.
package struct CompletionRequest: Sendable {
  let served: ServedModel
  /// The model's name as the request gives it.
  let modelName: String
  let stream: StreamFields?
  /// The texts that choices begin with, one for each prompt; nil without `echo`.
  let echoes: [String]?
  let answer: AnswerRequest

  private static let mostPrompts = 1024
  private static let mostAlternatives = 20

  /// - Throws: `JSONError` or `RequestError` naming the field.
  init(_ json: JSONValue, _ catalog: ModelCatalog) throws {
    var fields = try json.fields()
    let name = try fields["model"].ifPresent?.string()
    served = try catalog.find(name)
    modelName = name ?? served.name
    stream = try StreamFields.read(&fields)
    let addsBegin = try fields["add_special_tokens"].ifPresent?.bool() ?? true
    let prompts = try Self.prompts(fields["prompt"], served, addsBegin: addsBegin)
    var answer = AnswerRequest(prompts: prompts.map(\.tokens))
    try SamplingFields.read(&fields, into: &answer, suggested: served.model.suggestedSampling)
    answer.wantsReceipt = try fields["receipt"].ifPresent?.bool() ?? false
    answer.constraint = try AnswerFormat.openAI(fields["response_format"], nested: "json_schema")?.constraint(served)
    let isEchoed = try fields["echo"].ifPresent?.bool() ?? false
    let limit = fields["max_tokens"]
    answer.maximumTokens =
      limit.ifPresent == nil ? 16 : try SamplingFields.maximumTokens(limit, smallest: isEchoed ? 0 : 1)
    if let count = try fields["logprobs"].ifPresent?.integer(in: 0...Self.mostAlternatives) {
      answer.logProbabilities = min(count, served.model.configuration.vocabularySize)
      answer.scoresPrompt = isEchoed
    }
    if let suffix = fields["suffix"].ifPresent, try !suffix.string().isEmpty {
      throw RequestError.unsupported(suffix, expected: "none")
    }
    echoes = isEchoed ? prompts.map(\.text) : nil
    self.answer = answer
  }

  /// A prompt is a text or tokens; so are the elements of a list of several.
  private static func prompts(
    _ field: JSONValue, _ served: ServedModel, addsBegin: Bool
  ) throws -> [(text: String, tokens: [TokenID])] {
    guard field.kind == .array else { return [try prompt(field, served, addsBegin: addsBegin)] }
    let elements = Array(try field.elements())
    guard let first = elements.first else {
      throw RequestError.invalid("prompt is empty; expected a text, token ids, or a list of them", parameter: "prompt")
    }
    if first.kind == .number { return [try prompt(field, served, addsBegin: addsBegin)] }
    guard elements.count <= mostPrompts else {
      throw RequestError.invalid(
        "prompt is a list of \(elements.count); expected at most \(mostPrompts)", parameter: "prompt")
    }
    return try elements.map { try prompt($0, served, addsBegin: addsBegin) }
  }

  private static func prompt(
    _ field: JSONValue, _ served: ServedModel, addsBegin: Bool
  ) throws -> (text: String, tokens: [TokenID]) {
    let tokenizer = served.tokenizer
    switch field.kind {
    case .string:
      let text = try field.string()
      // Clients write the markup of chats into prompts themselves.
      return (text, tokenizer.encode(text, addingBeginToken: addsBegin, parsingSpecialTokens: true))
    case .array:
      let tokens = try TokenFields.tokens(field, served)
      return (tokenizer.decode(tokens), tokens)
    default: throw field.error(expected: "a text, token ids, or a list of them")
    }
  }
}

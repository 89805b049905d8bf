import BitNet
import BitNetInference
import BitNetJSON
import BitNetTokenization

/// A request of Ollama's `/api/chat` or `/api/generate`.
struct OllamaRequest: Sendable {
  enum Kind: Sendable {
    case chat, generate
  }

  let kind: Kind
  let served: ServedModel
  /// The model's name as the request gives it.
  let modelName: String
  let isStreamed: Bool
  /// Nil for a request without a prompt, which only asks for the model to be loaded.
  let answer: AnswerRequest?

  /// - Throws: `JSONError` or `RequestError` naming the field.
  init(_ kind: Kind, _ json: JSONValue, _ catalog: ModelCatalog) throws {
    var fields = try json.fields()
    self.kind = kind
    modelName = try fields["model"].string()
    served = try Self.find(modelName, catalog)
    isStreamed = try fields["stream"].ifPresent?.bool() ?? true
    try Self.refuseUnsupported(&fields)
    // Texts have no tools.
    let tools = kind == .chat ? try ToolFields.ollama(&fields) : RequestedTools()
    guard let prompt = try Self.prompt(kind, &fields, tools, served) else {
      answer = nil
      return
    }
    var answer = AnswerRequest(prompts: [prompt])
    var options = try (fields["options"].ifPresent ?? JSONDocument(Array("{}".utf8)).root).fields()
    try SamplingFields.read(&options, into: &answer, suggested: served.model.suggestedSampling)
    // -1 and -2 are Ollama's ways to say: as many as the context holds.
    if let count = options["num_predict"].ifPresent {
      answer.maximumTokens = try count.integer() < 0 ? nil : SamplingFields.maximumTokens(count)
    }
    answer.choiceCount = 1
    try tools.apply(AnswerFormat.ollama(fields["format"]), to: &answer, served, prefix: "call_")
    self.answer = answer
  }

  /// The model of a name, which clients complete to `name:latest`.
  static func find(_ name: String, _ catalog: ModelCatalog) throws(RequestError) -> ServedModel {
    let latest = ":latest"
    if name.hasSuffix(latest), let served = try? catalog.find(String(name.dropLast(latest.count))) { return served }
    return try catalog.find(name)
  }

  /// - Returns: nil if there is none.
  private static func prompt(
    _ kind: Kind, _ fields: inout JSONFields, _ tools: RequestedTools, _ served: ServedModel
  ) throws -> [TokenID]? {
    let chat: ChatInput
    switch kind {
    case .chat:
      guard let list = fields["messages"].ifPresent, try !Array(list.elements()).isEmpty else { return nil }
      for message in try list.elements() { try refuse(message["images"], expected: "none") }
      chat = tools.chat(try ChatFields.read(&fields), for: served)
    case .generate:
      let text = try fields["prompt"].ifPresent?.string() ?? ""
      guard !text.isEmpty else { return nil }
      if try fields["raw"].ifPresent?.bool() ?? false {
        return served.tokenizer.encode(text, addingBeginToken: true, parsingSpecialTokens: true)
      }
      var messages = [ChatMessage(role: .user, content: text)]
      if let system = try fields["system"].ifPresent?.string(), !system.isEmpty {
        messages.insert(ChatMessage(role: .system, content: system), at: 0)
      }
      chat = ChatInput(messages)
    }
    var thinking = chat
    if let think = fields["think"].ifPresent {
      // A level is a string.
      let isOn = think.kind == .string ? true : try think.bool()
      thinking.arguments.append(.init("enable_thinking", .bool(isOn)))
    }
    return try served.chatTemplate().encode(thinking, with: served.tokenizer, generating: true)
  }

  private static func refuseUnsupported(_ fields: inout JSONFields) throws {
    for name in ["images", "context"] { try refuse(fields[name], expected: "none") }
    for name in ["suffix", "template"] {
      guard let field = fields[name].ifPresent else { continue }
      if field.kind != .string || !field.hasName("") { throw RequestError.unsupported(field, expected: "none") }
    }
  }

  /// Refuses a list that has elements.
  private static func refuse(_ field: JSONValue, expected: String) throws {
    guard let list = field.ifPresent else { return }
    var elements = try list.elements()
    if elements.next() != nil { throw RequestError.unsupported(list, expected: expected) }
  }
}

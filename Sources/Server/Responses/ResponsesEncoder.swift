import BitNetJSON

/// Writes the events of an answer as OpenAI's responses and their streamed events.
struct ResponsesEncoder: Sendable {
  private let id: String
  private let created: Int
  private let model: String
  private let echoed: [JSONTree.Member]
  private var text = ""
  private var finish = AnswerFinish.stop(text: nil)
  private var eventCount = 0

  /// - Parameter echoed: the fields that a response repeats.
  init(id: String, created: Int, model: String, echoed: [JSONTree.Member]) {
    self.id = id
    self.created = created
    self.model = model
    self.echoed = echoed
  }

  // MARK: Streams

  /// The events before the first one of the answer. Each has its type, which is also the event's name.
  mutating func opening() -> [JSONTree] {
    let response = tree(status: "in_progress", output: [])
    return [
      event("response.created", ["response": response]), event("response.in_progress", ["response": response]),
      event("response.output_item.added", ["output_index": 0, "item": item(status: "in_progress", content: [])]),
      contentEvent("response.content_part.added", ["part": part("")]),
    ]
  }

  /// The events of one of the answer; none for some.
  mutating func events(_ event: AnswerEvent) -> [JSONTree] {
    switch event.kind {
    case .text("", _), .prompt, .call: return []
    case .text(let text, _):
      self.text += text
      return [contentEvent("response.output_text.delta", ["delta": .string(text), "logprobs": []])]
    case .finish(let finish):
      self.finish = finish
      return [
        contentEvent("response.output_text.done", ["text": .string(text), "logprobs": []]),
        contentEvent("response.content_part.done", ["part": part(text)]),
        self.event("response.output_item.done", ["output_index": 0, "item": finishedItem]),
      ]
    case .idle: return []
    }
  }

  mutating func closing(_ usage: AnswerUsage) -> JSONTree {
    event("response.\(status)", ["response": finished(usage)])
  }

  /// The last event of an answer that fails.
  mutating func failure(_ error: RequestError) -> JSONTree {
    let fault: JSONTree = ["code": "server_error", "message": .string(error.message)]
    return event("response.failed", ["response": tree(status: "failed", output: [], error: fault)])
  }

  private mutating func event(_ type: String, _ fields: KeyValuePairs<String, JSONTree?>) -> JSONTree {
    defer { eventCount += 1 }
    var members: [JSONTree.Member] = [
      .init("type", .string(type)), .init("sequence_number", .integer(eventCount)),
    ]
    for case (let name, let value?) in fields { members.append(.init(name, value)) }
    return .object(members)
  }

  private mutating func contentEvent(_ type: String, _ fields: KeyValuePairs<String, JSONTree?>) -> JSONTree {
    guard case .object(let members) = event(type, fields) else { return .null }
    return .object(
      members + [
        .init("item_id", .string(itemID)), .init("output_index", 0), .init("content_index", 0),
      ])
  }

  // MARK: Whole answers

  mutating func whole(_ choice: CollectedChoice, _ usage: AnswerUsage) -> JSONTree {
    text = choice.text
    finish = choice.finish
    return finished(usage)
  }

  private var itemID: String { "msg_" + id }
  private var status: String { finish == .length ? "incomplete" : "completed" }
  private var finishedItem: JSONTree { item(status: status, content: [part(text)]) }

  private func finished(_ usage: AnswerUsage) -> JSONTree {
    tree(status: status, output: [finishedItem], usage: usage)
  }

  private func part(_ text: String) -> JSONTree {
    ["type": "output_text", "text": .string(text), "annotations": [], "logprobs": []]
  }

  private func item(status: String, content: [JSONTree]) -> JSONTree {
    [
      "id": .string(itemID), "type": "message", "status": .string(status), "role": "assistant",
      "content": .array(content),
    ]
  }

  private func tree(
    status: String, output: [JSONTree], usage: AnswerUsage? = nil, error: JSONTree = .null
  ) -> JSONTree {
    let reason: JSONTree = status == "incomplete" ? ["reason": "max_output_tokens"] : .null
    let members: [JSONTree.Member] = [
      .init("id", .string("resp_" + id)), .init("object", "response"), .init("created_at", .integer(created)),
      .init("status", .string(status)), .init("background", false), .init("error", error),
      .init("incomplete_details", reason), .init("model", .string(model)), .init("output", .array(output)),
      .init("parallel_tool_calls", true), .init("previous_response_id", .null),
      .init("reasoning", ["effort": .null, "summary": .null]), .init("store", false),
      .init("text", ["format": ["type": "text"]]), .init("tool_choice", "auto"), .init("tools", []),
      .init("truncation", "disabled"), .init("usage", usage.map { Self.tree($0) } ?? .null),
    ]
    return .object(members + echoed)
  }

  private static func tree(_ usage: AnswerUsage) -> JSONTree {
    [
      "input_tokens": .integer(usage.promptTokens),
      "input_tokens_details": ["cached_tokens": .integer(usage.cachedTokens), "cache_write_tokens": 0],
      "output_tokens": .integer(usage.generatedTokens), "output_tokens_details": ["reasoning_tokens": 0],
      "total_tokens": .integer(usage.promptTokens + usage.generatedTokens),
    ]
  }
}

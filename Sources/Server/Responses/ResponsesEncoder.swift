package import BitNetJSON

/// Writes the events of an answer as OpenAI's responses and their streamed events.
package struct ResponsesEncoder: Sendable {
  private let id: String
  private let created: Int
  private let model: String
  private let echoed: [JSONTree.Member]
  private let mayCall: Bool
  private var items: [Item] = []
  /// Whether more of the last item may come.
  private var isOpen = false
  private var finish = AnswerFinish.stop(text: nil)
  private var eventCount = 0

  private enum Item: Sendable {
    case message(String, status: String)
    case call(CollectedCall, status: String)
  }

  /// - Parameters:
  ///   - echoed: the fields that a response repeats.
  ///   - mayCall: whether the answer may have calls of functions, which are items of their own.
  package init(id: String, created: Int, model: String, echoed: [JSONTree.Member], mayCall: Bool) {
    self.id = id
    self.created = created
    self.model = model
    self.echoed = echoed
    self.mayCall = mayCall
  }

  // MARK: Streams

  /// The events before the first one of the answer. Each has its type, which is also the event's name.
  package mutating func opening() -> [JSONTree] {
    let response = tree(status: "in_progress", output: [])
    return [
      event("response.created", ["response": response]), event("response.in_progress", ["response": response]),
    ] + (mayCall ? [] : openMessage())
  }

  /// The events of one of the answer; none for some.
  package mutating func events(_ event: AnswerEvent) -> [JSONTree] {
    switch event.kind {
    case .text("", _), .prompt, .idle: return []
    case .text(let text, _):
      var events: [JSONTree] = []
      if !isOpen || isInCall { events = close("incomplete") + openMessage() }
      if case .message(let before, let status)? = items.last {
        items[items.count - 1] = .message(before + text, status: status)
      }
      return events + [contentEvent("response.output_text.delta", ["delta": .string(text), "logprobs": []])]
    case .call(_, .begin(let id, let name)):
      let events = close(isInCall ? "incomplete" : "completed")
      items.append(.call(CollectedCall(id: id, name: name), status: "in_progress"))
      isOpen = true
      return events + [itemEvent("response.output_item.added")]
    case .call(_, .arguments(let text)):
      if case .call(var call, let status)? = items.last {
        call.arguments += text
        items[items.count - 1] = .call(call, status: status)
      }
      return [callEvent("response.function_call_arguments.delta", "delta", text)]
    case .call(_, .end): return close("completed")
    case .finish(let finish):
      self.finish = finish
      let events = items.isEmpty ? openMessage() : []
      return events + close(isInCall ? "incomplete" : status)
    }
  }

  private var isInCall: Bool { if isOpen, case .call? = items.last { true } else { false } }

  private mutating func openMessage() -> [JSONTree] {
    items.append(.message("", status: "in_progress"))
    isOpen = true
    return [
      event(
        "response.output_item.added",
        ["output_index": .integer(items.count - 1), "item": message(items.count - 1, "in_progress", content: [])]),
      contentEvent("response.content_part.added", ["part": part("")]),
    ]
  }

  /// The events that end the last item; none if it has ended.
  private mutating func close(_ status: String) -> [JSONTree] {
    guard isOpen else { return [] }
    isOpen = false
    switch items[items.count - 1] {
    case .message(let text, _):
      items[items.count - 1] = .message(text, status: status)
      return [
        contentEvent("response.output_text.done", ["text": .string(text), "logprobs": []]),
        contentEvent("response.content_part.done", ["part": part(text)]), itemEvent("response.output_item.done"),
      ]
    case .call(let call, _):
      items[items.count - 1] = .call(call, status: status)
      return [
        callEvent("response.function_call_arguments.done", "arguments", call.arguments),
        itemEvent("response.output_item.done"),
      ]
    }
  }

  package mutating func closing(_ usage: AnswerUsage) -> JSONTree {
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
    return .object(members + place + [.init("content_index", 0)])
  }

  private mutating func callEvent(_ type: String, _ name: String, _ text: String) -> JSONTree {
    guard case .object(let members) = event(type, [name: .string(text)]) else { return .null }
    return .object(members + place)
  }

  private mutating func itemEvent(_ type: String) -> JSONTree {
    event(type, ["output_index": .integer(items.count - 1), "item": tree(items.count - 1)])
  }

  /// Where the last item is.
  private var place: [JSONTree.Member] {
    [.init("item_id", .string(itemID(items.count - 1))), .init("output_index", .integer(items.count - 1))]
  }

  // MARK: Whole answers

  /// The response, after all events of the answer.
  package func finished(_ usage: AnswerUsage) -> JSONTree {
    tree(status: status, output: items.indices.map { tree($0) }, usage: usage)
  }

  private var status: String { finish == .length ? "incomplete" : "completed" }

  private func itemID(_ index: Int) -> String {
    switch items[index] {
    case .message: "msg_\(id)" + (index == 0 ? "" : "_\(index)")
    case .call(let call, _): "fc_\(call.id)"
    }
  }

  private func tree(_ index: Int) -> JSONTree {
    switch items[index] {
    case .message(let text, let status): return message(index, status, content: [part(text)])
    case .call(let call, let status):
      return [
        "id": .string(itemID(index)), "type": "function_call", "status": .string(status), "call_id": .string(call.id),
        "name": .string(call.name), "arguments": .string(call.arguments),
      ]
    }
  }

  private func part(_ text: String) -> JSONTree {
    ["type": "output_text", "text": .string(text), "annotations": [], "logprobs": []]
  }

  private func message(_ index: Int, _ status: String, content: [JSONTree]) -> JSONTree {
    [
      "id": .string(itemID(index)), "type": "message", "status": .string(status), "role": "assistant",
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
      .init("previous_response_id", .null), .init("reasoning", ["effort": .null, "summary": .null]),
      .init("store", false), .init("truncation", "disabled"), .init("usage", usage.map { Self.tree($0) } ?? .null),
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

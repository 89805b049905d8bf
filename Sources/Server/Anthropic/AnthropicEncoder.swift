import BitNetJSON

/// Writes the events of an answer as Anthropic's messages and their streamed events.
struct AnthropicEncoder: Sendable {
  let id: String
  let model: String
  let promptTokens: Int
  private var finish = AnswerFinish.stop(text: nil)

  init(id: String, model: String, promptTokens: Int) {
    self.id = "msg_" + id
    self.model = model
    self.promptTokens = promptTokens
  }

  // MARK: Streams

  /// The events before the first one of the answer. Each has its type, which is also the event's name.
  func opening() -> [JSONTree] {
    var usage = AnswerUsage()
    usage.promptTokens = promptTokens
    return [
      ["type": "message_start", "message": message([], finish: nil, usage)],
      ["type": "content_block_start", "index": 0, "content_block": ["type": "text", "text": ""]],
      Self.ping,
    ]
  }

  static let ping: JSONTree = ["type": "ping"]

  mutating func event(_ event: AnswerEvent) -> JSONTree? {
    switch event.kind {
    case .text("", _), .prompt, .call: return nil
    case .text(let text, _):
      return [
        "type": "content_block_delta", "index": 0, "delta": ["type": "text_delta", "text": .string(text)],
      ]
    case .finish(let finish):
      self.finish = finish
      return ["type": "content_block_stop", "index": 0]
    case .idle: return Self.ping
    }
  }

  func closing(_ usage: AnswerUsage) -> [JSONTree] {
    let delta: JSONTree = ["stop_reason": .string(reason(finish)), "stop_sequence": stopSequence(finish)]
    return [
      ["type": "message_delta", "delta": delta, "usage": tree(usage)], ["type": "message_stop"],
    ]
  }

  // MARK: Whole answers

  func whole(_ choice: CollectedChoice, _ usage: AnswerUsage) -> JSONTree {
    message([["type": "text", "text": .string(choice.text)]], finish: choice.finish, usage)
  }

  private func message(_ content: [JSONTree], finish: AnswerFinish?, _ usage: AnswerUsage) -> JSONTree {
    [
      "id": .string(id), "type": "message", "role": "assistant", "model": .string(model), "content": .array(content),
      "stop_reason": finish.map { .string(reason($0)) } ?? .null,
      "stop_sequence": finish.map { stopSequence($0) } ?? .null, "usage": tree(usage),
    ]
  }

  private func reason(_ finish: AnswerFinish) -> String {
    switch finish {
    case .stop(text: nil): "end_turn"
    case .stop: "stop_sequence"
    case .calls: "tool_use"
    case .length: "max_tokens"
    }
  }

  private func stopSequence(_ finish: AnswerFinish) -> JSONTree {
    if case .stop(let text?) = finish { .string(text) } else { .null }
  }

  private func tree(_ usage: AnswerUsage) -> JSONTree {
    [
      // Without the tokens that were found in the cache.
      "input_tokens": .integer(usage.promptTokens - usage.cachedTokens), "cache_creation_input_tokens": 0,
      "cache_read_input_tokens": .integer(usage.cachedTokens), "output_tokens": .integer(usage.generatedTokens),
    ]
  }
}

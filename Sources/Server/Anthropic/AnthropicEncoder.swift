package import BitNetJSON

/// Writes the events of an answer as Anthropic's messages and their streamed events.
package struct AnthropicEncoder: Sendable {
  let id: String
  let model: String
  let promptTokens: Int
  private let mayCall: Bool
  private var blocks: [Block] = []
  /// Whether more of the last block may come.
  private var isOpen = false
  private var finish = AnswerFinish.stop(text: nil)

  private enum Block: Sendable {
    case text(String)
    case call(CollectedCall)
  }

  /// - Parameter mayCall: whether the answer may have calls of functions, which are blocks of their own.
  package init(id: String, model: String, promptTokens: Int, mayCall: Bool) {
    self.id = "msg_" + id
    self.model = model
    self.promptTokens = promptTokens
    self.mayCall = mayCall
  }

  // MARK: Streams

  /// The events before the first one of the answer. Each has its type, which is also the event's name.
  package mutating func opening() -> [JSONTree] {
    var usage = AnswerUsage()
    usage.promptTokens = promptTokens
    let start: JSONTree = ["type": "message_start", "message": message([], finish: nil, usage)]
    return [start] + (mayCall ? [] : open(.text(""))) + [Self.ping]
  }

  static let ping: JSONTree = ["type": "ping"]

  /// The events of one of the answer; none for some.
  package mutating func events(_ event: AnswerEvent) -> [JSONTree] {
    switch event.kind {
    case .text("", _), .prompt: return []
    case .text(let text, _):
      var events: [JSONTree] = []
      if isOpen, case .text(let before)? = blocks.last {
        blocks[blocks.count - 1] = .text(before + text)
      } else {
        events = close() + open(.text(text))
      }
      return events + [delta(["type": "text_delta", "text": .string(text)])]
    case .call(_, .begin(let id, let name)): return close() + open(.call(CollectedCall(id: id, name: name)))
    case .call(_, .arguments(let text)):
      if case .call(var call)? = blocks.last {
        call.arguments += text
        blocks[blocks.count - 1] = .call(call)
      }
      return [delta(["type": "input_json_delta", "partial_json": .string(text)])]
    case .call(_, .end): return close()
    case .finish(let finish):
      self.finish = finish
      return (blocks.isEmpty ? open(.text("")) : []) + close()
    case .idle: return [Self.ping]
    }
  }

  private mutating func open(_ block: Block) -> [JSONTree] {
    blocks.append(block)
    isOpen = true
    let content: JSONTree =
      switch block {
      case .text: ["type": "text", "text": ""]
      case .call(let call): tree(call, input: [:])
      }
    return [["type": "content_block_start", "index": .integer(blocks.count - 1), "content_block": content]]
  }

  private mutating func close() -> [JSONTree] {
    guard isOpen else { return [] }
    isOpen = false
    return [["type": "content_block_stop", "index": .integer(blocks.count - 1)]]
  }

  private func delta(_ delta: JSONTree) -> JSONTree {
    ["type": "content_block_delta", "index": .integer(blocks.count - 1), "delta": delta]
  }

  private func tree(_ call: CollectedCall, input: JSONTree) -> JSONTree {
    ["type": "tool_use", "id": .string(call.id), "name": .string(call.name), "input": input]
  }

  package func closing(_ usage: AnswerUsage) -> [JSONTree] {
    let delta: JSONTree = ["stop_reason": .string(reason(finish)), "stop_sequence": stopSequence(finish)]
    return [
      ["type": "message_delta", "delta": delta, "usage": tree(usage)], ["type": "message_stop"],
    ]
  }

  // MARK: Whole answers

  /// The message, after all events of the answer.
  package func finished(_ usage: AnswerUsage) -> JSONTree {
    let content = blocks.map { block -> JSONTree in
      switch block {
      case .text(let text): ["type": "text", "text": .string(text)]
      case .call(let call): tree(call, input: call.input)
      }
    }
    return message(content, finish: finish, usage)
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

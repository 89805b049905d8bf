import BitNetJSON

/// Writes the events of an answer as lines of Ollama's `/api/chat` or `/api/generate`.
struct OllamaEncoder: Sendable {
  let kind: OllamaRequest.Kind
  let model: String
  let start: ContinuousClock.Instant
  private var finish = AnswerFinish.stop(text: nil)
  /// The call that has begun.
  private var call: CollectedCall?

  init(_ kind: OllamaRequest.Kind, model: String, start: ContinuousClock.Instant) {
    self.kind = kind
    self.model = model
    self.start = start
  }

  /// The line of an event; nil if there is none.
  mutating func line(_ event: AnswerEvent) -> JSONTree? {
    switch event.kind {
    case .text("", _), .prompt: return nil
    case .text(let text, _): return line(text, [.init("done", false)])
    case .call(_, .begin(let id, let name)):
      call = CollectedCall(id: id, name: name)
      return nil
    case .call(_, .arguments(let text)):
      call?.arguments += text
      return nil
    // A call comes as a whole, and one that is cut not at all.
    case .call(let index, .end):
      return line("", calls: call.map { [Self.tree($0, index)] } ?? [], [.init("done", false)])
    case .finish(let finish):
      self.finish = finish
      return nil
    // The clients take every line for a part of the answer.
    case .idle: return line("", [.init("done", false)])
    }
  }

  func closing(_ usage: AnswerUsage) -> JSONTree { line("", last(finish, usage)) }

  func whole(_ choice: CollectedChoice, _ usage: AnswerUsage) -> JSONTree {
    let calls = choice.calls.enumerated().filter(\.element.isComplete).map { Self.tree($1, $0) }
    return line(choice.text, calls: calls, last(choice.finish, usage))
  }

  private static func tree(_ call: CollectedCall, _ index: Int) -> JSONTree {
    [
      "id": .string(call.id),
      "function": ["index": .integer(index), "name": .string(call.name), "arguments": call.input],
    ]
  }

  /// The answer to a request that only asks for the model to be loaded.
  func loaded() -> JSONTree { line("", [.init("done", true), .init("done_reason", "load")]) }

  private func last(_ finish: AnswerFinish, _ usage: AnswerUsage) -> [JSONTree.Member] {
    [
      .init("done", true), .init("done_reason", finish == .length ? "length" : "stop"),
      .init("total_duration", .integer(start.duration(to: .now).nanoseconds)), .init("load_duration", 0),
      .init("prompt_eval_count", .integer(usage.promptTokens)),
      .init("prompt_eval_duration", .integer(Duration.seconds(usage.promptSeconds).nanoseconds)),
      .init("eval_count", .integer(usage.generatedTokens)),
      .init("eval_duration", .integer(Duration.seconds(usage.decodeSeconds).nanoseconds)),
    ]
  }

  private func line(_ text: String, calls: [JSONTree] = [], _ rest: [JSONTree.Member]) -> JSONTree {
    let content: JSONTree.Member =
      switch kind {
      case .chat:
        .init(
          "message",
          .object([
            "role": "assistant", "content": .string(text), "tool_calls": calls.isEmpty ? nil : .array(calls),
          ]))
      case .generate: .init("response", .string(text))
      }
    return .object(
      [.init("model", .string(model)), .init("created_at", .string(OllamaTime.now)), content] + rest)
  }
}

import BitNetJSON

/// Writes the events of an answer as lines of Ollama's `/api/chat` or `/api/generate`.
struct OllamaEncoder: Sendable {
  let kind: OllamaRequest.Kind
  let model: String
  let start: ContinuousClock.Instant
  private var finish = AnswerFinish.stop(text: nil)

  init(_ kind: OllamaRequest.Kind, model: String, start: ContinuousClock.Instant) {
    self.kind = kind
    self.model = model
    self.start = start
  }

  /// The line of an event; nil if there is none.
  mutating func line(_ event: AnswerEvent) -> JSONTree? {
    switch event.kind {
    case .text("", _), .prompt, .call: return nil
    case .text(let text, _): return line(text, [.init("done", false)])
    case .finish(let finish):
      self.finish = finish
      return nil
    // The clients take every line for a part of the answer.
    case .idle: return line("", [.init("done", false)])
    }
  }

  func closing(_ usage: AnswerUsage) -> JSONTree { line("", last(finish, usage)) }

  func whole(_ choice: CollectedChoice, _ usage: AnswerUsage) -> JSONTree {
    line(choice.text, last(choice.finish, usage))
  }

  /// The answer to a request that only asks for the model to be loaded.
  func loaded() -> JSONTree { line("", [.init("done", true), .init("done_reason", "load")]) }

  private func last(_ finish: AnswerFinish, _ usage: AnswerUsage) -> [JSONTree.Member] {
    [
      .init("done", true), .init("done_reason", .string(finish.openAIName)),
      .init("total_duration", .integer(start.duration(to: .now).nanoseconds)), .init("load_duration", 0),
      .init("prompt_eval_count", .integer(usage.promptTokens)),
      .init("prompt_eval_duration", .integer(Duration.seconds(usage.promptSeconds).nanoseconds)),
      .init("eval_count", .integer(usage.generatedTokens)),
      .init("eval_duration", .integer(Duration.seconds(usage.decodeSeconds).nanoseconds)),
    ]
  }

  private func line(_ text: String, _ rest: [JSONTree.Member]) -> JSONTree {
    let content: JSONTree.Member =
      switch kind {
      case .chat: .init("message", ["role": "assistant", "content": .string(text)])
      case .generate: .init("response", .string(text))
      }
    return .object(
      [.init("model", .string(model)), .init("created_at", .string(OllamaTime.now)), content] + rest)
  }
}

import BitNetJSON

/// Writes the events of an answer as OpenAI's `chat.completion` and `chat.completion.chunk`.
struct ChatCompletionEncoder: Sendable {
  let head: OpenAIHead
  let choiceCount: Int
  let hasLogProbabilities: Bool
  let stream: StreamFields?

  // MARK: Streams

  /// The chunks before the first event: each choice's role.
  func opening() -> [JSONTree] {
    (0..<choiceCount).map { chunk($0, delta: ["role": "assistant", "content": ""]) }
  }

  /// The chunk of an event; nil if there is none.
  func chunk(_ event: AnswerEvent) -> JSONTree? {
    switch event.kind {
    case .text(let text, let tokens):
      chunk(
        event.choice, delta: ["content": .string(text)],
        logProbabilities: hasLogProbabilities ? Self.logProbabilities(tokens) : nil)
    case .finish(let finish): chunk(event.choice, delta: [:], finish: finish, receipt: event.receipt)
    case .prompt, .idle: nil
    }
  }

  private func chunk(
    _ choice: Int, delta: JSONTree, logProbabilities: JSONTree? = nil, finish: AnswerFinish? = nil,
    receipt: String? = nil
  ) -> JSONTree {
    head.tree(
      object: "chat.completion.chunk",
      [
        "choices": [
          .object([
            "index": .integer(choice), "delta": delta, "logprobs": logProbabilities ?? .null,
            "finish_reason": finish.map { .string($0.openAIName) } ?? .null,
            "receipt": receipt.map { .string($0) },
          ])
        ],
        "usage": stream?.includesUsage == true ? .null : nil,
      ])
  }

  /// The chunk after the last event; nil without `include_usage`.
  func closing(_ usage: AnswerUsage) -> JSONTree? {
    guard stream?.includesUsage == true else { return nil }
    return head.tree(
      object: "chat.completion.chunk",
      ["choices": .array([]), "usage": usage.openAITree, "timings": usage.timingsTree])
  }

  // MARK: Whole answers

  func whole(_ collected: [CollectedChoice], _ usage: AnswerUsage) -> JSONTree {
    let choices = collected.enumerated().map { index, choice in
      JSONTree.object([
        "index": .integer(index),
        "message": ["role": "assistant", "content": .string(choice.text), "refusal": .null],
        "logprobs": hasLogProbabilities ? Self.logProbabilities(choice.tokens) : .null,
        "finish_reason": .string(choice.finish.openAIName), "receipt": choice.receipt.map { .string($0) },
      ])
    }
    return head.tree(
      object: "chat.completion",
      ["choices": .array(choices), "usage": usage.openAITree, "timings": usage.timingsTree])
  }

  private static func logProbabilities(_ tokens: [AnswerToken]) -> JSONTree {
    func entry(_ bytes: [UInt8], _ logProbability: Float) -> [JSONTree.Member] {
      [
        .init("token", .string(String(decoding: bytes, as: UTF8.self))),
        .init("logprob", .logProbability(logProbability)),
        .init("bytes", .array(bytes.map { .integer(Int($0)) })),
      ]
    }
    let content = tokens.filter { !$0.isEnd }.map { token in
      let alternatives = token.alternatives.map { JSONTree.object(entry($0.bytes, $0.logProbability)) }
      return JSONTree.object(
        entry(token.bytes, token.logProbability ?? 0) + [.init("top_logprobs", .array(alternatives))])
    }
    return ["content": .array(content), "refusal": .null]
  }
}

extension JSONTree {
  /// A log probability as OpenAI writes it: -9999 for what cannot be.
  static func logProbability(_ value: Float) -> JSONTree { .number(value.isFinite ? Double(value) : -9999) }
}

/// A choice, complete.
struct CollectedChoice: Sendable {
  var prompt: [AnswerToken] = []
  var text = ""
  var tokens: [AnswerToken] = []
  var finish = AnswerFinish.length
  var receipt: String?

  mutating func take(_ event: AnswerEvent) {
    switch event.kind {
    case .prompt(let tokens): prompt = tokens
    case .text(let text, let tokens):
      self.text += text
      self.tokens += tokens
    case .finish(let finish): (self.finish, receipt) = (finish, event.receipt)
    case .idle: break
    }
  }
}

extension Answer {
  /// Runs the answer to its end.
  ///
  /// - Parameter count: the number of choices, those of all prompts.
  func collect(_ count: Int) async throws -> ([CollectedChoice], AnswerUsage) {
    var choices = [CollectedChoice](repeating: CollectedChoice(), count: count)
    let usage = try await run { choices[$0.choice].take($0) }
    return (choices, usage)
  }
}

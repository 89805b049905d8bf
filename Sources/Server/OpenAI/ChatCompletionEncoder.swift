import BitNetJSON
import BitNetTokenization

/// Writes the events of an answer as OpenAI's `chat.completion` and `chat.completion.chunk`.
struct ChatCompletionEncoder: Sendable {
  let head: OpenAIHead
  let choiceCount: Int
  let hasLogProbabilities: Bool
  let stream: StreamFields?
  /// How calls of functions are written; nil where there can be none.
  let calls: CallForm?

  /// The forms of calls in OpenAI's interface.
  enum CallForm: Sendable {
    case tools
    /// The older one, in which an answer has one call.
    case function
  }

  // MARK: Streams

  /// The chunks before the first event: each choice's role.
  func opening() -> [JSONTree] {
    // An answer that is a call has no content.
    let content: JSONTree = calls == nil ? "" : .null
    return (0..<choiceCount).map { chunk($0, delta: ["role": "assistant", "content": content]) }
  }

  /// The chunk of an event; nil if there is none.
  func chunk(_ event: AnswerEvent) -> JSONTree? {
    switch event.kind {
    case .text(let text, let tokens):
      chunk(
        event.choice, delta: calls != nil && text.isEmpty ? [:] : ["content": .string(text)],
        logProbabilities: hasLogProbabilities ? Self.logProbabilities(tokens) : nil)
    case .call(let index, let part): delta(index, part).map { chunk(event.choice, delta: $0) }
    case .finish(let finish): chunk(event.choice, delta: [:], finish: finish, receipt: event.receipt)
    case .prompt, .idle: nil
    }
  }

  /// The difference that a part of a call makes; nil if it makes none.
  private func delta(_ index: Int, _ part: AnswerCallPart) -> JSONTree? {
    var call: [JSONTree.Member] = [.init("index", .integer(index))]
    let function: JSONTree
    switch part {
    case .begin(let id, let name):
      call += [.init("id", .string(id)), .init("type", "function")]
      function = ["name": .string(name), "arguments": ""]
    case .arguments(let text): function = ["arguments": .string(text)]
    case .end: return nil
    }
    if calls == .function { return ["function_call": function] }
    return ["tool_calls": [.object(call + [.init("function", function)])]]
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
            "finish_reason": finish.map { name(of: $0) } ?? .null, "receipt": receipt.map { .string($0) },
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
        "message": message(choice),
        "logprobs": hasLogProbabilities ? Self.logProbabilities(choice.tokens) : .null,
        "finish_reason": name(of: choice.finish), "receipt": choice.receipt.map { .string($0) },
      ])
    }
    return head.tree(
      object: "chat.completion",
      ["choices": .array(choices), "usage": usage.openAITree, "timings": usage.timingsTree])
  }

  private func message(_ choice: CollectedChoice) -> JSONTree {
    var members: [JSONTree.Member] = [
      .init("role", "assistant"),
      .init("content", calls != nil && choice.text.isEmpty ? .null : .string(choice.text)), .init("refusal", .null),
    ]
    let functions = choice.calls.map { call -> JSONTree in
      ["name": .string(call.name), "arguments": .string(call.arguments)]
    }
    switch calls {
    case .function?: members += functions.prefix(1).map { .init("function_call", $0) }
    case .tools? where !functions.isEmpty:
      let list = zip(choice.calls, functions).map { call, function -> JSONTree in
        ["id": .string(call.id), "type": "function", "function": function]
      }
      members.append(.init("tool_calls", .array(list)))
    default: break
    }
    return .object(members)
  }

  private func name(of finish: AnswerFinish) -> JSONTree {
    .string(finish == .calls && calls == .function ? "function_call" : finish.openAIName)
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

/// A call of a function in an answer.
struct CollectedCall: Sendable {
  let id: String
  let name: String
  /// The JSON object of the arguments; of a call that is cut, its beginning.
  var arguments = ""
  var isComplete = false

  /// The arguments as a value; of a call that is cut, the members that are complete.
  var input: JSONTree {
    func tree(_ bytes: some Sequence<UInt8>) -> JSONTree? {
      (try? JSONDocument(Array(bytes)).root).flatMap { try? JSONTree($0) }
    }
    if let whole = tree(arguments.utf8) { return whole }
    let cut = arguments.utf8.indices.reversed().lazy.filter { arguments.utf8[$0] == UInt8(ascii: ",") }
    for end in cut.prefix(100) {
      if let part = tree(Array(arguments.utf8[..<end]) + [UInt8(ascii: "}")]) { return part }
    }
    return [:]
  }
}

/// A choice, complete.
struct CollectedChoice: Sendable {
  var prompt: [AnswerToken] = []
  var text = ""
  var tokens: [AnswerToken] = []
  var calls: [CollectedCall] = []
  var finish = AnswerFinish.length
  var receipt: String?

  mutating func take(_ event: AnswerEvent) {
    switch event.kind {
    case .prompt(let tokens): prompt = tokens
    case .text(let text, let tokens):
      self.text += text
      self.tokens += tokens
    case .call(_, .begin(let id, let name)): calls.append(CollectedCall(id: id, name: name))
    case .call(let index, .arguments(let text)): calls[index].arguments += text
    case .call(let index, .end): calls[index].isComplete = true
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

import BitNetJSON

/// Writes the events of an answer as OpenAI's `text_completion`.
struct CompletionEncoder: Sendable {
  let head: OpenAIHead
  /// The texts that choices begin with, one for each choice; nil without `echo`.
  let echoes: [String]?
  let alternatives: Int?
  let stream: StreamFields?
  /// For each choice, where its next token begins, in characters of the choice's text.
  private var offsets: [Int]

  init(
    head: OpenAIHead, choiceCount: Int, echoes: [String]?, alternatives: Int?, stream: StreamFields?
  ) {
    self.head = head
    self.echoes = echoes
    self.alternatives = alternatives
    self.stream = stream
    offsets = [Int](repeating: 0, count: choiceCount)
  }

  // MARK: Streams

  /// The chunks before the first event: the prompts that are echoed, unless they come with their log probabilities.
  mutating func opening() -> [JSONTree] {
    guard let echoes, alternatives == nil else { return [] }
    return echoes.enumerated().map { chunk($0, text: $1, tokens: []) }
  }

  /// The chunk of an event; nil if there is none.
  mutating func chunk(_ event: AnswerEvent) -> JSONTree? {
    switch event.kind {
    case .prompt(let tokens): chunk(event.choice, text: echoes?[event.choice] ?? "", tokens: tokens)
    case .text(let text, let tokens): chunk(event.choice, text: text, tokens: tokens)
    case .finish(let finish):
      chunk(event.choice, text: "", tokens: [], finish: finish, receipt: event.receipt)
    case .call, .idle: nil
    }
  }

  private mutating func chunk(
    _ choice: Int, text: String, tokens: [AnswerToken], finish: AnswerFinish? = nil, receipt: String? = nil
  ) -> JSONTree {
    head.tree(
      object: "text_completion",
      [
        "choices": [
          .object([
            "index": .integer(choice), "text": .string(text), "logprobs": logProbabilities(tokens, of: choice),
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
      object: "text_completion",
      ["choices": .array([]), "usage": usage.openAITree, "timings": usage.timingsTree])
  }

  // MARK: Whole answers

  mutating func whole(_ collected: [CollectedChoice], _ usage: AnswerUsage) -> JSONTree {
    let choices = collected.enumerated().map { index, choice in
      JSONTree.object([
        "index": .integer(index), "text": .string((echoes?[index] ?? "") + choice.text),
        "logprobs": logProbabilities(choice.prompt + choice.tokens, of: index),
        "finish_reason": .string(choice.finish.openAIName), "receipt": choice.receipt.map { .string($0) },
      ])
    }
    return head.tree(
      object: "text_completion",
      ["choices": .array(choices), "usage": usage.openAITree, "timings": usage.timingsTree])
  }

  /// The four lists of the log probabilities of completions, which have one element for each token.
  private mutating func logProbabilities(_ tokens: [AnswerToken], of choice: Int) -> JSONTree {
    guard alternatives != nil else { return .null }
    var texts: [JSONTree] = []
    var values: [JSONTree] = []
    var tops: [JSONTree] = []
    var offsets: [JSONTree] = []
    for token in tokens {
      let name = Self.name(token.bytes)
      texts.append(.string(name))
      offsets.append(.integer(self.offsets[choice]))
      if !token.isEnd { self.offsets[choice] += (token.text ?? "").unicodeScalars.count }
      guard let value = token.logProbability else {
        values.append(.null)
        tops.append(.null)
        continue
      }
      values.append(.logProbability(value))
      var members: [JSONTree.Member] = []
      for (bytes, value) in token.alternatives + [(token.bytes, value)] {
        let name = Self.name(bytes)
        if !members.contains(where: { $0.name == name }) { members.append(.init(name, .logProbability(value))) }
      }
      tops.append(.object(members))
    }
    return [
      "tokens": .array(texts), "token_logprobs": .array(values), "top_logprobs": .array(tops),
      "text_offset": .array(offsets),
    ]
  }

  /// A token's text; its bytes, as OpenAI writes them, if they are not UTF-8.
  private static func name(_ bytes: [UInt8]) -> String {
    if let text = String(validating: bytes, as: UTF8.self) { return text }
    return "bytes:" + bytes.map { "\\x" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

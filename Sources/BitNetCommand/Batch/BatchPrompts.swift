import BitNet
import BitNetInference
import BitNetJSON
import BitNetTokenization

/// Answers lines with a prompt or a chat, or with a request.
struct BatchPrompts: BatchAnswerer {
  static let content = "text"

  let model: LanguageModel
  let requests: BatchRequests
  /// What applies where a line says nothing.
  let options: GenerationOptions
  /// Nil for answers without receipts.
  let receipts: BatchReceipts?
  let chatFormat: ChatTemplate?
  let parsesSpecials: Bool

  func answer(_ bytes: [UInt8], place: Int, isWhole: Bool) async -> BatchAnswer {
    var (line, id): (Int, JSONTree?) = (place, nil)
    do {
      let json = try JSONDocument(bytes, limits: BatchTask.limits).root
      if BatchRequests.holds(json) { return await requests.answer(json, place: place, isWhole: isWhole) }
      if json.kind == .object {
        id = try json["id"].ifPresent.map(JSONTree.init)
        line = try BatchAnswer.number(json["line"], place: place, isWhole: isWhole)
      }
      let task = try BatchTask(json, line: line, defaults: options)
      let response = try await generation(for: task).response()
      let receipt = try receipts.flatMap { receipts in
        try response.receipt.map { try receipts.key?.sign($0) ?? $0 }
      }
      let tree = JSONTree.object([
        "line": .integer(line), "id": id, "text": .string(response.text),
        "finish_reason": .string(response.finish.description),
        "prompt_tokens": .integer(response.statistics.promptTokens),
        "completion_tokens": .integer(response.statistics.generatedTokens),
        "tokens": showsTokens(task) ? .array(response.tokens.map(token)) : nil,
        "receipt": receipt.map { .string("\($0)") },
      ])
      return BatchAnswer(tree, tokens: response.statistics.generatedTokens)
    } catch {
      return BatchAnswer(error, line: line, id: id)
    }
  }

  /// Log probabilities may be there for the digests of receipts alone.
  private func showsTokens(_ task: BatchTask) -> Bool {
    task.options.logProbabilities != nil && (task.asksForTokens || receipts?.showsTokens ?? true)
  }

  private func generation(for task: BatchTask) throws -> Generation {
    var options = task.options
    func generation(_ template: ChatTemplate, _ chat: ChatInput) throws -> Generation {
      try template.check(model.tokenizer)
      if !options.ignoresEndTokens { options.stopTokens.formUnion(template.stopTokens(of: model.tokenizer)) }
      let tokens = try template.encode(chat, with: model.tokenizer, parsingSpecialTokens: parsesSpecials)
      return model.generate(tokens: tokens, options: options)
    }
    switch task.prompt {
    case .text(let text):
      if let chatFormat { return try generation(chatFormat, ChatInput([.init(role: .user, content: text)])) }
      return model.generate(text, options: options, parsingSpecialTokens: parsesSpecials)
    case .chat(let chat):
      guard let template = chatFormat ?? model.chatTemplate else {
        throw CommandError(
          "the model's chat template is \(model.chatTemplateFault.map { "invalid: \($0)" } ?? "missing"); "
            + "expected one in its files, or --chat-format")
      }
      return try generation(template, chat)
    }
  }

  private func token(_ sampled: SampledToken) -> JSONTree {
    .object([
      "id": .integer(Int(sampled.token)), "text": .string(model.tokenizer.decode([sampled.token])),
      "logprob": sampled.logProbability.map { .number(Double($0)) },
      "top": .array(
        sampled.alternatives.map {
          .object([
            "id": .integer(Int($0.token)), "text": .string(model.tokenizer.decode([$0.token])),
            "logprob": .number(Double($0.logProbability)),
          ])
        }),
    ])
  }
}

/// The receipts of a batch's answers.
struct BatchReceipts: Sendable {
  /// Signs them; nil for receipts without a signature.
  let key: ReceiptKey?
  /// Whether log probabilities were asked for, and not only for digests.
  let showsTokens: Bool
}

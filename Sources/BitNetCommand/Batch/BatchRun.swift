import BitNet
import BitNetInference
import BitNetJSON
import BitNetTokenization

/// Answers the lines of a file, many at a time.
struct BatchRun: Sendable {
  let model: LanguageModel
  let input: String
  let output: String
  let inOrder: Bool
  /// How many lines are answered together.
  let concurrency: Int
  /// What applies where a line says nothing.
  let options: GenerationOptions
  /// Nil for answers without receipts.
  let receipts: BatchReceipts?
  let chatFormat: ChatTemplate?
  let parsesSpecials: Bool
  let isQuiet: Bool

  /// - Returns: whether every line has an answer that is no error.
  func run() async throws -> Bool {
    let file = try BatchOutput(output)
    let source = try BatchSource(input, answered: file.answered)
    let total = isQuiet ? nil : try BatchSource.count(input)
    if !isQuiet, !file.answered.isEmpty {
      let found = plural(file.answered.count, "answer")
      ByteOutput.note("\(file.name) has \(found) already; going on with the other lines")
    }
    let sink = BatchSink(file, inOrder: inOrder, window: 16 * concurrency)
    let meter = BatchMeter(total: total.map { max(0, $0 - file.answered.count) })
    let clock = ContinuousClock()
    let start = clock.now
    defer { meter.finish() }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<concurrency {
        group.addTask {
          while let line = try await source.next() {
            await sink.begin(line.index)
            let answer = await answer(to: line.bytes, place: line.number)
            try await sink.write(
              answer.json.serialized() + [UInt8(ascii: "\n")], index: line.index, tokens: answer.tokens,
              isFailure: answer.isFailure)
            if !isQuiet { meter.update(await sink.progress) }
          }
        }
      }
      try await group.waitForAll()
    }
    meter.finish()
    let progress = await sink.progress
    if !isQuiet {
      let seconds = start.duration(to: clock.now) / .seconds(1)
      let rate = seconds > 0 ? (Double(progress.tokens) / seconds).decimals(1) : "0"
      let failed = progress.failures > 0 ? "; \(plural(progress.failures, "line")) failed" : ""
      ByteOutput.note(
        "\(plural(progress.lines, "answer")), \(plural(progress.tokens, "token")), "
          + "\(rate) per second in \(duration(seconds))\(failed)")
    }
    return progress.failures == 0
  }

  private struct Answer {
    var json: JSONTree
    var tokens = 0
    var isFailure = false
  }

  /// The answer to a line, or the error that it has instead.
  private func answer(to bytes: [UInt8], place: Int) async -> Answer {
    var (line, id): (Int, JSONTree?) = (place, nil)
    do {
      let task = try BatchTask(bytes, line: place, defaults: options)
      (line, id) = (task.line, task.id)
      guard output == "-" || line == place else {
        throw CommandError(
          "line is \(line) in line \(place) of \(input); expected that field for answers on standard output alone")
      }
      let response = try await generation(for: task).response()
      let receipt = try receipts.flatMap { receipts in
        try response.receipt.map { try receipts.key?.sign($0) ?? $0 }
      }
      let json = JSONTree.object([
        "line": .integer(line), "id": id, "text": .string(response.text),
        "finish_reason": .string(response.finish.description),
        "prompt_tokens": .integer(response.statistics.promptTokens),
        "completion_tokens": .integer(response.statistics.generatedTokens),
        "tokens": showsTokens(task) ? .array(response.tokens.map(token)) : nil,
        "receipt": receipt.map { .string("\($0)") },
      ])
      return Answer(json: json, tokens: response.statistics.generatedTokens)
    } catch {
      let message = (error as? JSONError)?.description ?? "\(error)"
      return Answer(
        json: .object(["line": .integer(line), "id": id, "error": ["message": .string(message)]]), isFailure: true)
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

/// The progress bar of a batch.
private final class BatchMeter: Sendable {
  private let bar = ProgressBar("answering")
  private let total: Int?
  private let start = ContinuousClock.now

  init(total: Int?) { self.total = total }

  func update(_ progress: BatchSink.Progress) {
    guard let total, total > 0 else { return }
    bar.update(min(1, Double(progress.lines) / Double(total))) {
      let seconds = (ContinuousClock.now - start) / .seconds(1)
      guard seconds > 0.5 else { return "" }
      let left = seconds / Double(progress.lines) * Double(max(0, total - progress.lines))
      return "\(progress.lines.grouped) of \(total.grouped), "
        + "\((Double(progress.tokens) / seconds).decimals(0)) tokens/s, \(TransferRate.clock(left)) left"
    }
  }

  func finish() { bar.finish() }
}

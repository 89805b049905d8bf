import BitNetInference
/// An answer under way: all choices of all prompts of a request. Its generations have started; releasing it ends them.
package struct Answer: Sendable {
  private let choices: [ChoiceRun]
  private let choicesPerPrompt: Int
  private let metrics: ModelMetrics

  /// Starts generations for all prompts and choices.
  ///
  /// - Throws: what `RequestError` can be made of; then none runs.
  package init(_ request: AnswerRequest, on served: ServedModel) async throws {
    var choices: [ChoiceRun] = []
    for prompt in request.prompts {
      for choice in 0..<request.choiceCount {
        choices.append(
          try await ChoiceRun(
            choices.count, prompt: prompt, of: request,
            seed: request.sampling.seed &+ UInt64(request.hasSeed ? choice : choices.count), on: served))
      }
    }
    self.choices = choices
    choicesPerPrompt = request.choiceCount
    metrics = served.metrics
  }

  /// Runs the answer to its end.
  ///
  /// - Parameters:
  ///   - interval: after how much time without an event `body` gets `idle`; nil for never.
  ///   - body: called with each event in turn; the generations run only a little ahead of it.
  /// - Throws: what ended a generation, or `CancellationError` when the task is cancelled. All generations then end.
  package func run(
    pinging interval: Duration? = nil, _ body: (AnswerEvent) async throws -> Void
  ) async throws -> AnswerUsage {
    enum Outcome: Sendable {
      case events(ChoiceRun, [AnswerEvent.Kind]?)
      case timer
    }
    try await withThrowingTaskGroup(of: Outcome.self) { group in
      func follow(_ choice: ChoiceRun) { group.addTask { .events(choice, try await choice.next()) } }
      func startTimer() {
        guard let interval else { return }
        group.addTask {
          try? await Task.sleep(for: interval)
          return .timer
        }
      }
      var left = choices.count
      var isQuiet = true
      for choice in choices { follow(choice) }
      startTimer()
      while left > 0, let outcome = try await group.next() {
        switch outcome {
        case .timer:
          if isQuiet { try await body(AnswerEvent(choice: 0, .idle)) }
          isQuiet = true
          startTimer()
        case .events(let choice, let events?):
          isQuiet = false
          for kind in events {
            var event = AnswerEvent(choice: choice.index, kind)
            if case .finish(let finish) = kind { event.receipt = try await choice.receipt(finish) }
            try await body(event)
          }
          follow(choice)
        case .events(_, nil): left -= 1
        }
      }
      group.cancelAll()
    }
    let (usage, longest) = await usage()
    metrics.longestGeneration.observe(Double(longest))
    return usage
  }

  /// What all choices have taken, and the tokens of the longest.
  private func usage() async -> (AnswerUsage, longest: Int) {
    var total = AnswerUsage()
    var longest = 0
    for (index, choice) in choices.enumerated() {
      let usage = await choice.usage
      // The choices of one prompt share it.
      if index % choicesPerPrompt == 0 {
        total.promptTokens += usage.promptTokens
        total.cachedTokens += usage.cachedTokens
      }
      total.generatedTokens += usage.generatedTokens
      total.draftedTokens += usage.draftedTokens
      total.acceptedTokens += usage.acceptedTokens
      longest = max(longest, usage.generatedTokens)
      total.promptSeconds = max(total.promptSeconds, usage.promptSeconds)
      total.decodeSeconds = max(total.decodeSeconds, usage.decodeSeconds)
    }
    return (total, longest)
  }
}

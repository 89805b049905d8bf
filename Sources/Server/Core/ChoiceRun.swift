import BitNet
import BitNetInference
import BitNetServing
import BitNetTokenization
import BitNetToolCalls

/// One choice of an answer: its tokens become events.
actor ChoiceRun {
  let index: Int
  private let served: ServedModel
  private let request: AnswerRequest
  private let prompt: [TokenID]
  /// Nil if there is nothing to generate.
  private let stream: TokenStream?
  private let stopTokens: Set<TokenID>
  private let limit: Int
  private var assembler: TextAssembler
  /// Nil if the answer has no calls of functions.
  private var calls: CallReader?
  private var hasScored = false
  private var isDone = false

  private let start = ContinuousClock.now
  private var first: ContinuousClock.Instant?
  private var last: ContinuousClock.Instant?
  private var generated = 0
  /// The tokens so far, if there is to be a receipt, and what they depend on.
  private var taken: [SampledToken] = []
  private let record: GenerationRecord?
  private var isCounted = false

  /// Starts the generation.
  ///
  /// - Throws: `EngineError` or `SchedulerError` if it cannot be served.
  init(_ index: Int, prompt: [TokenID], of request: AnswerRequest, seed: UInt64, on served: ServedModel) async throws {
    let model = served.model
    self.index = index
    self.served = served
    self.request = request
    self.prompt = prompt
    var stops = request.stopTokens
    if !request.ignoresEndTokens { stops.formUnion(model.endTokens) }
    stopTokens = stops
    let markers = request.calls?.use.style.markers.compactMap(model.tokenizer.id(ofSpecialToken:)) ?? []
    assembler = TextAssembler(
      model.tokenizer, stops: request.stopTexts, showsSpecialTokens: request.showsSpecialTokens, shown: Set(markers))
    guard !prompt.isEmpty else {
      throw RequestError.invalid("the prompt is empty; expected at least one token", parameter: "prompt")
    }
    let room = model.contextLength - prompt.count
    guard request.maximumTokens != 0 else {
      guard room >= 0 else { throw RequestError.contextLengthExceeded(prompt.count, limit: model.contextLength) }
      (limit, stream, record) = (0, nil, nil)
      return
    }
    guard room > 0 else { throw RequestError.contextLengthExceeded(prompt.count, limit: model.contextLength) }
    limit = min(request.maximumTokens ?? .max, room)
    var sampling = request.sampling
    sampling.seed = seed
    record = try request.wantsReceipt ? Self.record(of: request, prompt, sampling, limit, stops, served) : nil
    calls = request.calls.map { CallReader($0, prompt: prompt, sampling: sampling, request, index: index) }
    stream = try await served.start(
      Request(
        prompt: prompt, sampling: sampling, logProbabilities: request.logProbabilities, biases: request.biases,
        constraint: request.constraint, limit: limit, stops: stops, deadline: request.deadline))
  }

  /// Ends the generation.
  nonisolated func cancel() { stream?.cancel() }

  /// The next events, at least one; nil after the last.
  func next() async throws -> [AnswerEvent.Kind]? {
    guard !isDone else { return nil }
    if request.scoresPrompt, !hasScored {
      hasScored = true
      return [.prompt(try await scoredPrompt())]
    }
    guard let stream else {
      isDone = true
      count("length")
      return [.finish(.length)]
    }
    do {
      while let sampled = try await stream.next() {
        noteToken()
        if record != nil { taken.append(sampled) }
        let events = take(sampled)
        if !events.isEmpty { return events }
      }
    } catch {
      count(error is CancellationError ? "abort" : "error")
      throw error
    }
    isDone = true
    return nil
  }

  private func take(_ sampled: SampledToken) -> [AnswerEvent.Kind] {
    let isEnd = stopTokens.contains(sampled.token)
    var pieces: [TextAssembler.Piece] = []
    if !isEnd { pieces.append(assembler.append(sampled)) }
    var hasStopped = pieces.last?.hasStopped ?? false
    var isLast = isEnd || hasStopped || generated >= limit
    if isLast, !hasStopped {
      pieces.append(assembler.finish())
      hasStopped = pieces.last!.hasStopped
    }
    let text = pieces.map(\.text).joined()
    var tokens: [AnswerToken] = []
    if request.logProbabilities != nil {
      tokens = pieces.flatMap(\.tokens).map { answerToken($0) }
      if isEnd, !hasStopped { tokens.append(answerToken(sampled, isEnd: true)) }
    }
    var events: [AnswerEvent.Kind] = []
    if let found = calls?.take(text, isLast: isLast) {
      // Tokens of calls are listed, too.
      events = (tokens.isEmpty ? [] : [.text("", tokens)]) + found
    } else if !(text.isEmpty && tokens.isEmpty) {
      events = [.text(text, tokens)]
    }
    // A receipt's tokens go on to their own end.
    let isOver = record == nil && calls?.isOver ?? false
    isLast = isLast || isOver
    if isLast {
      isDone = true
      if hasStopped || isOver { stream?.cancel() }
      let isComplete = isEnd || hasStopped || isOver
      count(isComplete ? "stop" : "length")
      events.append(.finish(isComplete ? finish(hasStopped) : .length))
    }
    return events
  }

  private func finish(_ hasStopped: Bool) -> AnswerFinish {
    if calls?.hasCalls ?? false { return .calls }
    return .stop(text: hasStopped ? assembler.stopText : nil)
  }

  private static func record(
    of request: AnswerRequest, _ prompt: [TokenID], _ sampling: SamplingParameters, _ limit: Int,
    _ stops: Set<TokenID>, _ served: ServedModel
  ) throws(RequestError) -> GenerationRecord {
    guard !request.showsSpecialTokens || request.stopTexts.isEmpty else {
      // Audits look for stop texts in texts without special tokens.
      throw .invalid(
        "receipt is true beside skip_special_tokens: false and stop; expected two of them", parameter: "receipt")
    }
    let model = served.model
    let format = try request.constraint.map { (constraint) throws(RequestError) in
      guard let text = model.constraints.text(of: constraint) else {
        throw .invalid("receipt is true for a form that no receipt can hold; expected false", parameter: "receipt")
      }
      return text
    }
    return GenerationRecord(
      fingerprint: model.modelFingerprint, prompt: prompt, sampling: sampling, limit: limit,
      // Tokens that the model does not have end nothing.
      stopTokens: stops.filter { 0..<model.configuration.vocabularySize ~= Int($0) }, stopTexts: request.stopTexts,
      biases: request.biases, format: format)
  }

  /// The receipt of the choice, which has ended; nil if none is wanted, or without a token.
  func receipt(_ finish: AnswerFinish) throws -> String? {
    guard let record, !taken.isEmpty else { return nil }
    let receipt = Receipt(record, tokens: taken, finish: finish == .length ? .length : .stop)
    return "\(try request.receiptKey?.sign(receipt) ?? receipt)"
  }

  private func answerToken(_ sampled: SampledToken, isEnd: Bool = false) -> AnswerToken {
    let tokenizer = served.tokenizer
    return AnswerToken(
      bytes: tokenizer.bytes(of: sampled.token) ?? [], logProbability: sampled.logProbability,
      alternatives: sampled.alternatives.map { (tokenizer.bytes(of: $0.token) ?? [], $0.logProbability) },
      isEnd: isEnd)
  }

  /// The prompt's tokens with their log probabilities; the first one has none.
  private func scoredPrompt() async throws -> [AnswerToken] {
    let first = AnswerToken(
      bytes: served.tokenizer.bytes(of: prompt[0]) ?? [], logProbability: nil, alternatives: [])
    guard let count = request.logProbabilities else { return [] }
    let scores = try await served.replica(for: prompt).scores(of: prompt, alternatives: count)
    return [first] + scores.map { answerToken($0) }
  }

  // MARK: Metrics

  deinit { if !isCounted { served.metrics.count("abort") } }

  private func noteToken() {
    let now = ContinuousClock.now
    let metrics = served.metrics
    if let last { metrics.interTokenLatency.observe(last.duration(to: now) / .seconds(1)) }
    if first == nil {
      first = now
      metrics.timeToFirstToken.observe(start.duration(to: now) / .seconds(1))
    }
    last = now
    generated += 1
  }

  /// Counts the generation, once.
  private func count(_ reason: String) {
    guard !isCounted else { return }
    isCounted = true
    let metrics = served.metrics
    metrics.count(reason)
    metrics.promptTokens.add(prompt.count)
    metrics.cachedTokens.add(stream?.cachedTokens ?? 0)
    metrics.generatedTokens.add(generated)
    guard reason == "stop" || reason == "length", let first, let last else { return }
    let admission = stream?.admission ?? start
    metrics.latency.observe(start.duration(to: last) / .seconds(1))
    metrics.queueTime.observe(start.duration(to: admission) / .seconds(1))
    metrics.prefillTime.observe(admission.duration(to: first) / .seconds(1))
    metrics.decodeTime.observe(first.duration(to: last) / .seconds(1))
    metrics.inferenceTime.observe(admission.duration(to: last) / .seconds(1))
    metrics.promptLength.observe(Double(prompt.count))
    metrics.computedLength.observe(Double(prompt.count - (stream?.cachedTokens ?? 0)))
    metrics.generationLength.observe(Double(generated))
    if generated > 1 {
      metrics.timePerOutputToken.observe(first.duration(to: last) / .seconds(1) / Double(generated - 1))
    }
  }

  /// What the choice has taken so far.
  var usage: AnswerUsage {
    var usage = AnswerUsage()
    usage.promptTokens = prompt.count
    usage.cachedTokens = stream?.cachedTokens ?? 0
    usage.generatedTokens = generated
    let speculation = stream?.speculation ?? .init()
    (usage.draftedTokens, usage.acceptedTokens) = (speculation.drafted, speculation.accepted)
    let end = first ?? .now
    usage.promptSeconds = start.duration(to: end) / .seconds(1)
    usage.decodeSeconds = last.map { end.duration(to: $0) / .seconds(1) } ?? 0
    return usage
  }
}

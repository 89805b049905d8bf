import BitNetInference
import BitNetServing
import BitNetTokenization

/// Text being generated, piece by piece: an asynchronous sequence of ``GeneratedPiece``.
///
/// Nothing runs until the generation is iterated; then it runs up to 16 tokens ahead of the reader. Generations that
/// several tasks iterate at the same time go through the model together, and each gives the text that it gives alone.
/// Dropping the iterator, or cancelling the task that iterates, ends the work after the steps that are running.
/// Iterating again generates again; for a chat's answer, it asks the question again.
///
/// Iterating throws ``BitNetError``, or `CancellationError` when the task is cancelled or a later question ends a
/// chat's answer.
public struct Generation: AsyncSequence, Sendable {
  /// Where the prompt comes from.
  enum Source: Sendable {
    case tokens([TokenID])
    /// A question, whose prompt is made when the generation starts, from the conversation as it then is.
    case chat(ChatSession, question: String)
  }

  let model: LanguageModel
  let source: Source
  let options: GenerationOptions

  /// Starts generating when the iterator's `next()` is first called.
  public func makeAsyncIterator() -> Iterator { Iterator(generation: self, takesWhole: false) }

  /// Generates to the end.
  ///
  /// - Throws: ``BitNetError``; `CancellationError` when the task is cancelled.
  public func response() async throws -> Response {
    var response = Response(text: "", tokens: [], finish: .length, statistics: GenerationStatistics())
    var iterator = Iterator(generation: self, takesWhole: true)
    while let piece = try await iterator.next() {
      response.text += piece.text
      response.tokens.append(piece.token)
      response.statistics = piece.statistics
      response.record = piece.record
      if let finish = piece.finish { response.finish = finish }
    }
    return response
  }

  /// One pass through a generation.
  public struct Iterator: AsyncIteratorProtocol {
    private let generation: Generation
    /// Whether nobody sees the pieces before the generation has ended.
    private let takesWhole: Bool
    private var run: Run?
    private var isDone = false

    fileprivate init(generation: Generation, takesWhole: Bool) {
      self.generation = generation
      self.takesWhole = takesWhole
    }

    /// The next piece; nil after the last one.
    public mutating func next() async throws -> GeneratedPiece? {
      guard !isDone else { return nil }
      do {
        try Task.checkCancellation()
        if run == nil { run = try await Run(generation, takesWhole: takesWhole) }
        let piece = try await run!.next()
        if piece?.finish != nil { end() }
        return piece
      } catch {
        end()
        throw error is CancellationError ? error : BitNetError(error)
      }
    }

    private mutating func end() {
      isDone = true
      run = nil
    }
  }
}

/// The work of an iterator.
private struct Run {
  private let answer: ChatSession.Answer?
  private let tokens: TokenStream
  private let record: GenerationRecord
  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant
  private var firstToken: ContinuousClock.Instant?
  private var assembly: TextAssembly
  private var statistics = GenerationStatistics()

  init(_ generation: Generation, takesWhole: Bool) async throws {
    let model = generation.model
    let options = generation.options
    start = clock.now
    if let maximum = options.maximumTokens, maximum < 1 {
      throw EngineError.parameter(name: "the maximum number of tokens", found: "\(maximum)", expected: "1 or more")
    }
    var stopTokens = options.stopTokens
    if !options.ignoresEndTokens { stopTokens.formUnion(model.endTokens) }
    let constraint = try options.format.constraint.map { try model.constraints.constraint($0) }
    let prompt: [TokenID]
    switch generation.source {
    case .tokens(let tokens): (prompt, answer) = (tokens, nil)
    case .chat(let session, let question):
      let answer = try await session.begin(question, maximumTokens: options.maximumTokens)
      stopTokens.formUnion(answer.stopTokens)
      (prompt, self.answer) = (answer.prompt, answer)
    }
    let limit = max(1, min(options.maximumTokens ?? .max, model.contextLength - prompt.count))
    let biases = options.logitBias.sorted { $0.key < $1.key }.map { TokenBias(token: $0.key, value: $0.value) }
    record = GenerationRecord(
      fingerprint: model.modelFingerprint, prompt: prompt, sampling: options.sampling, limit: limit,
      stopTokens: stopTokens, stopTexts: options.stopTexts, biases: biases, format: options.format.constraint)
    assembly = TextAssembly(model.tokenizer, stopTokens: stopTokens, stopTexts: options.stopTexts, limit: limit)
    tokens = try await model.scheduler.start(
      Request(
        prompt: prompt, sampling: options.sampling, logProbabilities: options.logProbabilities,
        biases: biases, constraint: constraint, limit: limit, stops: stopTokens,
        // Stop texts are found by reading, and a chat keeps what was read of an answer that is cancelled.
        readsInGroups: takesWhole && options.stopTexts.isEmpty && answer == nil))
    statistics.promptTokens = prompt.count
    await answer?.attach(tokens)
  }

  mutating func next() async throws -> GeneratedPiece? {
    guard let sampled = try await tokens.next() else { return nil }
    let now = clock.now
    if firstToken == nil {
      firstToken = now
      statistics.timeToFirstToken = start.duration(to: now)
      statistics.cachedTokens = tokens.cachedTokens
    }
    statistics.generatedTokens += 1
    statistics.decodeTime = firstToken!.duration(to: now)

    let speculation = tokens.speculation
    (statistics.draftedTokens, statistics.acceptedTokens) = (speculation.drafted, speculation.accepted)
    let (text, finish) = assembly.append(sampled.token)
    let piece = GeneratedPiece(text: text, token: sampled, statistics: statistics, finish: finish, record: record)
    try await answer?.append(piece, endsWithToken: record.stopTokens.contains(sampled.token))
    return piece
  }
}

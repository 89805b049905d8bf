import BitNetInference
import BitNetTokenization

/// Text being generated, piece by piece: an asynchronous sequence of ``GeneratedPiece``.
///
/// Nothing runs until it is iterated, and steps run when the next piece is asked for: one on a CPU, some on a GPU. Dropping the iterator, or
/// cancelling the task that iterates, ends the work after the steps that are running. Iterating again generates again.
public struct Generation: AsyncSequence, Sendable {
  public typealias Element = GeneratedPiece

  let model: LanguageModel
  let prompt: [Int32]
  let options: GenerationOptions
  /// Where a chat's answer continues from and goes to; nil for text that stands alone.
  var chat: ChatTurn?

  struct ChatTurn: Sendable {
    let session: ChatSession
    let sequence: HostedSequence
    let turn: Int
  }

  public func makeAsyncIterator() -> Iterator { Iterator(generation: self) }

  /// The whole text and its statistics.
  public func text() async throws -> (text: String, statistics: GenerationStatistics) {
    var text = ""
    var statistics = GenerationStatistics()
    for try await piece in self {
      text += piece.text
      statistics = piece.statistics
    }
    return (text, statistics)
  }

  public struct Iterator: AsyncIteratorProtocol {
    private let generation: Generation
    private var run: Run?
    private var isDone = false

    fileprivate init(generation: Generation) { self.generation = generation }

    public mutating func next() async throws -> GeneratedPiece? {
      guard !isDone else { return nil }
      do {
        try Task.checkCancellation()
        if run == nil { run = try await Run(generation) }
        let piece = try await run!.next()
        if piece.finish != nil { isDone = true }
        return piece
      } catch {
        isDone = true
        throw error
      }
    }
  }
}

/// One pass through a generation.
private struct Run {
  private let generation: Generation
  private let sequence: HostedSequence
  private let stopTokens: Set<Int32>
  private let limit: Int
  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant
  private var firstToken: ContinuousClock.Instant?
  /// Tokens that the next step takes: the prompt's, then the last generated one.
  private var pending: [Int32]
  /// Sampled tokens that have not been asked for yet.
  private var ready: ArraySlice<SampledToken> = []
  private var decoder: StreamingDecoder
  private var matcher: StopMatcher
  /// Tokens the sequence's cache must hold before the next step.
  private var length: Int
  private var statistics = GenerationStatistics()

  /// Prompt tokens of one step: short enough that others who share the engine, and cancellation, wait little.
  private static let promptChunk = 256

  init(_ generation: Generation) async throws {
    let model = generation.model
    let options = generation.options
    self.generation = generation
    start = clock.now
    try options.sampling.validate()
    if let maximum = options.maximumTokens, maximum < 1 {
      throw EngineError.parameter(name: "the maximum number of tokens", found: "\(maximum)", expected: "1 or more")
    }
    let prompt = generation.prompt
    guard !prompt.isEmpty else {
      throw EngineError.parameter(name: "the prompt", found: "empty", expected: "at least one token")
    }
    guard prompt.count < model.contextLength else {
      throw EngineError.contextFull(length: 0, adding: prompt.count, limit: model.contextLength)
    }
    limit = min(options.maximumTokens ?? .max, model.contextLength - prompt.count)
    stopTokens = options.ignoresEndTokens ? options.stopTokens : options.stopTokens.union(model.endTokens)
    decoder = StreamingDecoder(model.tokenizer)
    matcher = StopMatcher(options.stopTexts)
    if let chat = generation.chat { sequence = chat.sequence } else { sequence = try await HostedSequence(model.host) }
    // A chat's cache holds the turns before; keep what this prompt shares with it, but always run the last token.
    let id = sequence.id
    let shared = try await model.host.perform { engine in
      let held = try engine.tokens(of: id)
      let shared = min(zip(held, prompt).prefix { $0 == $1 }.count, prompt.count - 1)
      try engine.truncate(id, to: shared)
      return shared
    }
    length = shared
    pending = Array(prompt[shared...])
    statistics.promptTokens = prompt.count
    statistics.cachedTokens = shared
  }

  mutating func next() async throws -> GeneratedPiece {
    while pending.count > Self.promptChunk {
      _ = try await step(Array(pending.prefix(Self.promptChunk)), output: .none)
      pending.removeFirst(Self.promptChunk)
      try Task.checkCancellation()
    }
    let sampled = try await sample()
    let now = clock.now
    if firstToken == nil {
      firstToken = now
      statistics.timeToFirstToken = start.duration(to: now) / .seconds(1)
    }
    statistics.generatedTokens += 1
    statistics.decodeTime = firstToken!.duration(to: now) / .seconds(1)

    var piece = GeneratedPiece(text: "", tokens: [sampled])
    var reason: FinishReason?
    if stopTokens.contains(sampled.token) {
      reason = .stop
    } else {
      let (text, stopped) = matcher.append(decoder.append(sampled.token))
      piece.text = text
      if stopped { reason = .stop } else if statistics.generatedTokens >= limit { reason = .length }
    }
    if var reason {
      // What decoder and matcher still held back.
      let (text, stopped) = matcher.append(decoder.finish())
      piece.text += text + matcher.finish()
      if stopped { reason = .stop }
      piece.finish = reason
    }
    piece.statistics = statistics
    try await generation.chat?.session.append(piece, turn: generation.chat!.turn)
    return piece
  }

  /// The next sampled token. The first comes alone, so that it comes soon; those after it come as many at a time as the engine likes.
  private mutating func sample() async throws -> SampledToken {
    if let next = ready.popFirst() { return next }
    let options = generation.options
    let output = Batch.Output.sample(options.sampling, logProbabilities: options.logProbabilities)
    let burst = firstToken == nil ? 1 : min(sequence.host.burstLength, limit - statistics.generatedTokens)
    let (tokens, stops) = (pending, stopTokens)
    ready = try await perform(adding: tokens.count) { engine, id in
      var sampled: ArraySlice<SampledToken> = []
      try engine.generate(Batch([.init(sequence: id, tokens: tokens, output: output)]), limit: burst) {
        sampled.append($0[0])
        return !stops.contains($0[0].token)
      }
      return sampled
    }
    // All but the last have been run already.
    length += ready.count - 1
    pending = [ready.last!.token]
    return ready.removeFirst()
  }

  /// One step of the engine.
  private mutating func step(_ tokens: [Int32], output: Batch.Output) async throws -> StepOutput {
    try await perform(adding: tokens.count) { engine, id in
      try engine.step(Batch([.init(sequence: id, tokens: tokens, output: output)]))[0]
    }
  }

  /// Lends the engine to `body`. Fails if another user of the sequence (a later turn of the chat) has come in between.
  private mutating func perform<Result: Sendable>(
    adding count: Int, _ body: @escaping @Sendable (any Engine, SequenceID) throws -> Result
  ) async throws -> Result {
    let (id, expected) = (sequence.id, length)
    length += count
    return try await sequence.host.perform { engine in
      guard try engine.tokens(of: id).count == expected else { throw CancellationError() }
      return try body(engine, id)
    }
  }
}

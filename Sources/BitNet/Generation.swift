import BitNetInference
import BitNetServing
import BitNetTokenization

/// Text being generated, piece by piece: an asynchronous sequence of ``GeneratedPiece``.
///
/// Nothing runs until it is iterated; then tokens are generated up to 16 ahead of the reader. Generations that are
/// iterated by several tasks at a time go through the model together, and each gives the text that it gives alone.
/// Dropping the iterator, or cancelling the task that iterates, ends the work after the steps that are running.
/// Iterating again generates again.
public struct Generation: AsyncSequence, Sendable {
  public typealias Element = GeneratedPiece

  let model: LanguageModel
  let prompt: [Int32]
  let options: GenerationOptions
  /// Where a chat's answer continues from and goes to; nil for text that stands alone.
  var chat: ChatTurn?

  struct ChatTurn: Sendable {
    let session: ChatSession
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
        if piece?.finish != nil {
          isDone = true
          run = nil
        }
        return piece
      } catch {
        isDone = true
        run = nil
        throw error
      }
    }
  }
}

/// One pass through a generation.
private struct Run {
  private let generation: Generation
  private let tokens: TokenStream
  private let stopTokens: Set<Int32>
  private let limit: Int
  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant
  private var firstToken: ContinuousClock.Instant?
  private var decoder: StreamingDecoder
  private var matcher: StopMatcher
  private var statistics = GenerationStatistics()

  init(_ generation: Generation) async throws {
    let model = generation.model
    let options = generation.options
    self.generation = generation
    start = clock.now
    if let maximum = options.maximumTokens, maximum < 1 {
      throw EngineError.parameter(name: "the maximum number of tokens", found: "\(maximum)", expected: "1 or more")
    }
    let prompt = generation.prompt
    limit = max(1, min(options.maximumTokens ?? .max, model.contextLength - prompt.count))
    stopTokens = options.ignoresEndTokens ? options.stopTokens : options.stopTokens.union(model.endTokens)
    decoder = StreamingDecoder(model.tokenizer)
    matcher = StopMatcher(options.stopTexts)
    tokens = try await model.scheduler.start(
      Request(
        prompt: prompt, sampling: options.sampling, logProbabilities: options.logProbabilities, limit: limit,
        stops: stopTokens))
    statistics.promptTokens = prompt.count
  }

  mutating func next() async throws -> GeneratedPiece? {
    guard let sampled = try await tokens.next() else { return nil }
    let now = clock.now
    if firstToken == nil {
      firstToken = now
      statistics.timeToFirstToken = start.duration(to: now) / .seconds(1)
      statistics.cachedTokens = tokens.cachedTokens
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
}

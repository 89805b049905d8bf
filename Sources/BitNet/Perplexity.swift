import BitNetServing
import BitNetInference

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// How well a model predicts a text.
public struct Perplexity: Sendable, Equatable {
  /// Tokens that were predicted: 1 or more.
  public let tokens: Int
  /// Bytes of the text that these tokens encode.
  public let bytes: Int
  /// The sum of -ln p over these tokens, where p is the probability that the model gave to the text's token.
  public let nats: Double

  package var natsPerToken: Double { nats / Double(tokens) }
  /// e to the power of the mean of -ln p: the number of equally likely tokens that would leave the model as unsure.
  public var perplexity: Double { exp(natsPerToken) }
  /// Bits that an ideal compressor that uses the model needs for each byte of the text. Unlike perplexity, it compares
  /// models with different tokenizers.
  public var bitsPerByte: Double { nats / log(2) / Double(bytes) }
}

extension LanguageModel {
  /// Measures how well the model predicts `text`.
  ///
  /// The text's tokens are cut into consecutive windows without overlap; special tokens written in the text are text.
  /// Each window starts a new sequence with the beginning-of-sequence token, and every token of the text is predicted
  /// once, from the tokens before it in its window. A model without a beginning-of-sequence token reads the last token
  /// of the previous window instead, and the text's first token is not predicted.
  ///
  /// - Parameters:
  ///   - text: at least one token long; two for a model without a beginning-of-sequence token.
  ///   - window: positions of a window, 1 to ``contextLength``, the beginning-of-sequence token included; nil takes
  ///     ``contextLength``.
  ///   - progress: called with 0…1 as the work proceeds.
  /// - Throws: ``BitNetError`` with ``BitNetError/Code/invalidArgument`` for a window out of range or a text that is
  ///   too short; `CancellationError` when the task is cancelled.
  public func perplexity(
    of text: String, window: Int? = nil, progress: (@Sendable (Double) -> Void)? = nil
  ) async throws -> Perplexity {
    let window = window ?? contextLength
    guard 1...contextLength ~= window else {
      throw BitNetError(
        .invalidArgument, subject: "the window", found: "\(window)",
        expected: "1 to the context length, \(contextLength)")
    }
    let tokens = tokenizer.encode(text)
    let first = tokenizer.beginToken == nil ? 1 : 0  // the first token that is predicted
    guard tokens.count > first else {
      throw BitNetError(
        .invalidArgument, subject: "the length of the text", found: "\(tokens.count) tokens",
        expected: "\(first + 1) or more")
    }
    var nats = 0.0
    for start in stride(from: first, to: tokens.count, by: window) {
      let targets = tokens[start..<min(tokens.count, start + window)]
      let inputs = [tokenizer.beginToken ?? tokens[start - 1]] + targets.dropLast()
      do {
        let chunks = try await surprise(at: targets, after: inputs) {
          progress?(Double(start + $0) / Double(tokens.count))
        }
        for chunk in chunks { nats += chunk }
      } catch {
        throw error is CancellationError ? error : BitNetError(error)
      }
    }
    let bytes = tokens[first...].reduce(0) { $0 + (tokenizer.bytes(of: $1)?.count ?? 0) }
    return Perplexity(tokens: tokens.count - first, bytes: bytes, nats: nats)
  }

  /// Sums of -ln p of the targets of a window, in a sequence of its own, one for each chunk.
  private func surprise(
    at targets: ArraySlice<TokenID>, after inputs: [TokenID], progress: (Int) -> Void
  ) async throws -> [Double] {
    try await inSequence { sequence in
      var nats: [Double] = []
      try await inChunks(of: inputs.count, length: 64) { range in
        let entry = Batch.Entry(
          sequence: sequence, tokens: Array(inputs[range]), rows: .all,
          want: .surprise(Array(targets.dropFirst(range.lowerBound).prefix(range.count))))
        nats.append(try await scheduler.perform { try $0.step(Batch([entry]))[0].surprises.reduce(0, +) })
        progress(range.upperBound)
      }
      return nats
    }
  }

  /// Calls `body` with a sequence of its own. Where generations leave its pages no room, `body` is called again later.
  private func inSequence<Output>(_ body: (SequenceID) async throws -> Output) async throws -> Output {
    while true {
      await scheduler.beginLoan()
      let sequence = await scheduler.perform { $0.makeSequence() }
      let result: Result<Output, any Error>
      do {
        result = .success(try await body(sequence))
      } catch {
        result = .failure(error)
      }
      await scheduler.perform { $0.removeSequence(sequence) }
      let isWorthwhile = await scheduler.freePages()
      await scheduler.endLoan()
      if case .failure(let error as EngineError) = result, error.isCacheFull, isWorthwhile {
        try await Task.sleep(for: .milliseconds(Int.random(in: 20...80)))
        continue
      }
      return try result.get()
    }
  }

  /// Calls `body` for each chunk of positions; generations take their turns in between.
  private func inChunks(of count: Int, length: Int, _ body: (Range<Int>) async throws -> Void) async throws {
    for start in stride(from: 0, to: count, by: length) {
      try Task.checkCancellation()
      try await body(start..<min(count, start + length))
    }
  }
}

extension LanguageModel {
  /// The log probability of each token but the first, given the tokens before it, with those of the most likely tokens
  /// in its place. Equal tokens have the same number in both.
  ///
  /// - Parameters:
  ///   - tokens: 1 to ``contextLength``, each below the vocabulary's size.
  ///   - alternatives: how many of the most likely tokens to report.
  /// - Throws: `EngineError`; `CancellationError` when the task is cancelled.
  package func scores(of tokens: [TokenID], alternatives: Int) async throws -> [SampledToken] {
    guard tokens.count > 1 else { return [] }
    let vocabulary = configuration.vocabularySize
    // At most 32 MB of logits at a time.
    let length = max(1, min(64, (8 << 20) / vocabulary))
    return try await inSequence { sequence in
      var scores: [SampledToken] = []
      try await inChunks(of: tokens.count - 1, length: length) { range in
        let entry = Batch.Entry(sequence: sequence, tokens: Array(tokens[range]), rows: .all, want: .logits)
        let targets = tokens[range.lowerBound + 1...range.upperBound]
        scores += try await scheduler.perform { engine in
          let logits = try engine.step(Batch([entry]))[0].values
          return logits.withUnsafeBufferPointer { logits in
            zip(0..., targets).map { row, target in
              Sampler.describe(
                UnsafeBufferPointer(rebasing: logits[row * vocabulary..<(row + 1) * vocabulary]), chosen: Int(target),
                alternatives: alternatives)
            }
          }
        }
      }
      return scores
    }
  }
}

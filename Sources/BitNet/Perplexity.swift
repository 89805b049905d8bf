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
        let chunks = try await withSequence { sequence in
          try await surprise(at: targets, after: inputs, in: sequence) {
            progress?(Double(start + $0) / Double(tokens.count))
          }
        }
        for chunk in chunks { nats += chunk }
      } catch {
        throw error is CancellationError ? error : BitNetError(error)
      }
    }
    let bytes = tokens[first...].reduce(0) { $0 + (tokenizer.bytes(of: $1)?.count ?? 0) }
    return Perplexity(tokens: tokens.count - first, bytes: bytes, nats: nats)
  }

  /// Sums of -ln p of each target, the token after an input, one for each chunk: others take their turns in between.
  private func surprise(
    at targets: ArraySlice<Int32>, after inputs: [Int32], in sequence: SequenceID, progress: (Int) -> Void
  ) async throws -> [Double] {
    var nats: [Double] = []
    for chunk in stride(from: 0, to: inputs.count, by: 64) {
      try Task.checkCancellation()
      let range = chunk..<min(inputs.count, chunk + 64)
      let entry = Batch.Entry(
        sequence: sequence, tokens: Array(inputs[range]), rows: .all,
        want: .surprise(Array(targets.dropFirst(chunk).prefix(range.count))))
      nats.append(try await scheduler.perform { try $0.step(Batch([entry]))[0].surprises.reduce(0, +) })
      progress(range.upperBound)
    }
    return nats
  }
}

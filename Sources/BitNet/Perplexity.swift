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
  /// Bytes of text that these tokens stand for.
  public let bytes: Int
  /// The sum of -ln p over these tokens, where p is the probability the model gave to the token that came.
  public let nats: Double

  public var natsPerToken: Double { nats / Double(tokens) }
  /// e to the power of `natsPerToken`: among how many equally likely tokens the model was as unsure.
  public var perplexity: Double { exp(natsPerToken) }
  /// What an ideal compressor that uses the model would need. Unlike perplexity, it compares models with different tokenizers.
  public var bitsPerByte: Double { nats / log(2) / Double(bytes) }
}

extension LanguageModel {
  /// Measures how well the model predicts `text`.
  ///
  /// The text's tokens are cut into windows that follow one another without overlap; special tokens written in the text are text. Each
  /// window begins anew, with the tokenizer's BOS token, and every token of the text is predicted once, from those before it in its
  /// window. A model without BOS reads the last token of the window before in its place, and the text's first token is not predicted.
  ///
  /// - Parameters:
  ///   - window: positions of a window, BOS included: 1 to `contextLength`, which it is when nil.
  ///   - progress: called with 0…1 as the work goes on.
  /// - Throws: `EngineError.parameter` for a window out of range or a text that is too short; `CancellationError`.
  public func perplexity(
    of text: String, window: Int? = nil, progress: (@Sendable (Double) -> Void)? = nil
  ) async throws -> Perplexity {
    let window = window ?? contextLength
    guard 1...contextLength ~= window else {
      throw EngineError.parameter(name: "the window", found: "\(window)", expected: "1 to the context length, \(contextLength)")
    }
    let tokens = tokenizer.encode(text)
    let first = tokenizer.bos == nil ? 1 : 0  // the first token that is predicted
    guard tokens.count > first else {
      throw EngineError.parameter(
        name: "the length of the text", found: "\(tokens.count) tokens", expected: "\(first + 1) or more")
    }
    var nats = 0.0
    for start in stride(from: first, to: tokens.count, by: window) {
      let targets = tokens[start..<min(tokens.count, start + window)]
      let inputs = [tokenizer.bos ?? tokens[start - 1]] + targets.dropLast()
      let sequence = try await HostedSequence(host)
      // In chunks, because a long window's logits take much memory.
      for chunk in stride(from: 0, to: inputs.count, by: 64) {
        try Task.checkCancellation()
        let range = chunk..<min(inputs.count, chunk + 64)
        let (fed, wanted) = (Array(inputs[range]), Array(targets.dropFirst(chunk).prefix(range.count)))
        let id = sequence.id
        nats += try await host.perform { engine in
          let output = try engine.step(Batch([.init(sequence: id, tokens: fed, output: .allLogits)]))[0]
          guard case .logits(let logits) = output else { preconditionFailure("an engine gives what it is asked for") }
          return surprise(at: wanted, logits: logits)
        }
        progress?(Double(start + range.upperBound) / Double(tokens.count))
      }
    }
    let bytes = tokens[first...].reduce(0) { $0 + (tokenizer.bytes(of: $1)?.count ?? 0) }
    return Perplexity(tokens: tokens.count - first, bytes: bytes, nats: nats)
  }
}

/// The sum of -ln p of each token under its row of the logits, `[tokens][vocabulary]`.
private func surprise(at tokens: [Int32], logits: [Float]) -> Double {
  let vocabulary = logits.count / tokens.count
  var sum = 0.0
  logits.withUnsafeBufferPointer { logits in
    for (row, token) in tokens.enumerated() {
      let row = logits[row * vocabulary..<(row + 1) * vocabulary]
      let largest = Double(row.max() ?? 0)
      let total = row.reduce(0.0) { $0 + exp(Double($1) - largest) }
      sum += largest + log(total) - Double(row[row.startIndex + Int(token)])
    }
  }
  return sum
}

package import BitNetJSON

/// The requests of a measurement, each with a prompt of its own.
package struct LoadPlan: Sendable {
  package enum Endpoint: String, Sendable {
    case completions, chat

    var path: String { self == .chat ? "/v1/chat/completions" : "/v1/completions" }
  }

  package var endpoint: Endpoint
  /// The model's name; nil for the first one that each target lists.
  package var model: String?
  /// Words of a prompt.
  package var words: Int
  /// Tokens of an answer; the model's end tokens do not end it, where the server knows `ignore_eos`.
  package var tokens: Int
  package var temperature: Double
  package var seed: UInt64

  package init(
    endpoint: Endpoint, model: String?, words: Int, tokens: Int, temperature: Double, seed: UInt64
  ) {
    self.endpoint = endpoint
    self.model = model
    self.words = words
    self.tokens = tokens
    self.temperature = temperature
    self.seed = seed
  }

  private static let vocabulary = """
    the a of and to in was said little old king queen forest house mother father went came saw took gave asked \
    bread water gold stone bird wolf horse tree night day road door fire song long great poor young good black white
    """.split(whereSeparator: \.isWhitespace)

  /// The body of a request.
  ///
  /// - Parameters:
  ///   - number: different for every request, so that no prompt begins as another one does.
  ///   - model: the name that the target knows.
  package func body(number: Int, model: String) throws(JSONError) -> [UInt8] {
    var random = SplitMix(state: seed &+ UInt64(number) &* 0x9E37_79B9_7F4A_7C15)
    let count = UInt64(Self.vocabulary.count)
    let text = (0..<words).map { _ in Self.vocabulary[Int(random.next() % count)] }.joined(separator: " ")
    let prompt: JSONTree.Member =
      switch endpoint {
      case .chat: .init("messages", [["role": "user", "content": .string(text)]])
      case .completions: .init("prompt", .string(text))
      }
    let rest: [JSONTree.Member] = [
      .init("model", .string(model)), .init("max_tokens", .integer(tokens)), .init("ignore_eos", true),
      .init("temperature", .number(temperature)), .init("seed", .integer(number)), .init("stream", true),
      .init("stream_options", ["include_usage": true]),
    ]
    return try JSONTree.object([prompt] + rest).serialized()
  }
}

/// SplitMix64, which gives the same numbers everywhere.
private struct SplitMix {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return value ^ (value >> 31)
  }
}

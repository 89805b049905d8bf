import BitNet
import BitNetCPUEngine
import BitNetDemoModel
import BitNetInference
import BitNetModelFiles
import BitNetRandomModels
import BitNetServing
import BitNetTokenization
import Foundation
import TestSupport

/// Small random models with the demo model's tokenizer, and random generations of them.
enum Proof {
  /// A model with random weights that repeats itself and others enough for guesses to come true.
  static func weights(seed: UInt64) throws -> ModelWeights {
    var generator = SeededGenerator(seed: seed)
    var c = ModelConfiguration.random(using: &generator)
    c.vocabularySize = try tokenizer.get().vocabularySize
    (c.hiddenSize, c.contextLength) = (Int.random(in: 16...64, using: &generator), 300)
    // With a tied embedding such models repeat the last token; without, they wander.
    c.tiedEmbedding = seed % 2 == 0
    return try ModelWeights(random: c, seed: seed)
  }

  private static let tokenizer = Result { () throws -> Tokenizer in
    try Tokenizer(serialized: serializedTokenizer.get())
  }

  private static let serializedTokenizer = Result { () throws -> String in
    let demo = UnsafeRawBufferPointer(start: demo_model_bytes(), count: demo_model_size())
    guard case .serialized(let text) = try ModelLoader.load(embedded: demo).tokenizer else { return "" }
    return text
  }

  static func model(
    _ weights: ModelWeights, engine: sending any Engine, speculation: Speculation
  ) throws -> LanguageModel {
    let text = try serializedTokenizer.get()
    let loaded = LoadedModel(weights: weights, format: .converted, tokenizer: .serialized(text), source: "random")
    return LanguageModel(
      loaded, digest: ModelDigest(weights, tokenizer: text), tokenizer: try tokenizer.get(), engine: engine,
      isGPU: false, fallbackReason: nil, policy: .init(speculation: speculation))
  }

  static func cpu(_ weights: ModelWeights, threads: Int = 1, pages: Int? = nil) throws -> CPUEngine {
    let c = weights.configuration
    let page = c.layerCount * 2 * c.keyValueHeadCount * attentionChunkLength * max(c.headSize, 32) * 2
    return try CPUEngine(weights: weights, threads: threads, cacheBytes: pages.map { $0 * page })
  }

  struct Request: Sendable {
    var prompt: [Int32]
    var options: GenerationOptions
    var delay: Duration
  }

  /// A request with any of the options, whose prompt repeats parts of itself.
  static func request(longest: Int, using generator: inout SeededGenerator) throws -> Request {
    let vocabulary = Int32(try tokenizer.get().vocabularySize)
    func token() -> Int32 { Int32.random(in: 0..<vocabulary, using: &generator) }
    func chance(_ parts: Int) -> Bool { Int.random(in: 0..<parts, using: &generator) == 0 }
    var prompt = (0..<Int.random(in: 1...30, using: &generator)).map { _ in token() }
    while prompt.count < 60, !chance(3) {
      let start = Int.random(in: 0..<prompt.count, using: &generator)
      prompt += prompt[start...].prefix(Int.random(in: 1...12, using: &generator))
    }
    var sampling = SamplingParameters.greedy
    if !chance(3) {
      sampling.temperature = [0.2, 0.7, 1, 1.5].randomElement(using: &generator)!
      if chance(2) { sampling.topK = Int.random(in: 1...50, using: &generator) }
      if chance(2) { sampling.topP = Float.random(in: 0.1...1, using: &generator) }
      if chance(3) { sampling.minP = Float.random(in: 0...0.3, using: &generator) }
      sampling.seed = generator.next()
    }
    if chance(3) { sampling.repetitionPenalty = Float.random(in: 0.8...1.5, using: &generator) }
    if chance(3) { sampling.presencePenalty = Float.random(in: -1...2, using: &generator) }
    if chance(3) { sampling.frequencyPenalty = Float.random(in: -1...2, using: &generator) }
    var options = GenerationOptions(
      sampling: sampling, maximumTokens: Int.random(in: 1...longest, using: &generator),
      stopTexts: chance(3) ? [["e", "th", "zq"].randomElement(using: &generator)!] : [],
      stopTokens: chance(3) ? [token(), token()] : [], ignoresEndTokens: chance(2),
      logProbabilities: chance(3) ? Int.random(in: 0...2, using: &generator) : nil)
    if chance(4) {
      for _ in 0..<3 { options.logitBias[token()] = Float.random(in: -3...3, using: &generator) }
    }
    if chance(5) {
      options.format = try chance(2) ? .json : .jsonSchema(#"{"type": "array", "items": {"enum": [1, "the", null]}}"#)
      // A format cannot go on without the tokens of single bytes, which come first in the vocabulary.
      func word() -> Int32 { Int32.random(in: 1000..<vocabulary, using: &generator) }
      options.stopTokens = Set(options.stopTokens.map { _ in word() } + [word()])
    }
    return Request(
      prompt: prompt, options: options,
      delay: .microseconds(chance(2) ? 0 : Int.random(in: 0...3000, using: &generator)))
  }

  /// Runs all requests at once, each after its delay.
  static func run(_ requests: [Request], on model: LanguageModel) async throws -> [Response] {
    try await withThrowingTaskGroup(of: (Int, Response).self) { group in
      for (index, request) in requests.enumerated() {
        group.addTask {
          try await Task.sleep(for: request.delay)
          return (index, try await model.generate(tokens: request.prompt, options: request.options).response())
        }
      }
      var responses = [Response?](repeating: nil, count: requests.count)
      for try await (index, response) in group { responses[index] = response }
      return responses.compactMap(\.self)
    }
  }
}

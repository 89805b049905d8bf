package import BitNetInference
import BitNetModelFiles
import BitNetServing
import BitNetTokenization

/// An embedding model, ready to turn texts into vectors whose scalar products tell how close the texts are in meaning.
///
/// ```swift
/// let embedder = try await Embedder.load("bitnet-embedding-0.6b")
/// let query = try await embedder.embed(["how do I cook rice?"], prompt: embedder.prompts["query"])
/// let documents = try await embedder.embed(["Rinse the rice…", "The stock market…"])
/// ```
///
/// Texts of several calls at a time go through the model together, and each gives the vector that it gives alone.
public final class Embedder: Sendable {
  package let configuration: ModelConfiguration
  package let tokenizer: Tokenizer
  let embedding: EmbeddingConfiguration
  /// A sentence about a probable fault of the model's files.
  package let warning: String?
  /// Elements of a vector.
  public var dimension: Int { configuration.hiddenSize }
  /// The most tokens of a text, with its prompt and the tokens around them.
  public let contextLength: Int
  /// What the model runs on.
  public let device: LanguageModel.DeviceDescription
  /// What the model's authors put before a text, by the name of its task, such as `query`.
  public var prompts: [String: String] { embedding.prompts }
  private let scheduler: Scheduler

  private init(_ loaded: LoadedModel, name: String, options: LanguageModel.LoadOptions) throws {
    guard let source = loaded.tokenizer else { throw BitNetError.noTokenizer(model: name) }
    configuration = loaded.weights.configuration
    tokenizer = try Tokenizer(source)
    guard tokenizer.vocabularySize <= configuration.vocabularySize else {
      throw BitNetError(
        .invalidTokenizer, subject: "\(name): the tokenizer's size", found: "\(tokenizer.vocabularySize) tokens",
        expected: "at most vocab_size, \(configuration.vocabularySize)")
    }
    // The files of BitNet's embedding models may lack those of sentence-transformers.
    let usual = configuration.has(.projectionNorms) && configuration.has(.headNorms) ? EmbeddingConfiguration() : nil
    guard let embedding = loaded.embedding ?? usual else {
      throw BitNetError(
        .unsupportedModel, subject: "\(name): the model", found: "\(configuration.architecture) without a pooling",
        expected: "an embedding model: a folder with modules.json, or a GGUF file with pooling_type")
    }
    self.embedding = embedding
    warning = loaded.warning
    var options = options
    options.screensHead = false  // there are no logits
    options.sharesCache = false  // texts rarely begin alike, and keys and values of thousands would fill the memory
    let (engine, fallbackReason) = try options.makeEngine(for: loaded.weights)
    contextLength = engine.contextLength
    device = LanguageModel.DeviceDescription(
      isGPU: options.device.isGPU && fallbackReason == nil, fallbackReason: fallbackReason, description: engine.summary)
    scheduler = Scheduler(engine)
  }

  /// Loads a model from a Hugging Face folder, a GGUF file, or a file made by `bitnet convert`.
  ///
  /// - Parameters:
  ///   - path: the file or folder.
  ///   - options: the device, and how to use it.
  ///   - progress: called with 0…1 while weights are packed.
  /// - Throws: an error that names the file and field, what was found and what was expected;
  ///   ``BitNetError/Code/unsupportedModel`` for a model that is not for embedding.
  public static func load(
    _ path: String, options: LanguageModel.LoadOptions = .init(), progress: (@Sendable (Double) -> Void)? = nil
  ) async throws(BitNetError) -> Embedder {
    try await onQueue {
      let files = BitNetModelFiles.LoadOptions(i2sBlock: options.i2sBlock)
      return try Embedder(
        ModelLoader.load(path: path, options: files, progress: progress), name: path, options: options)
    }
  }

  /// The vectors of some texts, of length 1 if the model's are.
  ///
  /// Special tokens written in a text are text.
  ///
  /// - Parameters:
  ///   - texts: each at most ``contextLength`` tokens long, with its prompt and the tokens around them.
  ///   - prompt: what goes before each text; nil takes the model's default, which is mostly nothing.
  ///   - dimensions: the elements to keep, 1 to ``dimension``, for models whose first elements are vectors too; the
  ///     rest is cut off and the length made 1 again. nil keeps all.
  ///   - progress: called with 0…1 as the work proceeds.
  /// - Returns: a vector for each text.
  /// - Throws: ``BitNetError`` with ``BitNetError/Code/contextExceeded`` for a text that is too long;
  ///   `CancellationError` when the task is cancelled.
  public func embed(
    _ texts: [String], prompt: String? = nil, dimensions: Int? = nil,
    progress: (@Sendable (Double) -> Void)? = nil
  ) async throws -> [[Float]] {
    try await embeddings(of: texts, prompt: prompt, dimensions: dimensions, progress: progress).vectors
  }
}

extension Embedder {
  /// Vectors, and the tokens that they were made from.
  package struct Embeddings: Sendable {
    package let vectors: [[Float]]
    /// Of each text, with its prompt and the tokens around it.
    package let tokenCounts: [Int]
    /// Of all texts.
    package var promptTokens: Int { tokenCounts.reduce(0, +) }
  }

  /// Texts that go to the scheduler together, so that a step is full and progress is seen.
  private static let textsTogether = 256

  /// As `embed`, with the number of tokens.
  package func embeddings(
    of texts: [String], prompt: String? = nil, dimensions: Int? = nil,
    progress: (@Sendable (Double) -> Void)? = nil
  ) async throws -> Embeddings {
    let prompt = prompt ?? embedding.defaultPrompt.flatMap { prompts[$0] } ?? ""
    let promptCount = embedding.includesPrompt || prompt.isEmpty ? 0 : tokens(of: prompt, ends: false).count
    return try await embeddings(
      ofTokens: texts.map { tokens(of: prompt + $0) }, skipping: promptCount, dimensions: dimensions,
      progress: progress)
  }

  /// A text's tokens, with those that the tokenizer's file puts around a text.
  package func tokens(of text: String, ends: Bool = true) -> [TokenID] {
    var tokens = tokenizer.encode(text, addingBeginToken: true)
    if ends, let end = tokenizer.endToken { tokens.append(end) }
    return tokens
  }

  /// The vectors of texts that are tokens already, which are taken as they are.
  ///
  /// - Parameters:
  ///   - texts: each 1 to ``contextLength`` tokens.
  ///   - skipping: tokens at each text's beginning that do not count in a mean.
  ///   - dimensions: as for `embed`.
  package func embeddings(
    ofTokens texts: [[TokenID]], skipping: Int = 0, dimensions: Int? = nil,
    progress: (@Sendable (Double) -> Void)? = nil
  ) async throws -> Embeddings {
    let count = dimensions ?? dimension
    guard 1...dimension ~= count else {
      throw BitNetError(
        .invalidArgument, subject: "the number of dimensions", found: "\(count)", expected: "1 to \(dimension)")
    }
    for (index, text) in texts.enumerated() where !(1...contextLength ~= text.count) {
      throw BitNetError(
        text.isEmpty ? .invalidArgument : .contextExceeded, subject: "text \(index + 1)",
        found: "\(text.count) tokens long", expected: "1 to \(contextLength), the context; shorten or divide it")
    }
    var vectors: [[Float]] = []
    let rows: Batch.Rows = if case .lastToken = embedding.pooling { .last } else { .all }
    for start in stride(from: 0, to: texts.count, by: Self.textsTogether) {
      let group = Array(texts[start..<min(start + Self.textsTogether, texts.count)])
      do {
        for hidden in try await scheduler.hiddenStates(of: group, rows: rows) {
          vectors.append(vector(hidden, skipping: skipping, count: count))
        }
      } catch {
        throw error is CancellationError ? error : BitNetError(error)
      }
      progress?(Double(vectors.count) / Double(texts.count))
    }
    return Embeddings(vectors: vectors, tokenCounts: texts.map(\.count))
  }

  /// One vector from hidden states, `[rows][hidden]`. Sums are in Double, in ascending order.
  private func vector(_ hidden: [Float], skipping: Int, count: Int) -> [Float] {
    let width = dimension
    let rows = hidden.count / width
    var pooled: [Double]
    switch embedding.pooling {
    case .lastToken: pooled = hidden.suffix(width).map { Double($0) }
    case .firstToken: pooled = hidden.prefix(width).map { Double($0) }
    case .mean:
      let first = min(skipping, rows - 1)
      pooled = [Double](repeating: 0, count: width)
      for row in first..<rows {
        for i in 0..<width { pooled[i] += Double(hidden[row * width + i]) }
      }
      for i in 0..<width { pooled[i] /= Double(rows - first) }
    }
    pooled.removeLast(width - count)
    guard embedding.isNormalized || count < width else { return pooled.map { Float($0) } }
    let length = pooled.reduce(0) { $0 + $1 * $1 }.squareRoot()
    return pooled.map { length > 0 ? Float($0 / length) : 0 }
  }
}

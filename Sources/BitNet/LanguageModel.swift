package import BitNetInference
package import BitNetModelFiles
package import BitNetServing
package import BitNetTokenization
import Dispatch

/// A BitNet model, ready to generate: the weights, the tokenizer and an engine.
///
/// ```swift
/// let model = try await LanguageModel.load("bitnet-b1.58-2B-4T.safetensors")
/// for try await piece in model.generate("Once upon a time") { print(piece.text, terminator: "") }
/// ```
public final class LanguageModel: Sendable {
  package let configuration: ModelConfiguration
  /// Turns text into the model's tokens and back.
  public let tokenizer: Tokenizer
  /// The model's chat template; nil if its files have none, or one that is not valid Jinja.
  public let chatTemplate: ChatTemplate?
  /// The text of the chat template in the model's files, for chats with tools where that is another one; nil if it is
  /// not used.
  package let toolTemplateText: String?
  /// What is wrong with the chat template in the model's files; nil if it is sound, or missing.
  package let chatTemplateFault: String?
  /// The sampling parameters that the model's authors suggest; greedy if they suggest none.
  public let suggestedSampling: SamplingParameters
  /// Tokens that end a text: those of the configuration, and those of the tokenizer that are known by name.
  package let endTokens: Set<TokenID>
  /// The architecture's name as the checkpoint gives it.
  public var architecture: String { configuration.architecture }
  /// Parameters: ternary weights, embedding, LM head if it is not the embedding, norms.
  public var parameterCount: Int { configuration.parameterCount }
  /// Positions that a sequence can hold.
  public let contextLength: Int
  /// What the model runs on.
  public let device: DeviceDescription
  /// A sentence about a probable fault of the model's files.
  package let warning: String?
  /// The version of the arithmetic, and the digest of the model as its files state it or as it was computed.
  package let modelFingerprint: ModelFingerprint
  /// A short text that is the same wherever the same prompt, sampling parameters and seed give the same tokens: the
  /// version of this library's arithmetic, and the beginning of a SHA-256 of the model's weights and tokenizer. It does
  /// not depend on the format of the model's files, the device or the number of threads. APIs call it
  /// `system_fingerprint`.
  public var fingerprint: String { modelFingerprint.description }
  package let scheduler: Scheduler
  /// Constraints on texts, as the scheduler takes them.
  package let constraints: ModelConstraints

  /// - Parameters:
  ///   - digest: that of the loaded model.
  ///   - tokenizer: that of the loaded model.
  package init(
    _ loaded: LoadedModel, digest: ModelDigest, tokenizer: Tokenizer, engine: sending any Engine, isGPU: Bool,
    fallbackReason: String?, policy: Scheduler.Policy
  ) {
    configuration = loaded.weights.configuration
    self.tokenizer = tokenizer
    warning =
      loaded.warning
      ?? (loaded.embedding == nil ? nil : "the model is one for embedding, so the texts that it generates mean little")
    modelFingerprint = ModelFingerprint(digest: digest)
    do {
      chatTemplate = try loaded.chatTemplate.map { (jinja) throws(JinjaError) in
        try ChatTemplate(
          jinja: jinja, tools: loaded.toolTemplate, tokenizer: tokenizer,
          endTokens: loaded.weights.configuration.endTokens)
      }
      chatTemplateFault = nil
      toolTemplateText = chatTemplate?.isOwn == true ? loaded.toolTemplate ?? loaded.chatTemplate : nil
    } catch {
      chatTemplate = nil
      toolTemplateText = nil
      chatTemplateFault = error.description
    }
    let suggested = loaded.generation
    suggestedSampling = SamplingParameters(
      temperature: Float(suggested?.temperature ?? 0), topK: suggested?.topK ?? 0, topP: Float(suggested?.topP ?? 1))
    endTokens = Set(configuration.endTokens).union((chatTemplate ?? .plain).stopTokens(of: tokenizer))
    contextLength = engine.contextLength
    device = DeviceDescription(
      isGPU: isGPU, fallbackReason: fallbackReason, description: engine.summary)
    constraints = ModelConstraints(tokenizer, vocabulary: configuration.vocabularySize)
    scheduler = Scheduler(engine, policy: policy)
  }

  /// Loads a model from a file made by `bitnet convert`, which is memory-mapped, or from a Hugging Face folder or a GGUF
  /// file, whose weights are packed first.
  ///
  /// - Parameters:
  ///   - path: the file or folder.
  ///   - options: the device, and how to use it.
  ///   - progress: called with 0…1 while weights are packed.
  /// - Throws: an error that names the file and field, what was found and what was expected.
  public static func load(
    _ path: String, options: LoadOptions = .init(), progress: (@Sendable (Double) -> Void)? = nil
  ) async throws(BitNetError) -> LanguageModel {
    try await onQueue {
      let files = BitNetModelFiles.LoadOptions(i2sBlock: options.i2sBlock)
      return try LanguageModel(
        ModelLoader.load(path: path, options: files, progress: progress), name: path, options: options)
    }
  }

  /// Uses a converted model that is already in memory, such as one embedded in the program.
  ///
  /// - Parameters:
  ///   - bytes: the contents of a converted file, which must not change or be freed while the program runs.
  ///   - options: the device, and how to use it.
  /// - Throws: an error that names the field, what was found and what was expected.
  public static func load(
    embedded bytes: UnsafeRawBufferPointer, options: LoadOptions = .init()
  ) async throws(BitNetError) -> LanguageModel {
    let loaded = try withPublicErrors { try ModelLoader.load(embedded: bytes) }
    return try await onQueue { try LanguageModel(loaded, name: ModelLoader.embeddedName, options: options) }
  }

  /// Generates text that continues `prompt`.
  ///
  /// - Parameters:
  ///   - prompt: the text to continue; the beginning-of-sequence token goes before it if the model has one.
  ///   - options: sampling, limits and stops.
  ///   - parsingSpecialTokens: whether special tokens written in the prompt, such as `<|eot_id|>`, become tokens
  ///     instead of text.
  public func generate(
    _ prompt: String, options: GenerationOptions = .init(), parsingSpecialTokens: Bool = false
  ) -> Generation {
    generate(
      tokens: tokenizer.encode(prompt, addingBeginToken: true, parsingSpecialTokens: parsingSpecialTokens),
      options: options)
  }

  /// Generates text that continues tokens, which are taken as they are.
  ///
  /// - Parameters:
  ///   - tokens: at least one, fewer than ``contextLength``, each below the vocabulary's size.
  ///   - options: sampling, limits and stops.
  public func generate(tokens: [TokenID], options: GenerationOptions = .init()) -> Generation {
    Generation(model: self, source: .tokens(tokens), options: options)
  }

  /// Starts a conversation.
  ///
  /// - Parameters:
  ///   - system: the system message, which tells the model its role.
  ///   - template: how turns are written; nil takes the model's own template.
  ///   - options: sampling, limits and stops of each answer.
  /// - Throws: ``BitNetError/Code/unknownChatTemplate`` when `template` is nil and the model has none, or an invalid
  ///   one; ``BitNetError/Code/invalidTokenizer`` when the tokenizer lacks a special token of the template.
  public func chat(
    system: String? = nil, template: ChatTemplate? = nil, options: GenerationOptions = .init()
  ) throws(BitNetError) -> ChatSession {
    guard let template = template ?? chatTemplate else {
      throw BitNetError(
        .unknownChatTemplate, subject: "the model's chat template",
        found: chatTemplateFault.map { "invalid: \($0)" } ?? "missing",
        expected: "one in its files, or an argument for the parameter template, such as .plain")
    }
    try withPublicErrors { try template.check(tokenizer) }
    return ChatSession(model: self, template: template, system: system, options: options)
  }
}

extension LanguageModel {
  private convenience init(_ loaded: LoadedModel, name: String, options: LoadOptions) throws {
    guard let source = loaded.tokenizer else { throw BitNetError.noTokenizer(model: name) }
    let tokenizer = try Tokenizer(source)
    let configuration = loaded.weights.configuration
    guard tokenizer.vocabularySize <= configuration.vocabularySize else {
      throw BitNetError(
        .invalidTokenizer, subject: "\(name): the tokenizer's size", found: "\(tokenizer.vocabularySize) tokens",
        expected: "at most vocab_size, \(configuration.vocabularySize)")
    }
    let digest =
      try options.computesDigest
      ? loaded.computedDigest(name: name)
      : loaded.digest { if case .serialized(let text) = source { text } else { tokenizer.serialized() } }
    let (engine, fallbackReason) = try options.makeEngine(for: loaded.weights)
    var policy = options.policy
    policy.speculation = options.speculation
    self.init(
      loaded, digest: digest, tokenizer: tokenizer, engine: engine,
      isGPU: options.device.isGPU && fallbackReason == nil, fallbackReason: fallbackReason,
      policy: policy)
  }
}

extension BitNetError {
  package static func noTokenizer(model: String) -> BitNetError {
    BitNetError(
      .invalidTokenizer, subject: "\(model): the tokenizer", found: "missing",
      expected: "tokenizer.json or tokenizer.model in the model's folder, also when it is converted")
  }
}

/// Runs blocking work on a thread of its own.
func onQueue<Result: Sendable>(
  _ body: @escaping @Sendable () throws -> Result
) async throws(BitNetError) -> Result {
  do {
    return try await withCheckedThrowingContinuation { continuation in
      DispatchQueue.global(qos: .userInitiated).async { continuation.resume(with: Swift.Result { try body() }) }
    }
  } catch {
    throw BitNetError(error)
  }
}

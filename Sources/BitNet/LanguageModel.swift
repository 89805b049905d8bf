package import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDeviceCheck
import Dispatch
package import BitNetInference
package import BitNetModelFiles
import BitNetServing
import BitNetTernary
package import BitNetTokenization

/// A BitNet model, ready to generate: the weights, the tokenizer and an engine.
///
/// ```swift
/// let model = try await LanguageModel.load("bitnet-b1.58-2B-4T.safetensors")
/// for try await piece in model.generate("Once upon a time") { print(piece.text, terminator: "") }
/// ```
public final class LanguageModel: Sendable {
  /// What a model runs on.
  public enum Device: Sendable, Equatable {
    /// The first GPU, or the CPU where there is none that takes the model and passes its check; `engineNote` then says
    /// why.
    case auto
    case cpu
    /// The GPU of this number, from 0 on.
    case cuda(Int)

    /// "auto", "cpu", "cuda" (the first) or "cuda:N"; nil for anything else.
    public init?(_ text: some StringProtocol) {
      switch text {
      case "auto": self = .auto
      case "cpu": self = .cpu
      case "cuda": self = .cuda(0)
      default:
        guard text.hasPrefix("cuda:"), let number = Int(text.dropFirst(5)), number >= 0 else { return nil }
        self = .cuda(number)
      }
    }
  }

  public struct LoadOptions: Sendable {
    public var device: Device
    /// CPU threads; one for each physical core that this process may use when nil.
    public var threads: Int?
    /// CPU instructions; the machine's best when nil.
    public var instructionSet: InstructionSet?
    /// Positions a sequence can hold; the model's own when nil.
    public var contextLength: Int?
    /// Whether the engine keeps an int8 copy of the output head that screens the vocabulary; nil to have it where it
    /// pays and fits. Results are the same.
    public var screensHead: Bool?
    /// Whether the CPU engine copies the ternary weights of a mapped file into the process's own memory, which is read
    /// faster but is not shared with other processes; nil to do so where it pays.
    public var copiesTiles: Bool?
    /// Bytes for the keys and values of all generations, and of earlier ones that later ones may begin like: 0 or more.
    /// There is always room for one whole context. A quarter of the process's memory on the CPU, nine tenths of what is
    /// free on a GPU, when nil.
    public var cacheBytes: Int?
    /// Whether a GPU is checked before its first use with a driver and build: it takes up to half a minute once, in
    /// which the driver compiles the kernels. A GPU that does not pass is not used.
    public var checksDevice: Bool
    /// Called with the GPU's name when its check begins.
    public var deviceCheckWillStart: (@Sendable (_ device: String) -> Void)?
    /// Whether single tokens on a GPU go through one cooperative kernel. Results are the same; it is for measurements.
    package var usesCooperativeKernel = true

    public init(
      device: Device = .auto, threads: Int? = nil, instructionSet: InstructionSet? = nil, contextLength: Int? = nil,
      screensHead: Bool? = nil, copiesTiles: Bool? = nil, cacheBytes: Int? = nil, checksDevice: Bool = true,
      deviceCheckWillStart: (@Sendable (_ device: String) -> Void)? = nil
    ) {
      self.device = device
      self.threads = threads
      self.instructionSet = instructionSet
      self.contextLength = contextLength
      self.screensHead = screensHead
      self.copiesTiles = copiesTiles
      self.cacheBytes = cacheBytes
      self.checksDevice = checksDevice
      self.deviceCheckWillStart = deviceCheckWillStart
    }
  }

  public let configuration: ModelConfiguration
  public let tokenizer: Tokenizer
  /// The model's chat template; nil if its files have none, or one that is not recognised.
  public let chatTemplate: ChatTemplate?
  /// Whether the model's files have a chat template, recognised or not.
  package let hasChatTemplate: Bool
  /// The sampling that the model's makers suggest, or the likeliest tokens.
  public let suggestedSampling: SamplingParameters
  /// Tokens that end a text: those of the configuration and those of the tokenizer by their usual names.
  public let endTokens: Set<Int32>
  /// Why the model does not run on a GPU, when the device was chosen automatically.
  public let engineNote: String?
  let scheduler: Scheduler

  /// Positions a sequence can hold.
  public let contextLength: Int
  /// What the model runs on, in a few words.
  public let engineSummary: String

  private init(_ loaded: LoadedModel, tokenizer: Tokenizer, engine: sending any Engine, note: String?) {
    configuration = loaded.weights.configuration
    self.tokenizer = tokenizer
    chatTemplate = loaded.chatTemplate.flatMap { ChatTemplate(jinja: $0) }
    hasChatTemplate = loaded.chatTemplate != nil
    let suggested = loaded.generation
    suggestedSampling = SamplingParameters(
      temperature: Float(suggested?.temperature ?? 0), topK: suggested?.topK ?? 0, topP: Float(suggested?.topP ?? 1))
    endTokens = Set(configuration.endTokens).union((chatTemplate ?? .plain).stopTokens(of: tokenizer))
    contextLength = engine.contextLength
    engineSummary = engine.summary
    engineNote = note
    scheduler = Scheduler(engine)
  }

  /// Loads a model from a file made by `bitnet convert` or a Hugging Face folder.
  ///
  /// - Parameter progress: called with 0…1 while weights are repacked; a converted file needs none.
  /// - Throws: an error whose description is one sentence: the file or field, what was found and what was expected.
  public static func load(
    _ path: String, options: LoadOptions = .init(), progress: (@Sendable (Double) -> Void)? = nil
  ) async throws -> LanguageModel {
    try await onQueue {
      try LanguageModel(ModelLoader.load(path: path, progress: progress), path: path, options: options)
    }
  }

  /// Uses a converted model that is already in memory, such as one embedded in the program.
  ///
  /// - Parameter bytes: the contents of a converted file, never changed or freed while the program runs.
  public static func load(embedded bytes: UnsafeRawBufferPointer, options: LoadOptions = .init()) async throws
    -> LanguageModel
  {
    let loaded = try ModelLoader.load(embedded: bytes)
    return try await onQueue { try LanguageModel(loaded, path: ModelLoader.embeddedName, options: options) }
  }

  /// Generates text that continues `prompt`.
  ///
  /// - Parameters:
  ///   - specials: whether special tokens written in the prompt (`<|eot_id|>`) count as such.
  public func generate(_ prompt: String, options: GenerationOptions = .init(), specials: Bool = false) -> Generation {
    generate(
      tokens: tokenizer.encode(prompt, addingBeginToken: true, parsingSpecialTokens: specials), options: options)
  }

  /// Generates text that continues tokens, which are taken as they are.
  public func generate(tokens: [Int32], options: GenerationOptions = .init()) -> Generation {
    Generation(model: self, prompt: tokens, options: options)
  }

  /// Starts a conversation.
  ///
  /// - Parameters:
  ///   - system: what the model is told about its role.
  ///   - template: how turns are written; the model's own when nil.
  /// - Throws: `LanguageModelError.chatTemplate` when the template is nil and the model has none that is recognised.
  public func chat(
    system: String? = nil, template: ChatTemplate? = nil, options: GenerationOptions = .init()
  ) throws -> ChatSession {
    guard let template = template ?? chatTemplate else {
      throw LanguageModelError.chatTemplate(isMissing: !hasChatTemplate)
    }
    return ChatSession(model: self, template: template, system: system, options: options)
  }
}

extension LanguageModel {
  private convenience init(_ loaded: LoadedModel, path: String, options: LoadOptions) throws {
    guard let source = loaded.tokenizer else { throw LanguageModelError.noTokenizer(model: path) }
    let tokenizer = try Tokenizer(source)
    let configuration = loaded.weights.configuration
    guard tokenizer.vocabularySize <= configuration.vocabularySize else {
      throw LanguageModelError.vocabulary(
        model: path, tokenizer: tokenizer.vocabularySize, weights: configuration.vocabularySize)
    }
    let (engine, note) = try options.makeEngine(for: loaded.weights)
    self.init(loaded, tokenizer: tokenizer, engine: engine, note: note)
  }
}

extension LanguageModel.LoadOptions {
  /// The engine that these options ask for, and why it is not on a GPU if that was left open.
  ///
  /// - Throws: `CUDAError` when the GPU that was asked for cannot be used; `EngineError` for an option out of range.
  package func makeEngine(for weights: ModelWeights) throws -> (engine: any Engine, note: String?) {
    func cpu() throws -> CPUEngine {
      try CPUEngine(
        weights: weights, contextLength: contextLength, threads: threads, instructionSet: instructionSet,
        screensHead: screensHead,
        copiesTiles: copiesTiles, cacheBytes: cacheBytes)
    }
    func cuda(_ number: Int) throws -> CUDAEngine {
      let device = try CUDADriver.load().device(number)
      if checksDevice {
        try DeviceCheck(device) { try CPUEngine(weights: $0) }.run { deviceCheckWillStart?($0) }
      }
      return try CUDAEngine(
        weights: weights, device: device,
        options: .init(
          contextLength: contextLength, screensHead: screensHead, isCooperative: usesCooperativeKernel,
          cacheBytes: cacheBytes)
      )
    }
    switch device {
    case .cpu: return (try cpu(), nil)
    case .cuda(let number): return (try cuda(number), nil)
    case .auto:
      // Options that only the CPU has say what is meant.
      if threads != nil || instructionSet != nil || copiesTiles != nil { return (try cpu(), nil) }
      do { return (try cuda(0), nil) } catch { return (try cpu(), "\(error)") }
    }
  }
}

extension Tokenizer {
  /// The tokenizer that a model's files hold.
  package convenience init(_ source: TokenizerSource) throws {
    switch source {
    case .serialized(let text): try self.init(serialized: text)
    case .tokenizerJSON(let path), .tokenizerModel(let path): try self.init(contentsOfFile: path)
    }
  }
}

extension ModelLoader {
  fileprivate static let embeddedName = "the embedded model"

  /// Loads the weights of a converted model that is already in memory.
  ///
  /// - Parameter bytes: the contents of a converted file, never changed or freed while the program runs.
  package static func load(embedded bytes: UnsafeRawBufferPointer) throws(ModelFileError) -> LoadedModel {
    try load(bytes: SharedBytes(owner: Immortal(), bytes: bytes), name: embeddedName)
  }
}

extension ModelInspection {
  /// What a converted model in memory holds.
  ///
  /// - Parameter bytes: the contents of a converted file, never changed or freed while the program runs.
  package init(embedded bytes: UnsafeRawBufferPointer, verify: Bool = false) throws(ModelFileError) {
    try self.init(bytes: SharedBytes(owner: Immortal(), bytes: bytes), name: ModelLoader.embeddedName, verify: verify)
  }
}

/// Owns memory that is never freed.
private final class Immortal {}

/// Runs blocking work on a thread of its own.
private func onQueue<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
  try await withCheckedThrowingContinuation { continuation in
    DispatchQueue.global(qos: .userInitiated).async { continuation.resume(with: Swift.Result { try body() }) }
  }
}

/// What keeps a model from being used.
public enum LanguageModelError: Error, CustomStringConvertible {
  case noTokenizer(model: String)
  case vocabulary(model: String, tokenizer: Int, weights: Int)
  case chatTemplate(isMissing: Bool)

  public var description: String {
    switch self {
    case .noTokenizer(let model):
      "\(model): there is no tokenizer; expected tokenizer.json or tokenizer.model beside the weights"
    case .vocabulary(let model, let tokenizer, let weights):
      "\(model): the tokenizer has \(tokenizer) tokens; expected at most vocab_size, \(weights)"
    case .chatTemplate(let isMissing):
      "the model's chat template is \(isMissing ? "missing" : "not recognised"); expected that of bitnet, llama3 or "
        + "chatml, or an argument for the parameter template, such as .plain"
    }
  }
}

import BitNetConstraints
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetInference
import BitNetModelFiles
import BitNetServing
import BitNetTernary
import BitNetTokenization

#if canImport(FoundationEssentials)
  public import FoundationEssentials
#else
  public import Foundation
#endif

/// An error of this library: what it is about, what was found, what was expected.
///
/// ```swift
/// do {
///   let model = try await LanguageModel.load("model.safetensors")
/// } catch where error.code == .invalidModel {
///   print(error)  // one sentence
/// }
/// ```
///
/// A cancelled generation or measurement throws Swift's `CancellationError` instead; loading cannot be cancelled.
public struct BitNetError: Error, Sendable, CustomStringConvertible {
  /// The kind of an error. Later versions may add codes, so handle the ones you do not know as well.
  public struct Code: Hashable, Sendable, CustomStringConvertible {
    /// The code's name, such as `invalidModel`.
    public let description: String

    /// An option or argument is out of range.
    public static let invalidArgument = Code(description: "invalidArgument")
    /// The prompt, or prompt and answer together, do not fit into the context.
    public static let contextExceeded = Code(description: "contextExceeded")
    /// The operating system refused to read or write a file.
    public static let fileAccess = Code(description: "fileAccess")
    /// A model's file, configuration or tensor is not what its format says.
    public static let invalidModel = Code(description: "invalidModel")
    /// The model is sound, but of a kind that this library, or the engine, does not run.
    public static let unsupportedModel = Code(description: "unsupportedModel")
    /// The tokenizer is missing, does not parse, does not fit the weights, or lacks a token that is needed.
    public static let invalidTokenizer = Code(description: "invalidTokenizer")
    /// The model's chat template is missing, or it fails.
    public static let unknownChatTemplate = Code(description: "unknownChatTemplate")
    /// The GPU, its driver or the processor's instructions cannot be used.
    public static let deviceUnavailable = Code(description: "deviceUnavailable")
    /// The device failed during the work.
    public static let deviceFailed = Code(description: "deviceFailed")
    /// The GPU's memory, or the key-value cache's budget, has no room.
    public static let outOfMemory = Code(description: "outOfMemory")
    /// An error that this library does not know; see ``BitNetError/cause``.
    public static let unknown = Code(description: "unknown")
  }

  /// The kind of error.
  public let code: Code
  /// What the error is about: a file, a field, a tensor, an option, a device.
  public let subject: String
  /// What was found.
  public let found: String
  /// What was expected, or what to do; nil where there is nothing to say.
  public let expected: String?
  /// The error that led to this one, for logs.
  public let cause: (any Error)?
  /// One sentence without a full stop: `SUBJECT is FOUND; expected EXPECTED`.
  public let description: String

  init(
    _ code: Code, subject: String, found: String, expected: String? = nil, cause: (any Error)? = nil,
    description: String? = nil
  ) {
    self.code = code
    self.subject = subject
    self.found = found
    self.expected = expected
    self.cause = cause
    self.description = description ?? "\(subject) is \(found)" + (expected.map { "; expected \($0)" } ?? "")
  }
}

extension BitNetError: LocalizedError {
  /// The sentence of ``description``, for `localizedDescription`.
  public var errorDescription: String? { description }
}

extension BitNetError {
  /// The public form of an error from inside the package. Its sentence stays the same.
  package init(_ error: any Error) {
    func form(_ code: Code, _ subject: String, _ found: String, _ expected: String? = nil) -> BitNetError {
      BitNetError(code, subject: subject, found: found, expected: expected, cause: error, description: "\(error)")
    }
    switch error {
    case let error as BitNetError: self = error
    case let error as EngineError: self.init(engine: error)
    case let error as CUDAError: self.init(cuda: error)
    case let error as ModelFileError:
      self = form(Code(error.kind), "\(error.file): \(error.subject)", error.finding, error.expected)
    case let error as TokenizerError: self = form(.invalidTokenizer, error.subject, error.found, error.expected)
    case let error as JinjaError where error.kind == .raised:
      self = form(.invalidArgument, "the chat", "refused by the chat template: \(error.message)")
    case let error as JinjaError:
      self = form(.unknownChatTemplate, "the chat template at line \(error.line)", "failing: \(error.message)")
    case let error as ChatInputError:
      self = form(.invalidArgument, "the chat", "with \(error.finding)", "messages of a role and a text")
    case let error as ConstraintError: self = form(.invalidArgument, error.subject, error.found, error.expected)
    case SchedulerError.nothingAllowed:
      self = form(
        .invalidTokenizer, "the vocabulary", "without a token that goes on with the response format",
        "a token for each of its bytes")
    case let error as ConfigurationError: self = form(.invalidModel, error.field, error.found, error.expected)
    case let error as ModelWeightsError: self = form(.invalidModel, error.tensor, error.found, error.expected)
    case is TernaryError: self = form(.invalidModel, "a ternary matrix", "\(error)")
    case let error as InstructionSetError:
      self = form(
        .deviceUnavailable, "the instruction set", error.name,
        InstructionSet.available.map(\.rawValue).joined(separator: ", "))
    default: self = form(.unknown, "the operation", "failed")
    }
  }

  private init(engine error: EngineError) {
    func form(_ code: Code, _ subject: String, _ found: String, _ expected: String? = nil) -> BitNetError {
      BitNetError(code, subject: subject, found: found, expected: expected, cause: error, description: "\(error)")
    }
    self =
      switch error {
      case .parameter(let name, let found, let expected): form(.invalidArgument, name, found, expected)
      case .tokenOutOfRange(let token, let vocabulary):
        form(.invalidArgument, "token id", "\(token)", "0 to \(vocabulary - 1)")
      case .contextFull(let length, let adding, let limit):
        form(.contextExceeded, "the sequence", "\(length + adding) tokens", "at most \(limit)")
      case .cacheFull(let needed, let held, let limit):
        form(.outOfMemory, "the cache", "\(held + needed) pages", "at most \(limit)")
      case .outOfMemory(let failure): form(.outOfMemory, "the device's memory", failure)
      case .device(let failure): form(.deviceFailed, "the device", failure)
      case .unknownSequence, .repeatedSequence, .noTokens, .nothingSampled, .unknownStep, .truncation:
        form(.invalidArgument, "the step", "\(error)")
      }
  }

  private init(cuda error: CUDAError) {
    func form(_ code: Code, _ subject: String, _ found: String, _ expected: String? = nil) -> BitNetError {
      BitNetError(code, subject: subject, found: found, expected: expected, cause: error, description: "\(error)")
    }
    self =
      switch error {
      case .driverMissing(let library, let reason): form(.deviceUnavailable, library, reason, "an NVIDIA driver")
      case .functionMissing(let name):
        form(.deviceUnavailable, "the CUDA driver library", "without \(name)", "an NVIDIA driver R530 or newer")
      case .driverTooOld(let found, let needed):
        form(
          .deviceUnavailable, "the NVIDIA driver's CUDA version", CUDADriver.versionName(found),
          "\(CUDADriver.versionName(needed)) or newer")
      case .noDevice: form(.deviceUnavailable, "the number of NVIDIA GPUs", "0", "1 or more")
      case .deviceOutOfRange(let ordinal, let count):
        form(.deviceUnavailable, "the GPU's number", "\(ordinal)", "0 to \(count - 1)")
      case .deviceTooOld(let name, let capability, let needed):
        form(.deviceUnavailable, "the compute capability of \(name)", capability, "\(needed) or newer")
      case .untrusted(let device, _, let reason): form(.deviceUnavailable, device, reason)
      case .abandoned(let device): form(.deviceUnavailable, device, "out of use", "a new process")
      case .outOfMemory(let requested, let free):
        form(
          .outOfMemory, "the GPU's free memory", free.map { "\($0) bytes" } ?? "too small", "\(requested) bytes")
      case .outOfHostMemory(let requested):
        form(.outOfMemory, "page-locked memory", "too small", "\(requested) bytes")
      case .outOfBounds, .moduleRefused, .stalled, .call: form(.deviceFailed, "the GPU", "\(error)")
      case .parameter(let name, let found, let expected): form(.invalidArgument, name, found, expected)
      }
  }
}

extension BitNetError.Code {
  fileprivate init(_ kind: ModelFileError.Kind) {
    self =
      switch kind {
      case .system: .fileAccess
      case .malformed, .configuration, .tensor: .invalidModel
      case .unsupported: .unsupportedModel
      }
  }
}

/// Runs `body`, whose errors become the public ones.
func withPublicErrors<Result>(_ body: () throws -> Result) throws(BitNetError) -> Result {
  do { return try body() } catch { throw BitNetError(error) }
}

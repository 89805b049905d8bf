import BitNet
import BitNetInference
package import BitNetJSON
import BitNetServing
import BitNetTokenization

/// Why a request is not answered. Each dialect writes it in its own form.
package struct RequestError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The status code of HTTP.
  package var status: Int
  /// OpenAI's name of the kind of error.
  package var type: String
  /// OpenAI's name of the error itself; nil if it has none.
  package var code: String?
  /// The field that the error is about, such as `messages[2].content`; nil if it is about none.
  package var parameter: String?
  /// One sentence.
  package var message: String
  /// Seconds after which the client may try again; nil if trying again is of no use, or as good at any time.
  package var retryAfter: Int?
  /// Further fields of the response's head.
  package var headers: [HeaderField] = []

  package init(
    status: Int, type: String, code: String? = nil, parameter: String? = nil, message: String, retryAfter: Int? = nil,
    headers: [HeaderField] = []
  ) {
    self.status = status
    self.type = type
    self.code = code
    self.parameter = parameter
    self.message = message
    self.retryAfter = retryAfter
    self.headers = headers
  }

  package var description: String { message }

  /// A request that asks for something wrong.
  package static func invalid(_ message: String, parameter: String? = nil, code: String? = nil) -> RequestError {
    RequestError(status: 400, type: "invalid_request_error", code: code, parameter: parameter, message: message)
  }

  /// A field that this server does not have, and whose value asks for more than its default.
  package static func unsupported(_ field: JSONValue, expected: String) -> RequestError {
    invalid(
      "\(field.path) is \(field.written), which is not supported; expected \(expected)",
      parameter: field.path, code: "unsupported_parameter")
  }

  package static func unknownModel(_ name: String, known: [String]) -> RequestError {
    RequestError(
      status: 404, type: "invalid_request_error", code: "model_not_found", parameter: "model",
      message: "model is \(quoted(name)); expected one of \(known.map { quoted($0) }.joined(separator: ", "))")
  }

  /// A request to a model for what it does not do.
  ///
  /// - Parameters:
  ///   - name: as the request gives it; nil if it names none.
  ///   - found: what the models that there are do.
  ///   - expected: the models that do what is asked for.
  package static func otherKind(_ name: String?, found: String, expected: [String]) -> RequestError {
    let subject =
      name.map { "model is \(quoted($0)), which \(found)" } ?? "model is missing, and every one here \(found)"
    let list = expected.map { quoted($0) }.joined(separator: ", ")
    return invalid(
      "\(subject); expected \(expected.isEmpty ? "a server that has another model" : "one of \(list)")",
      parameter: "model", code: "model_not_supported")
  }

  /// The work's end that nobody is to blame for but this server.
  package static func failure(_ message: String) -> RequestError {
    RequestError(status: 500, type: "server_error", code: "internal_error", message: message)
  }
}

extension RequestError {
  /// The form of an error from inside the package.
  package init(_ error: any Error) {
    switch error {
    case let error as RequestError: self = error
    case let error as JSONError: self.init(json: error)
    case let error as EngineError: self.init(engine: error)
    case let error as SchedulerError: self.init(scheduler: error)
    case let error as JinjaError where error.kind == .raised:
      self = .invalid("messages is refused by the model's chat template: \(error.message)", parameter: "messages")
    case let error as JinjaError:
      self = .invalid(
        "messages makes the model's chat template fail at line \(error.line): \(error.message)", parameter: "messages")
    case let error as ChatInputError: self = .invalid("messages is refused: \(error)", parameter: "messages")
    case let error as BitNetError: self = error.cause.map { RequestError($0) } ?? .failure(error.description)
    default: self = .failure("the request failed: \(error)")
    }
  }

  private init(json error: JSONError) {
    self = .invalid(
      error.sentence(about: "the request's body"),
      parameter: error.kind == .value && !error.path.isEmpty ? error.path : nil,
      code: error.kind == .syntax ? "invalid_json" : nil)
  }

  private init(engine error: EngineError) {
    switch error {
    case .contextFull(let length, let adding, let limit):
      self = .contextLengthExceeded(length + adding, limit: limit)
    case .parameter(let name, _, _):
      let field = name.replacing(" ", with: "_").replacing("-", with: "_")
      self = .invalid(error.description, parameter: field)
    case .tokenOutOfRange: self = .invalid(error.description, parameter: "prompt")
    case .cacheFull, .outOfMemory:
      self.init(
        status: 503, type: "server_error", code: "out_of_memory", message: error.description, retryAfter: 5)
    default: self = .failure(error.description)
    }
  }

  private init(scheduler error: SchedulerError) {
    switch error {
    case .queueFull:
      self.init(
        status: 429, type: "rate_limit_error", code: "queue_full", message: error.description, retryAfter: 1)
    case .nothingAllowed: self = .invalid(error.description, parameter: "response_format")
    case .deadline:
      // The client's library would send the request again, and the server would work as long again.
      self.init(
        status: 504, type: "server_error", code: "timeout", message: error.description,
        headers: [.init("X-Should-Retry", "false")])
    }
  }

  /// - Parameter count: the prompt's tokens.
  package static func contextLengthExceeded(_ count: Int, limit: Int) -> RequestError {
    .invalid(
      "the prompt is \(count) tokens long; expected fewer than the model's context length of \(limit) tokens",
      parameter: "messages", code: "context_length_exceeded")
  }
}

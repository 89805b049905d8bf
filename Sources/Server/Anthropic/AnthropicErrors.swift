import BitNetJSON

extension ErrorForm {
  /// `{"type": "error", "error": {"type", "message"}}`
  package static let anthropic = ErrorForm { error in (try? error.anthropicTree.serialized()) ?? [] }
}

extension RequestError {
  var anthropicTree: JSONTree {
    ["type": "error", "error": ["type": .string(anthropicType), "message": .string(message)]]
  }

  private var anthropicType: String {
    switch status {
    case 401: "authentication_error"
    case 403: "permission_error"
    case 404: "not_found_error"
    case 413: "request_too_large"
    case 429: "rate_limit_error"
    case 503: "overloaded_error"
    case 504: "timeout_error"
    case 500...: "api_error"
    default: "invalid_request_error"
    }
  }
}

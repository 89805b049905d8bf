import BitNetJSON

extension ErrorForm {
  /// `{"error": {"message", "type", "param", "code"}}`
  package static let openAI = ErrorForm { error in
    let tree = RequestError.openAITree(error)
    return (try? tree.serialized()) ?? []
  }
}

extension RequestError {
  static func openAITree(_ error: RequestError) -> JSONTree {
    [
      "error": [
        "message": .string(error.message), "type": .string(error.type),
        "param": error.parameter.map { .string($0) } ?? .null, "code": error.code.map { .string($0) } ?? .null,
      ]
    ]
  }
}

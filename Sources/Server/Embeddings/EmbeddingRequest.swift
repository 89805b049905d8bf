import BitNet
import BitNetInference
import BitNetJSON

/// A request for vectors, of any dialect.
struct EmbeddingRequest: Sendable {
  let served: ServedEmbedder
  /// The model's name as the request gives it.
  let modelName: String
  /// At least one, each of at least one token and at most a context.
  let texts: [[TokenID]]
  /// Nil for all elements.
  let dimensions: Int?

  private static let mostTexts = 2048

  /// - Parameters:
  ///   - input: the name of the field with a text, token ids, or a list of them.
  ///   - truncates: whether texts that are too long lose their ends.
  /// - Throws: `JSONError` or `RequestError` naming the field.
  init(_ fields: inout JSONFields, input: String, truncates: Bool, _ catalog: ModelCatalog) throws {
    let name = try fields["model"].ifPresent?.string()
    served = try catalog.findEmbedder(name)
    modelName = name ?? served.name
    let embedder = served.embedder
    dimensions = try fields["dimensions"].ifPresent?.integer(in: 1...embedder.dimension)
    let field = fields[input]
    var texts: [[TokenID]] = []
    for (place, text) in try Self.inputs(field, served) {
      var tokens = text
      if truncates, tokens.count > embedder.contextLength {
        // The end token stays at the end.
        let end = tokens.last == embedder.tokenizer.endToken ? tokens.suffix(1) : []
        tokens = Array(tokens.prefix(embedder.contextLength - end.count) + end)
      }
      guard !tokens.isEmpty else {
        throw RequestError.invalid("\(place) is empty; expected a text, token ids, or a list of them", parameter: place)
      }
      guard tokens.count <= embedder.contextLength else {
        throw RequestError.invalid(
          "\(place) is \(tokens.count) tokens long; expected at most the model's context length of "
            + "\(embedder.contextLength) tokens", parameter: place, code: "context_length_exceeded")
      }
      texts.append(tokens)
    }
    self.texts = texts
  }

  /// A text or tokens, or a list of several; with the place of each.
  private static func inputs(
    _ field: JSONValue, _ served: ServedEmbedder
  ) throws -> [(place: String, tokens: [TokenID])] {
    guard field.kind == .array else { return [(field.path, try tokens(field, served))] }
    let elements = Array(try field.elements())
    guard let first = elements.first else {
      throw RequestError.invalid(
        "\(field.path) is empty; expected a text, token ids, or a list of them", parameter: field.path)
    }
    if first.kind == .number { return [(field.path, try tokens(field, served))] }
    guard elements.count <= mostTexts else {
      throw RequestError.invalid(
        "\(field.path) is a list of \(elements.count); expected at most \(mostTexts)", parameter: field.path)
    }
    return try elements.map { ($0.path, try tokens($0, served)) }
  }

  private static func tokens(_ field: JSONValue, _ served: ServedEmbedder) throws -> [TokenID] {
    switch field.kind {
    case .string: return served.embedder.tokens(of: try field.string())
    case .array:
      let ids = TokenID(0)...TokenID(served.embedder.configuration.vocabularySize - 1)
      var tokens: [TokenID] = []
      for element in try field.elements() { tokens.append(try element.integer(as: TokenID.self, in: ids)) }
      return tokens
    default: throw field.error(expected: "a text, token ids, or a list of them")
    }
  }

  func embeddings() async throws -> Embedder.Embeddings {
    try await served.embedder.embeddings(ofTokens: texts, dimensions: dimensions)
  }
}

import BitNet
import BitNetJSON

/// Answers lines with a text, or with a request, by vectors.
struct BatchTexts: BatchAnswerer {
  static let content = "embedding"

  let embedder: Embedder
  let requests: BatchRequests
  /// What goes before each text; nil for the model's default.
  let prefix: String?
  /// Elements of a vector; nil for all.
  let dimensions: Int?

  func answer(_ bytes: [UInt8], place: Int, isWhole: Bool) async -> BatchAnswer {
    var (line, id): (Int, JSONTree?) = (place, nil)
    do {
      let json = try JSONDocument(bytes, limits: BatchTask.limits).root
      if BatchRequests.holds(json) { return await requests.answer(json, place: place, isWhole: isWhole) }
      if json.kind == .object {
        id = try json["id"].ifPresent.map(JSONTree.init)
        line = try BatchAnswer.number(json["line"], place: place, isWhole: isWhole)
      }
      let text = try json["text"].string()
      let found = try await embedder.embeddings(of: [text], prompt: prefix, dimensions: dimensions)
      let tree = JSONTree.object([
        "line": .integer(line), "id": id, "tokens": .integer(found.promptTokens),
        "embedding": .array(found.vectors[0].map(Self.number)),
      ])
      return BatchAnswer(tree, tokens: found.promptTokens)
    } catch {
      return BatchAnswer(error, line: line, id: id)
    }
  }

  /// The fewest digits that read back as the same 32-bit float.
  private static func number(_ value: Float) -> JSONTree { .number(Double(value.description) ?? Double(value)) }
}

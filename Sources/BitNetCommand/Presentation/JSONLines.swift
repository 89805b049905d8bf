/// A line of JSON Lines: the fields of `content`, and `kind`, which names the type of the line.
private struct JSONLine<Content: Encodable>: Encodable {
  private enum Key: String, CodingKey { case kind }
  let kind: String
  let content: Content

  func encode(to encoder: any Encoder) throws {
    try content.encode(to: encoder)
    var container = encoder.container(keyedBy: Key.self)
    try container.encode(kind, forKey: .kind)
  }
}

extension ByteOutput {
  /// Writes a line of JSON Lines, without a buffer: it is kept if the process is killed later.
  func write(_ kind: String, _ content: some Encodable) throws {
    try write(jsonText(JSONLine(kind: kind, content: content), onOneLine: true))
  }
}

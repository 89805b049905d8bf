import BitNet
import BitNetConstraints
import BitNetJSON
import BitNetServing

/// The form that the text of an answer must have.
struct AnswerFormat: Sendable {
  let text: TextConstraint
  /// The field that asks for it.
  private let path: String

  private init(_ text: TextConstraint, path: String) { (self.text, self.path) = (text, path) }

  /// A value that satisfies a JSON schema.
  ///
  /// - Throws: `JSONError` naming the field if it is none.
  init(schema: JSONValue) throws(JSONError) {
    guard schema.kind == .object || schema.kind == .bool else { throw schema.error(expected: "a JSON schema") }
    self.init(TextConstraint(schema: Array(schema.text)), path: schema.path)
  }

  /// OpenAI's `text`, `json_object` or `json_schema`; nil for any text.
  ///
  /// - Parameter nested: the member that has the schema, for chat completions; nil for responses, where the format
  ///   itself has it.
  /// - Throws: `JSONError` or `RequestError` naming the field.
  static func openAI(_ format: JSONValue, nested: String?) throws -> AnswerFormat? {
    guard let format = format.ifPresent else { return nil }
    let type = try format["type"]
    switch try type.string() {
    case "text": return nil
    case "json_object": return AnswerFormat(.jsonObject, path: type.path)
    case "json_schema": return try AnswerFormat(schema: nested.map { try format[$0]["schema"] } ?? format["schema"])
    default: throw RequestError.unsupported(type, expected: "\"text\", \"json_object\" or \"json_schema\"")
    }
  }

  /// Anthropic's `output_config.format`, and the field of its preview; nil for any text.
  static func anthropic(_ fields: inout JSONFields) throws -> AnswerFormat? {
    let config = fields["output_config"].ifPresent
    guard let format = try config?["format"].ifPresent ?? fields["output_format"].ifPresent else { return nil }
    let type = try format["type"]
    guard try type.string() == "json_schema" else {
      throw RequestError.unsupported(type, expected: "\"json_schema\"")
    }
    return try AnswerFormat(schema: format["schema"])
  }

  /// Ollama's `format`: "json", or a schema; nil for any text.
  static func ollama(_ format: JSONValue) throws -> AnswerFormat? {
    guard let format = format.ifPresent, format.kind != .string || !format.hasName("") else { return nil }
    if format.kind == .string, format.hasName("json") { return AnswerFormat(.jsonObject, path: format.path) }
    guard format.kind == .object else { throw format.error(expected: "\"json\" or a JSON schema") }
    return try AnswerFormat(schema: format)
  }

  /// - Throws: `RequestError` naming the field, and a schema's keyword that is not supported.
  func constraint(_ served: ServedModel) throws -> any TokenConstraint {
    do {
      return try served.model.constraints.constraint(text)
    } catch let error as ConstraintError {
      throw RequestError.schema(error, path: path)
    }
  }
}

extension RequestError {
  /// A schema that cannot be used.
  static func schema(_ error: ConstraintError, path: String) -> RequestError {
    .invalid("in \(path), \(error)", parameter: path)
  }
}

import BitNet
import BitNetConstraints
import BitNetJSON
import BitNetServing

/// The form that an answer must have.
enum ResponseFormatFields {
  /// The constraint of `response_format`; nil for any text.
  ///
  /// - Throws: `JSONError` or `RequestError` naming the field; a schema's keyword that is not supported is named too.
  static func constraint(_ format: JSONValue, _ served: ServedModel) throws -> (any TokenConstraint)? {
    guard let format = format.ifPresent else { return nil }
    let type = try format["type"]
    switch try type.string() {
    case "text": return nil
    case "json_object": return try served.model.constraints.constraint(.jsonObject)
    case "json_schema":
      let schema = try format["json_schema"]["schema"]
      guard schema.kind == .object || schema.kind == .bool else { throw schema.error(expected: "a JSON schema") }
      do {
        return try served.model.constraints.constraint(TextConstraint(schema: Array(schema.text)))
      } catch let error as ConstraintError {
        throw RequestError.invalid("in \(schema.path), \(error)", parameter: schema.path)
      }
    default: throw RequestError.unsupported(type, expected: "\"text\", \"json_object\" or \"json_schema\"")
    }
  }
}

import ArgumentParser
import BitNet

/// Options for the form of generated texts.
struct FormatOptions: ParsableArguments {
  @Flag(help: "Generate a JSON object.")
  var jsonObject = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Generate JSON that satisfies this schema, given as JSON or as a file.", valueName: "schema"))
  var jsonSchema: String?

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Add a number from -100 to 100 to a token's logit, as in 42=-100. May be repeated.", valueName: "id=value"))
  var logitBias: [LogitBias] = []

  func validate() throws {
    if jsonObject, jsonSchema != nil {
      throw ValidationError("--json-object is given together with --json-schema; expected one of them.")
    }
    for (index, bias) in logitBias.enumerated() where logitBias[..<index].contains(where: { $0.token == bias.token }) {
      throw ValidationError("--logit-bias is given twice for the token \(bias.token); expected once for each token.")
    }
  }

  func format() throws -> ResponseFormat {
    if jsonObject { return .json }
    guard let jsonSchema else { return .text }
    let isText = jsonSchema.drop { $0.isWhitespace }.first == "{"
    return try .jsonSchema(isText ? jsonSchema : ByteInput.text(of: jsonSchema))
  }

  var biases: [TokenID: Float] { Dictionary(uniqueKeysWithValues: logitBias.map { ($0.token, $0.value) }) }
}

/// A token's id and the number that is added to its logit, such as `42=-100`.
struct LogitBias: ExpressibleByArgument {
  let token: TokenID
  let value: Float

  init?(argument: String) {
    let parts = argument.split(separator: "=", omittingEmptySubsequences: false)
    guard parts.count == 2, let token = TokenID(parts[0]), let value = Float(parts[1]) else { return nil }
    (self.token, self.value) = (token, value)
  }
}

package import BitNetInference
package import BitNetJSON

/// The fields that OpenAI's two forms of completion share, and those that vLLM adds to them.
package enum SamplingFields {
  static let largestChoiceCount = 128
  private static let largestStopCount = 64
  private static let longestStop = 1000

  /// Reads the fields into a request.
  ///
  /// - Parameter suggested: the parameters that the model's authors suggest.
  /// - Throws: `JSONError` or `RequestError` naming the field.
  static func read(
    _ fields: inout JSONFields, into request: inout AnswerRequest, suggested: SamplingParameters
  ) throws {
    request.choiceCount = try fields["n"].ifPresent?.integer(in: 1...largestChoiceCount) ?? 1
    if let best = fields["best_of"].ifPresent, try best.integer() != request.choiceCount {
      throw RequestError.unsupported(best, expected: "the value of n, or none")
    }
    // OpenAI's temperature is 1 where none is given. A model's authors know better.
    request.sampling = suggested.temperature > 0 ? suggested : SamplingParameters(temperature: 1)
    request.sampling.seed = UInt64.random(in: 0 ... .max)
    request.hasSeed = fields["seed"].ifPresent != nil
    try read(&fields, into: &request.sampling)
    request.stopTexts = try stops(fields["stop"])
    request.stopTokens = Set(
      try fields["stop_token_ids"].ifPresent?.elements().map { try $0.integer(as: TokenID.self, in: 0 ... .max) } ?? [])
    request.ignoresEndTokens = try fields["ignore_eos"].ifPresent?.bool() ?? false
    request.showsSpecialTokens = try !(fields["skip_special_tokens"].ifPresent?.bool() ?? true)
    request.biases = try biases(fields["logit_bias"])
  }

  /// Numbers from -100 to 100 by token id, which is a name in JSON.
  private static func biases(_ field: JSONValue) throws -> [TokenBias] {
    guard let field = field.ifPresent else { return [] }
    let limit = Double(TokenBias.limit)
    let biases = try field.members().map { name, value in
      guard let token = TokenID(try name.string()), token >= 0 else {
        throw RequestError.invalid(
          "a name in \(field.path) is \(name.written); expected a token id", parameter: field.path)
      }
      return TokenBias(token: token, value: Float(try value.number(in: -limit...limit)))
    }.sorted { $0.token < $1.token }
    if let pair = zip(biases, biases.dropFirst()).first(where: { $0.token == $1.token }) {
      throw RequestError.invalid(
        "\(field.path) has the token \(pair.0.token) twice; expected each once", parameter: field.path)
    }
    return biases
  }

  /// Reads how to sample.
  ///
  /// - Parameter sampling: what applies where a field is missing.
  /// - Throws: `JSONError` naming the field.
  package static func read(
    _ fields: inout JSONFields, into sampling: inout SamplingParameters
  ) throws(JSONError) {
    typealias Limits = SamplingLimits
    if let value = try fields["temperature"].ifPresent?.number(in: Limits.temperature) {
      sampling.setTemperature(Float(value))
    }
    if let value = try fields["top_p"].ifPresent?.number(in: Limits.topP) { sampling.setTopP(Float(value)) }
    if let value = try fields["top_k"].ifPresent?.integer(in: Limits.topK) { sampling.setTopK(value) }
    if let value = try fields["min_p"].ifPresent?.number(in: Limits.minP) { sampling.minP = Float(value) }
    let penalty = fields["repetition_penalty"].ifPresent ?? fields["repeat_penalty"].ifPresent
    if let value = try penalty?.number(in: Limits.repetitionPenalty) { sampling.repetitionPenalty = Float(value) }
    if let value = try fields["presence_penalty"].ifPresent?.number(in: Limits.otherPenalty) {
      sampling.presencePenalty = Float(value)
    }
    if let value = try fields["frequency_penalty"].ifPresent?.number(in: Limits.otherPenalty) {
      sampling.frequencyPenalty = Float(value)
    }
    let seeds = Int128(Int64.min)...Int128(UInt64.max)
    if let seed = try fields["seed"].ifPresent?.integer(as: Int128.self, in: seeds) {
      sampling.seed = UInt64(truncatingIfNeeded: seed)
    }
  }

  /// The texts that end an answer: one, or a list.
  ///
  /// - Throws: `JSONError` or `RequestError` naming the field.
  package static func stops(_ field: JSONValue) throws -> [String] {
    guard let field = field.ifPresent else { return [] }
    guard field.kind == .string || field.kind == .array else {
      throw field.error(expected: "a string or an array of strings")
    }
    let values = field.kind == .string ? [field] : Array(try field.elements())
    guard values.count <= largestStopCount else {
      throw RequestError.invalid(
        "\(field.path) is \(values.count) texts; expected at most \(largestStopCount)", parameter: field.path)
    }
    return try values.map { value in
      let text = try value.string()
      guard text.utf8.count <= longestStop else {
        throw RequestError.invalid(
          "\(value.path) is \(text.utf8.count) bytes long; expected at most \(longestStop)", parameter: value.path)
      }
      return text
    }
  }

  /// The most tokens to generate; nil for as many as the context holds, which clients also write as -1.
  static func maximumTokens(_ field: JSONValue, smallest: Int = 1) throws -> Int? {
    guard let field = field.ifPresent else { return nil }
    let count = try field.integer()
    if count == -1 { return nil }
    guard count >= smallest else { throw field.error(expected: "an integer of \(smallest) or more") }
    return count
  }
}

/// How an answer is streamed.
package struct StreamFields: Sendable {
  /// Whether the last chunk before the end tells the usage.
  var includesUsage: Bool

  /// Reads the fields; nil for an answer in one piece.
  ///
  /// - Throws: `JSONError` naming the field.
  static func read(_ fields: inout JSONFields) throws -> StreamFields? {
    let options = fields["stream_options"].ifPresent
    let includesUsage = try options?["include_usage"].ifPresent?.bool() ?? false
    guard try fields["stream"].ifPresent?.bool() ?? false else { return nil }
    return StreamFields(includesUsage: includesUsage)
  }
}

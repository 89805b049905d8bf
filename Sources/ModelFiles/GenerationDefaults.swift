import BitNetJSON

/// The sampling that a model's authors suggest.
package struct GenerationDefaults: Sendable, Equatable, Encodable {
  /// 0 for greedy decoding.
  package var temperature: Double?
  package var topP: Double?
  package var topK: Int?

  package init(temperature: Double? = nil, topP: Double? = nil, topK: Int? = nil) {
    self.temperature = temperature
    self.topP = topP
    self.topK = topK
  }

  /// Reads the defaults in a converted file.
  init(_ json: JSONValue) throws(JSONError) {
    var fields = try json.fields()
    temperature = try fields["temperature"].ifPresent?.number()
    topP = try fields["topP"].ifPresent?.number()
    topK = try fields["topK"].ifPresent?.integer()
  }

  /// - Throws: `ModelFileError` naming the first value that is outside the sampler's range.
  func validate(file: String) throws(ModelFileError) {
    func check(
      _ field: String, _ value: Double?, expected: String, _ isValid: (Float) -> Bool
    ) throws(ModelFileError) {
      guard let value, !isValid(Float(value)) else { return }
      throw ModelFileError(
        .configuration, file: file, subject: field, finding: "is \(value)", expected: expected)
    }
    try check("temperature", temperature, expected: "0, or 0.000001 to 100") { $0 == 0 || (1e-6...100).contains($0) }
    try check("top_p", topP, expected: "above 0, up to 1") { $0 > 0 && $0 <= 1 }
    guard let topK, !(0...1 << 24 ~= topK) else { return }
    throw ModelFileError(
      .configuration, file: file, subject: "top_k", finding: "is \(topK)", expected: "a number from 0 to \(1 << 24)")
  }
}

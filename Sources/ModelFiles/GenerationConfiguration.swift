import BitNetJSON
package import BitNetTernary

/// The contents of a `generation_config.json`: sampling defaults and tokens.
package struct GenerationConfiguration: Sendable, Equatable {
  package let defaults: GenerationDefaults
  package let beginToken: Int32?
  package let endTokens: [Int32]

  /// - Throws: `ModelFileError` when the JSON is malformed or a default is out of range.
  package init(json: SharedBytes, file: String) throws(ModelFileError) {
    self = try json.withUnsafeBytes { (bytes) throws(ModelFileError) in
      try JSONDocument.read(bytes, file: file, limit: HuggingFaceConfiguration.largestFile) {
        (value) throws(JSONError) in try GenerationConfiguration(value)
      }
    }
    try defaults.validate(file: file)
  }

  private init(_ json: JSONValue) throws(JSONError) {
    var fields = try json.fields()
    var defaults = GenerationDefaults(
      temperature: try fields["temperature"].ifPresent?.number(), topP: try fields["top_p"].ifPresent?.number(),
      topK: try fields["top_k"].ifPresent?.integer())
    if try fields["do_sample"].ifPresent?.bool() == false { defaults.temperature = 0 }
    self.defaults = defaults
    beginToken = try fields["bos_token_id"].ifPresent?.tokenIDs().first
    endTokens = try fields["eos_token_id"].ifPresent?.tokenIDs() ?? []
  }
}

/// Where to load a model's tokenizer from.
package enum TokenizerSource: Sendable, Equatable {
  /// A Hugging Face `tokenizer.json`.
  case tokenizerJSON(path: String)
  /// A `tokenizer.model`, whose content is tiktoken's text or SentencePiece's binary form.
  case tokenizerModel(path: String)
  /// The metadata of a GGUF file.
  case gguf(path: String)
  /// The string that the converter was given.
  case serialized(String)

  /// The tokenizer of a GGUF model: the string that the converter was given, or its vocabulary. Nil if it has none.
  init?(_ parts: GGUFParts) throws(ModelFileError) {
    if let text = try parts.metadata.string(GGUFName.Own.tokenizer) {
      self = .serialized(text)
    } else if parts.metadata[GGUFName.tokens] != nil {
      self = .gguf(path: parts.name)
    } else {
      return nil
    }
  }

  /// A short name of the format, for people.
  package var kind: String {
    switch self {
    case .tokenizerJSON: "tokenizer.json"
    case .tokenizerModel: "tokenizer.model"
    case .gguf: "GGUF"
    case .serialized: "embedded"
    }
  }
}

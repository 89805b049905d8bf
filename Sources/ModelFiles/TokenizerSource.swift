/// Where to load a model's tokenizer from.
package enum TokenizerSource: Sendable, Equatable {
  /// A Hugging Face `tokenizer.json`.
  case tokenizerJSON(path: String)
  /// A `tokenizer.model`, whose content is tiktoken's text or SentencePiece's binary form.
  case tokenizerModel(path: String)
  /// The string that the converter was given.
  case serialized(String)

  /// A short name of the format, for people.
  package var kind: String {
    switch self {
    case .tokenizerJSON: "tokenizer.json"
    case .tokenizerModel: "tokenizer.model"
    case .serialized: "embedded"
    }
  }
}

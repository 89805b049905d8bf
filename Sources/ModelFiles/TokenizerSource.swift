import BitNetTernary

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

/// What a Hugging Face folder holds beside configuration and weights.
struct FolderExtras: Sendable {
  let tokenizer: TokenizerSource?
  /// The Jinja template that turns messages into a prompt.
  let chatTemplate: String?
  let generation: GenerationConfiguration?

  static let largestTokenizerConfiguration = 16 << 20

  init(folder: String) throws(ModelFileError) {
    func path(_ name: String) -> String { FileAccess.join(folder, name) }
    func ifPresent(_ name: String) -> String? { FileAccess.exists(path(name)) ? path(name) : nil }

    let configuration = ifPresent("tokenizer_config.json")
    if let json = ifPresent("tokenizer.json") {
      tokenizer = .tokenizerJSON(path: json)
    } else {
      tokenizer = ifPresent("tokenizer.model").map { .tokenizerModel(path: $0) }
    }
    // A template in its own file is the newer place and wins, as in transformers.
    if let file = ifPresent("chat_template.jinja") {
      chatTemplate = try Self.text(file, limit: HuggingFaceConfiguration.largestFile)
    } else {
      chatTemplate = try configuration.flatMap { (file) throws(ModelFileError) in
        try Self.chatTemplate(inConfiguration: file)
      }
    }
    let generationPath = path("generation_config.json")
    generation = try FileAccess.contentsIfPresent(generationPath).map { (json) throws(ModelFileError) in
      try GenerationConfiguration(json: json, file: generationPath)
    }
  }

  private static func text(_ path: String, limit: Int) throws(ModelFileError) -> String {
    let bytes = try MappedFile(path: path).bytes
    guard bytes.count <= limit else {
      throw ModelFileError(.malformed, file: path, finding: "has \(bytes.count) bytes", expected: "at most \(limit)")
    }
    guard let text = bytes.withUnsafeBytes({ String(validating: $0, as: UTF8.self) }) else {
      throw ModelFileError(.malformed, file: path, finding: "is not UTF-8 text")
    }
    return text
  }

  private static func chatTemplate(inConfiguration path: String) throws(ModelFileError) -> String? {
    let bytes = try MappedFile(path: path).bytes
    let configuration = try bytes.withUnsafeBytes { (raw) throws(ModelFileError) in
      try StrictJSON.decode(
        TokenizerConfiguration.self, from: raw, file: path, subject: "the file", limit: largestTokenizerConfiguration)
    }
    return configuration.chatTemplate?.text
  }

  private struct TokenizerConfiguration: Decodable {
    let chatTemplate: ChatTemplate?

    enum CodingKeys: String, CodingKey {
      case chatTemplate = "chat_template"
    }
  }

  /// One template, or a list of named ones of which `default` is meant.
  private struct ChatTemplate: Decodable {
    struct Named: Decodable {
      let name: String
      let template: String
    }

    let text: String?

    init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let single = try? container.decode(String.self) {
        text = single
      } else {
        text = try container.decode([Named].self).first { $0.name == "default" }?.template
      }
    }
  }
}

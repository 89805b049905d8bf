import BitNetJSON
import BitNetTernary

/// The files of a Hugging Face folder besides configuration and weights.
struct FolderExtras: Sendable {
  let tokenizer: TokenizerSource?
  /// The Jinja template that turns messages into a prompt.
  let chatTemplate: String?
  /// The template for chats with tools, which some models have beside the other.
  let toolTemplate: String?
  let generation: GenerationConfiguration?
  let embedding: EmbeddingConfiguration?

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
    // A template in a file of its own is the newer form and wins, as in transformers.
    if let file = ifPresent("chat_template.jinja") {
      chatTemplate = try Self.text(file, limit: HuggingFaceConfiguration.largestFile)
      toolTemplate = try ifPresent("additional_chat_templates/tool_use.jinja").map { (file) throws(ModelFileError) in
        try Self.text(file, limit: HuggingFaceConfiguration.largestFile)
      }
    } else {
      let templates = try configuration.map { (file) throws(ModelFileError) in
        try Self.chatTemplates(inConfiguration: file)
      }
      chatTemplate = templates?["default"]
      toolTemplate = templates?["tool_use"]
    }
    let generationPath = path("generation_config.json")
    generation = try FileAccess.contentsIfPresent(generationPath).map { (json) throws(ModelFileError) in
      try GenerationConfiguration(json: json, file: generationPath)
    }
    embedding = try EmbeddingConfiguration(folder: folder)
  }

  private static func text(_ path: String, limit: Int) throws(ModelFileError) -> String {
    let bytes = try MappedFile(path: path).bytes
    guard bytes.count <= limit else {
      throw ModelFileError(
        .malformed, file: path, finding: "is \(bytes.count) bytes long", expected: "at most \(limit)")
    }
    guard let text = bytes.withUnsafeBytes({ String(validating: $0, as: UTF8.self) }) else {
      throw ModelFileError(.malformed, file: path, finding: "is not UTF-8 text")
    }
    return text
  }

  /// The templates by name.
  private static func chatTemplates(inConfiguration path: String) throws(ModelFileError) -> [String: String] {
    let bytes = try MappedFile(path: path).bytes
    return try bytes.withUnsafeBytes { (raw) throws(ModelFileError) in
      try JSONDocument.read(raw, file: path, limit: largestTokenizerConfiguration) { (json) throws(JSONError) in
        // One template, or a list of named ones, of which "default" is the one for chats.
        guard let template = try json["chat_template"].ifPresent else { return [:] }
        if template.kind == .string { return ["default": try template.string()] }
        var templates: [String: String] = [:]
        for named in try template.elements() {
          templates[try named["name"].string()] = try named["template"].string()
        }
        return templates
      }
    }
  }
}

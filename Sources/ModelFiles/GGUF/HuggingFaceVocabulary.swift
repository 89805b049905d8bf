import BitNetJSON
import BitNetTernary

/// The vocabulary of a tokenizer.json in the terms of GGUF files: byte-level BPE that splits text by one of the rules for
/// which other programs have a name.
struct HuggingFaceVocabulary: Equatable {
  /// The values of `tokenizer.ggml.token_type`.
  enum TokenType: Int32 {
    case normal = 1
    case control = 3
    case userDefined = 4
    case unused = 5
  }

  static let largestFile = 256 << 20

  /// The name of the rule by which text is split.
  private(set) var pre = ""
  private(set) var tokens: [String]
  private(set) var types: [Int32]
  /// Pairs of tokens with a space in between.
  private(set) var merges: [String] = []
  /// Whether texts begin with the beginning-of-sequence token.
  private(set) var addsBeginToken = false

  /// - Parameters:
  ///   - path: a tokenizer.json.
  ///   - size: the model's vocabulary; ids that no token has are filled.
  /// - Returns: nil for a tokenizer of another kind.
  /// - Throws: `ModelFileError` when the file is malformed, or has a token beyond the vocabulary.
  init?(path: String, size: Int) throws(ModelFileError) {
    let bytes = try MappedFile(path: path).bytes
    let found = try bytes.withUnsafeBytes { (raw) throws(ModelFileError) in
      try JSONDocument.read(raw, file: path, limit: Self.largestFile) { (json) throws(JSONError) in
        try HuggingFaceVocabulary(json, size: size)
      }
    }
    guard let found else { return nil }
    self = found
  }

  private init?(_ json: JSONValue, size: Int) throws(JSONError) {
    let model = try json["model"]
    guard try model["type"].ifPresent?.string() == "BPE", let pre = try Self.pre(json, model) else { return nil }
    self.pre = pre
    tokens = (0..<size).map { "[PAD\($0)]" }
    types = [Int32](repeating: TokenType.unused.rawValue, count: size)
    for (token, id) in try model["vocab"].members() {
      set(try id.integer(in: 0...size - 1), try token.string(), .normal)
    }
    if let added = try json["added_tokens"].ifPresent?.elements() {
      for token in added {
        let isSpecial = try token["special"].ifPresent?.bool() ?? false
        set(
          try token["id"].integer(in: 0...size - 1), try token["content"].string(), isSpecial ? .control : .userDefined)
      }
    }
    for merge in try model["merges"].elements() {
      if merge.kind == .string {
        merges.append(try merge.string())
      } else {
        merges.append(try merge.strings().joined(separator: " "))
      }
    }
    addsBeginToken = try Self.addsBeginToken(json["post_processor"])
  }

  private mutating func set(_ id: Int, _ token: String, _ type: TokenType) {
    tokens[id] = token
    types[id] = type.rawValue
  }

  // MARK: - Rules

  private static let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
  private static let rest = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
  private static let llama3 = contractions + "\\p{N}{1,3}" + rest
  private static let qwen2 = contractions + "\\p{N}" + rest

  /// The name of the splitting rule; nil if it has none.
  private static func pre(_ json: JSONValue, _ model: JSONValue) throws(JSONError) -> String? {
    let takesWholePieces = try model["ignore_merges"].ifPresent?.bool() ?? false
    let normalizer = try json["normalizer"].ifPresent?["type"].string()
    guard let splitter = try json["pre_tokenizer"].ifPresent else { return nil }
    var steps = [splitter]
    if try splitter["type"].string() == "Sequence" { steps = Array(try splitter["pretokenizers"].elements()) }
    guard let last = steps.last, try last["type"].string() == "ByteLevel",
      try last["add_prefix_space"].ifPresent?.bool() != true
    else { return nil }
    let usesOwnPattern = try last["use_regex"].ifPresent?.bool() ?? true
    if steps.count == 1, usesOwnPattern, normalizer == nil, !takesWholePieces { return "gpt-2" }
    guard steps.count == 2, !usesOwnPattern, try steps[0]["type"].string() == "Split",
      try steps[0]["behavior"].string() == "Isolated"
    else { return nil }
    switch try steps[0]["pattern"]["Regex"].ifPresent?.string() {
    case llama3 where takesWholePieces && normalizer == nil: return "llama-bpe"
    case qwen2 where !takesWholePieces && normalizer == "NFC": return "qwen2"
    default: return nil
    }
  }

  /// Whether a template begins with a special token, alone or in a sequence of processors.
  private static func addsBeginToken(_ processor: JSONValue) throws(JSONError) -> Bool {
    guard let processor = processor.ifPresent else { return false }
    var processors = [processor]
    if try processor["type"].string() == "Sequence" { processors = Array(try processor["processors"].elements()) }
    for processor in processors where try processor["type"].string() == "TemplateProcessing" {
      for piece in try processor["single"].elements() { return try piece["SpecialToken"].ifPresent != nil }
    }
    return false
  }
}

extension HuggingFaceVocabulary {
  /// Adds the keys of the vocabulary.
  func add(to encoder: inout GGUFEncoder) {
    encoder.add(GGUFName.tokenizerModel, "gpt2")
    encoder.add("tokenizer.ggml.pre", pre)
    encoder.add(GGUFName.tokens, strings: tokens)
    encoder.add("tokenizer.ggml.token_type", integers: types)
    encoder.add("tokenizer.ggml.merges", strings: merges)
    encoder.add("tokenizer.ggml.add_bos_token", addsBeginToken)
  }
}

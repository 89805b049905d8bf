import BitNetJSON
import BitNetTernary

/// How an embedding model's hidden states become one vector, and what goes before its texts: the files of
/// sentence-transformers, or a key of a GGUF file.
package struct EmbeddingConfiguration: Sendable, Equatable, Encodable {
  /// The hidden states that make the vector.
  package enum Pooling: String, Sendable, Codable {
    /// That of the last token, which is the tokenizer's end token if it has one.
    case lastToken
    /// The mean of all.
    case mean
    /// That of the first token.
    case firstToken
  }

  package var pooling: Pooling
  /// Whether the tokens of a prompt count in the mean.
  package var includesPrompt: Bool
  /// Whether vectors are divided by their length.
  package var isNormalized: Bool
  /// What goes before a text, by the name of its task.
  package var prompts: [String: String]
  /// The name of the prompt of a text without a task.
  package var defaultPrompt: String?

  package init(
    pooling: Pooling = .lastToken, includesPrompt: Bool = true, isNormalized: Bool = true,
    prompts: [String: String] = [:], defaultPrompt: String? = nil
  ) {
    self.pooling = pooling
    self.includesPrompt = includesPrompt
    self.isNormalized = isNormalized
    self.prompts = prompts
    self.defaultPrompt = defaultPrompt
  }

  /// Reads what `encode(to:)` wrote.
  init(_ json: JSONValue) throws(JSONError) {
    var fields = try json.fields()
    let pooling = fields["pooling"]
    guard let known = Pooling(rawValue: try pooling.string()) else {
      throw pooling.error(expected: "lastToken, mean or firstToken")
    }
    self.pooling = known
    includesPrompt = try fields["includesPrompt"].bool()
    isNormalized = try fields["isNormalized"].bool()
    prompts = try fields["prompts"].texts()
    defaultPrompt = try fields["defaultPrompt"].ifPresent?.string()
  }
}

// MARK: - sentence-transformers

extension EmbeddingConfiguration {
  static let largestFile = 1 << 20

  /// Reads `modules.json` and the files that it names.
  ///
  /// - Returns: nil if the folder has no `modules.json`.
  /// - Throws: `ModelFileError` for a module or a pooling that does not end in one vector as here.
  init?(folder: String) throws(ModelFileError) {
    let modulesPath = FileAccess.join(folder, "modules.json")
    guard let modules = try Self.read(modulesPath, { (json) throws(JSONError) in try json.modules() }) else {
      return nil
    }
    self.init(isNormalized: false)
    var pooled = false
    for module in modules {
      switch module.type.split(separator: ".").last.map(String.init) ?? "" {
      case "Transformer": break
      case "Pooling":
        // The name of the folder comes from a file, and is one inside the model's folder.
        guard !module.path.isEmpty, !module.path.contains("/"), module.path != "..", module.path != "." else {
          throw ModelFileError(
            .malformed, file: modulesPath, subject: "path", finding: "is \"\(module.path)\"",
            expected: "a folder beside it, such as 1_Pooling")
        }
        try readPooling(FileAccess.join(FileAccess.join(folder, module.path), "config.json"))
        pooled = true
      case "Normalize": isNormalized = true
      default:
        throw ModelFileError(
          .unsupported, file: modulesPath, subject: "type", finding: "is \(module.type)",
          expected: "Transformer, Pooling or Normalize")
      }
    }
    guard pooled else {
      throw ModelFileError(
        .unsupported, file: modulesPath, subject: "the list", finding: "has no Pooling",
        expected: "Transformer, Pooling and Normalize")
    }
    let promptsPath = FileAccess.join(folder, "config_sentence_transformers.json")
    let given = try Self.read(promptsPath) { (json) throws(JSONError) in
      var fields = try json.fields()
      return (try fields["prompts"].ifPresent?.texts(), try fields["default_prompt_name"].ifPresent?.string())
    }
    prompts = given?.0 ?? [:]
    defaultPrompt = given?.1
    if let name = defaultPrompt, prompts[name] == nil {
      throw ModelFileError(
        .malformed, file: promptsPath, subject: "default_prompt_name", finding: "is \(name)",
        expected: "the name of one of its prompts")
    }
  }

  private mutating func readPooling(_ path: String) throws(ModelFileError) {
    let modes: [(String, Pooling)] = [
      ("pooling_mode_lasttoken", .lastToken), ("pooling_mode_mean_tokens", .mean),
      ("pooling_mode_cls_token", .firstToken),
    ]
    let names: [String: Pooling] = ["lasttoken": .lastToken, "mean": .mean, "cls": .firstToken]
    let others = ["pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens"]
    let read = try Self.read(path) { (json) throws(JSONError) in
      var fields = try json.fields()
      var chosen: [String] = []
      for name in modes.map(\.0) + others {
        if try fields[name].ifPresent?.bool() == true { chosen.append(name) }
      }
      // Newer versions name the mode instead.
      if let name = try fields["pooling_mode"].ifPresent?.string() { chosen = [name] }
      return (chosen, try fields["include_prompt"].ifPresent?.bool() ?? true)
    }
    guard let (chosen, includesPrompt) = read else {
      throw ModelFileError(.system, file: path, subject: "the file", finding: "is missing", expected: "a pooling")
    }
    let known = chosen.compactMap { name in names[name] ?? modes.first { $0.0 == name }?.1 }
    guard chosen.count == 1, known.count == 1 else {
      throw ModelFileError(
        .unsupported, file: path, subject: "the pooling",
        finding: chosen.isEmpty ? "is missing" : "is \(chosen.joined(separator: " and "))",
        expected: modes.map(\.0).joined(separator: " or "))
    }
    pooling = known[0]
    self.includesPrompt = includesPrompt
  }

  private static func read<Value>(
    _ path: String, _ body: (JSONValue) throws(JSONError) -> Value
  ) throws(ModelFileError) -> Value? {
    guard let bytes = try FileAccess.contentsIfPresent(path) else { return nil }
    return try bytes.withUnsafeBytes { (raw) throws(ModelFileError) in
      try JSONDocument.read(raw, file: path, limit: largestFile, body)
    }
  }
}

// MARK: - GGUF

extension EmbeddingConfiguration {
  /// Nil if the file says nothing about pooling.
  init?(_ metadata: GGUFMetadata, architecture: String) throws(ModelFileError) {
    if let own = try metadata.string(GGUFName.Own.embedding) {
      self = try Self(text: own, file: metadata.file, subject: "key \(GGUFName.Own.embedding)")
      return
    }
    let key = architecture + ".pooling_type"
    switch try metadata.integer(key) {
    case nil, 0: return nil
    case 1: self.init(pooling: .mean)
    case 2: self.init(pooling: .firstToken)
    case 3: self.init(pooling: .lastToken)
    case let other?: throw metadata.refusal(key, "is \(other)", expected: "0 to 3")
    }
  }

  /// The pooling's number in GGUF files.
  var ggufType: Int {
    switch pooling {
    case .mean: 1
    case .firstToken: 2
    case .lastToken: 3
    }
  }

  /// Reads the JSON that converted files hold.
  init(text: String, file: String, subject: String) throws(ModelFileError) {
    self = try Array(text.utf8).withUnsafeBufferPointer { (utf8) throws(ModelFileError) in
      try JSONDocument.read(
        UnsafeRawBufferPointer(utf8), file: file, subject: subject, limit: Self.largestFile
      ) { (json) throws(JSONError) in
        try EmbeddingConfiguration(json)
      }
    }
  }
}

extension JSONValue {
  /// An object of strings.
  fileprivate func texts() throws(JSONError) -> [String: String] {
    var texts: [String: String] = [:]
    for (name, value) in try members() { texts[try name.string()] = try value.string() }
    return texts
  }

  fileprivate func modules() throws(JSONError) -> [(type: String, path: String)] {
    var modules: [(type: String, path: String)] = []
    for module in try elements() {
      var fields = try module.fields()
      modules.append((try fields["type"].string(), try fields["path"].string()))
    }
    return modules
  }
}

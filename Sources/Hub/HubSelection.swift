package import BitNetModelFiles

/// Which files of a repository an engine needs.
package struct HubSelection: Sendable, Equatable {
  /// Small files and weights, in the order of their transfer.
  package var files: [HubFile] = []
  /// The index that names further files with weights; one of `files`.
  package var index: HubFile?
  /// Files that an engine would use, and that the repository does not have.
  package var missing: [String] = []

  private static let extras = ["generation_config.json", "tokenizer_config.json", "chat_template.jinja"]
  private static let sentences = ["modules.json", "config_sentence_transformers.json"]
  private static let tokenizers = ["tokenizer.json", "tokenizer.model"]

  /// - Parameters:
  ///   - files: those of the repository.
  ///   - name: the one file that is wanted; nil for a model with what belongs to it.
  /// - Throws: `HubError` if there is no such file, no model, or a choice of models.
  package init(_ files: [HubFile], name: String?, of model: HubModelName) throws(HubError) {
    let byPath = Dictionary(files.map { ($0.path, $0) }) { first, _ in first }
    if let name {
      guard let file = byPath[name] else {
        // Those of the same kind.
        let suffix = name.lastIndex(of: ".").map { name[$0...] } ?? ""
        let others = files.map(\.path).filter { $0.hasSuffix(suffix) }.prefix(20).joined(separator: ", ")
        throw HubError("\(model) has no file \(name)" + (others.isEmpty ? "" : "; expected one such as \(others)"))
      }
      self.files = Self.parts(of: file, among: byPath)
      return
    }
    let weights = byPath[SafetensorsFolder.singleName]
    guard let config = byPath["config.json"], weights ?? byPath[SafetensorsFolder.indexName] != nil else {
      self.files = try Self.single(files, byPath, of: model)
      return
    }
    self.files = [config]
    for name in Self.extras { add(byPath[name], name) }
    if let file = byPath["additional_chat_templates/tool_use.jinja"] { self.files.append(file) }
    // The engine reads the first of them alone.
    let tokenizer = Self.tokenizers.first { byPath[$0] != nil }
    for name in Self.tokenizers.prefix(through: tokenizer ?? Self.tokenizers[1]) { add(byPath[name], name) }
    // How an embedding model's hidden states become vectors.
    for name in Self.sentences { if let file = byPath[name] { self.files.append(file) } }
    if byPath[Self.sentences[0]] != nil {
      self.files += files.filter { file in
        let parts = file.path.split(separator: "/")
        return parts.count == 2 && parts[0].hasSuffix("_Pooling") && parts[1] == "config.json"
      }
    }
    // A single file wins over an index, as in the loader.
    if let weights {
      self.files.append(weights)
    } else if let index = byPath[SafetensorsFolder.indexName] {
      self.index = index
      self.files.append(index)
    }
  }

  /// A repository without a folder of weights: its only GGUF file, or its only converted file.
  private static func single(
    _ files: [HubFile], _ byPath: [String: HubFile], of model: HubModelName
  ) throws(HubError) -> [HubFile] {
    func first(_ file: HubFile) -> Bool { SplitName(file.path)?.number ?? 1 == 1 }
    let ggufs = files.filter { $0.path.hasSuffix(".gguf") && first($0) }
    let candidates = ggufs.isEmpty ? files.filter { $0.path.hasSuffix(".safetensors") } : ggufs
    guard candidates.count <= 1 else {
      let names = candidates.prefix(20).map { "\($0.path) (\($0.size / 1_000_000) MB)" }
      throw HubError(
        "\(model) has \(candidates.count) files with models; name one with --file: \(names.joined(separator: ", "))")
    }
    guard let file = candidates.first else {
      let other = files.contains { $0.path.hasSuffix(".bin") } ? "PyTorch's pickle files" : "no weights"
      throw HubError("\(model) has \(other); expected safetensors or GGUF files")
    }
    return parts(of: file, among: byPath)
  }

  private mutating func add(_ file: HubFile?, _ name: String) {
    if let file { files.append(file) } else { missing.append(name) }
  }

  /// Adds the files that the index names.
  ///
  /// - Parameter shards: their names.
  /// - Throws: `HubError` if the repository lacks one.
  package mutating func add(shards: [String], from files: [HubFile], of model: HubModelName) throws(HubError) {
    let byPath = Dictionary(files.map { ($0.path, $0) }) { first, _ in first }
    for name in shards {
      guard let file = byPath[name] else {
        throw HubError("\(model): its index names \(name), which the repository does not have")
      }
      self.files.append(file)
    }
  }

  /// The file, or all parts of a split one.
  private static func parts(of file: HubFile, among files: [String: HubFile]) -> [HubFile] {
    guard let part = SplitName(file.path) else { return [file] }
    let parts = files.values.filter {
      SplitName($0.path).map { $0.start == part.start && $0.count == part.count } ?? false
    }
    return parts.sorted { $0.path < $1.path }
  }
}

extension Array where Element == String {
  /// The elements up to and including `last`.
  fileprivate func prefix(through last: String) -> ArraySlice<String> {
    self[...(firstIndex(of: last) ?? endIndex - 1)]
  }
}

/// The Hugging Face cache: models that were downloaded by `bitnet pull` or by the Python client.
///
///     models--org--name/blobs/HASH              files, by the hash of their content
///     models--org--name/snapshots/COMMIT/FILE   links to them: ../../blobs/HASH
///     models--org--name/refs/BRANCH             a commit
///     models--org--name/.no_exist/COMMIT/FILE   files that the commit does not have
///     .locks/models--org--name/HASH.lock        held while a file is downloaded
///
/// Reading needs no network.
package struct HubCache: Sendable {
  /// The folder of all models, which may be missing.
  package let folder: String

  package init(folder: String) { self.folder = folder }

  /// The cache that the environment names.
  package static var current: HubCache { HubCache(folder: HubEnvironment.process.cacheFolder) }

  package func folder(of model: HubModelName) -> String { FileAccess.join(folder, model.folderName) }

  package func blob(_ hash: String, of model: HubModelName) -> String { "\(folder(of: model))/blobs/\(hash)" }

  package func snapshot(_ commit: String, of model: HubModelName) -> String {
    "\(folder(of: model))/snapshots/\(commit)"
  }

  package func locks(of model: HubModelName) -> String { "\(folder)/.locks/\(model.folderName)" }

  /// The commit that a branch or tag had when it was downloaded; the revision itself if it is a commit.
  package func commit(of revision: String, _ model: HubModelName) -> String? {
    if HubPath.isHexadecimal(revision, count: 40) { return revision }
    guard HubPath.isSafe(revision) else { return nil }
    let text = FileAccess.shortText("\(folder(of: model))/refs/\(revision)")
    return text.flatMap { HubPath.isHexadecimal($0, count: 40) ? $0 : nil }
  }

  /// The path of a model's files: the folder of its weights, or the file that the reference names, or its only file.
  ///
  /// - Throws: `ModelFileError` of kind `.system`, with the command that downloads the model, if the cache does not have
  ///   all of it.
  package func path(of reference: HubReference) throws(ModelFileError) -> String {
    let pull =
      "bitnet pull \(reference.model)"
      + (reference.revision == HubReference.mainRevision ? "" : " --revision \(reference.revision)")
    func missing(_ finding: String, _ command: String) -> ModelFileError {
      ModelFileError(
        .system, file: "\(reference)", subject: "the model", finding: "\(finding); run \(command)")
    }
    let name = "\(folder(of: reference.model))/refs/\(reference.revision)"
    if commit(of: reference.revision, reference.model) == nil, HubPath.isSafe(reference.revision),
      FileAccess.isRegularFile(name)
    {
      throw missing(
        "has a revision in the cache that is no commit: the file \(name) does not hold 40 hexadecimal digits",
        "\(pull) to write it again")
    }
    guard let commit = commit(of: reference.revision, reference.model),
      case let snapshot = snapshot(commit, of: reference.model), FileAccess.isFolder(snapshot)
    else {
      throw missing(
        "is neither a file, nor a folder, nor in the cache \(folder)",
        pull + (reference.file.map { " --file \($0)" } ?? ""))
    }
    if let file = reference.file {
      let path = FileAccess.join(snapshot, file)
      guard FileAccess.isRegularFile(path) else {
        throw missing("has no such file in the cache \(folder)", "\(pull) --file \(file)")
      }
      return path
    }
    let weights = CachedWeights(folder: snapshot)
    if weights.isComplete { return snapshot }
    // A file that was pulled by its name is the model if it is the only one.
    switch weights.files.count {
    case 0: throw missing("is not complete in the cache \(folder)", pull)
    case 1: return FileAccess.join(snapshot, weights.files[0])
    default:
      throw ModelFileError(
        .system, file: "\(reference)", subject: "the model",
        finding: "has \(weights.files.count) files with weights in the cache; expected one of "
          + weights.files.map { "\(reference)/\($0)" }.joined(separator: ", "))
    }
  }

  /// The path that a `--model` option names: a file or folder if there is one of that name, else a model of the cache.
  ///
  /// - Throws: `ModelFileError` if the text names a model that the cache does not have.
  package func resolve(_ text: String) throws(ModelFileError) -> String {
    guard !FileAccess.exists(text), let reference = HubReference(text) else { return text }
    return try path(of: reference)
  }
}

/// The weights in a snapshot's folder.
struct CachedWeights {
  /// Whether the folder has config.json and all tensors.
  let isComplete: Bool
  /// Files that hold a model of their own, sorted.
  let files: [String]

  init(folder: String) {
    func exists(_ name: String) -> Bool { FileAccess.exists(FileAccess.join(folder, name)) }
    let hasWeights =
      exists(SafetensorsFolder.singleName)
      || (exists(SafetensorsFolder.indexName)
        && (try? SafetensorsFolder.shards(inFolder: folder))?.allSatisfy(exists) == true)
    isComplete = exists("config.json") && hasWeights
    files = isComplete ? [] : FileAccess.files(below: folder).filter(Self.isModel)
  }

  /// Whether a file holds a model, or is the first part of one.
  private static func isModel(_ name: String) -> Bool {
    if name.hasSuffix(".gguf") { return SplitName(name)?.number ?? 1 == 1 }
    return name.hasSuffix(".safetensors") && !name.contains("-of-")
  }
}

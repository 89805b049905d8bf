#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

extension HubCache {
  /// Makes a blob visible under a file's name in a snapshot.
  ///
  /// - Throws: `ModelFileError` of kind `.system`.
  package func link(
    _ file: String, to hash: String, in commit: String, of model: HubModelName
  ) throws(ModelFileError) {
    let path = FileAccess.join(snapshot(commit, of: model), file)
    let blob = blob(hash, of: model)
    try FileAccess.createFolder(FileAccess.folder(path))
    let depth = file.split(separator: "/").count + 1
    let target = String(repeating: "../", count: depth) + "blobs/\(hash)"
    if FileAccess.target(ofLink: path) == target { return }
    unlink(path)
    if symlink(target, path) == 0 { return }
    // Some file systems have no symbolic links. The Python client then has the file itself in the snapshot.
    guard errno == EPERM || errno == ENOTSUP || errno == ENOSYS, rename(blob, path) == 0 else { throw refusal(path) }
  }

  /// Records which commit a branch or tag has. A revision that is a commit needs no record.
  package func record(_ commit: String, for revision: String, of model: HubModelName) throws(ModelFileError) {
    guard revision != commit else { return }
    let path = "\(folder(of: model))/refs/\(revision)"
    if FileAccess.shortText(path) != commit { try FileAccess.write(commit, to: path) }
  }

  /// Records that a commit does not have a file, so that the Python client need not ask.
  package func recordMissing(_ file: String, in commit: String, of model: HubModelName) throws(ModelFileError) {
    let path = "\(folder(of: model))/.no_exist/\(commit)/\(file)"
    if !FileAccess.exists(path) { try FileAccess.write("", to: path) }
  }

  private func refusal(_ path: String) -> ModelFileError {
    ModelFileError(.system, file: path, finding: "cannot be given its name: \(lastSystemError())")
  }
}

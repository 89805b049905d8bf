#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

extension HubCache {
  /// Removes a model with all its snapshots.
  ///
  /// - Returns: the bytes that are free now.
  /// - Throws: `ModelFileError` of kind `.system` if the cache does not have the model, a download is under way, or a
  ///   file cannot be removed.
  package func remove(_ model: HubModelName) throws(ModelFileError) -> Int {
    let path = folder(of: model)
    guard FileAccess.isPlainFolder(path) else {
      throw ModelFileError(
        .system, file: "\(model)", subject: "the model", finding: "is not in the cache \(folder)",
        expected: "one that bitnet list shows")
    }
    // Hold the locks meanwhile, so that a pull that starts now waits.
    var locks: [HubLock] = []
    for name in FileAccess.names(in: self.locks(of: model)) {
      guard let lock = try HubLock.take("\(self.locks(of: model))/\(name)") else {
        throw ModelFileError(
          .system, file: "\(model)", subject: "the model", finding: "is being downloaded by another process",
          expected: "its end first")
      }
      locks.append(lock)
    }
    defer { withExtendedLifetime(locks) {} }
    let blobs = FileAccess.names(in: "\(path)/blobs").map { "\(path)/blobs/\($0)" }
    var freed = 0
    for blob in blobs {
      if let target = FileAccess.target(ofLink: blob) {
        freed += try removeShared(target, linkedFrom: blob)
      } else {
        freed += FileAccess.size(of: blob) ?? 0
      }
    }
    // Remove the snapshots first, so that an interrupted removal leaves no model that looks complete.
    for part in ["refs", "snapshots"] { try FileAccess.remove("\(path)/\(part)") }
    try FileAccess.remove(path)
    try FileAccess.remove(self.locks(of: model))
    return freed
  }

  /// Removes a blob that the Python client keeps once for all models, unless another model has it too.
  ///
  /// Such a blob is `blobs/ab/HASH` in the cache's folder, and `HASH.refs` beside it lists the links to it. If that
  /// list cannot be trusted, the blob is kept.
  private func removeShared(_ target: String, linkedFrom blob: String) throws(ModelFileError) -> Int {
    let parts = target.split(separator: "/")
    guard let hash = parts.last.map(String.init), HubPath.isHexadecimal(hash, count: 64), parts.count >= 3,
      parts[parts.count - 2] == hash.prefix(2), parts[parts.count - 3] == "blobs"
    else { return 0 }
    let store = "\(folder)/blobs/\(hash.prefix(2))/\(hash)"
    guard FileAccess.shortText("\(folder)/blobs/.huggingface-shared-blobs") == "1", FileAccess.isPlainFile(store),
      let size = FileAccess.size(of: store), let list = FileAccess.lines("\(store).refs"),
      let lock = try HubLock.take("\(store).lock")
    else { return 0 }
    defer { withExtendedLifetime(lock) {} }
    unlink(blob)
    let isUsed = list.contains { line in
      // A line that is no path in the cache may stand for a link that still exists.
      !HubPath.isSafe(line) || FileAccess.target(ofLink: "\(folder)/\(line)")?.hasSuffix("/\(hash)") == true
    }
    if isUsed { return 0 }
    try FileAccess.remove(store)
    try FileAccess.remove("\(store).refs")
    return size
  }
}

import BitNetJSON
package import BitNetModelFiles

#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// Downloads a model into the cache.
package struct HubPull: Sendable {
  package struct Summary: Sendable {
    /// The folder of the snapshot, or the path of the one file that was asked for.
    package var path = ""
    package var commit = ""
    package var fileCount = 0
    /// Bytes of the files.
    package var byteCount = 0
    /// Bytes that had to be transferred.
    package var transferred = 0
    /// Whether the cache alone was looked at, so that the hub may have newer files.
    package var isOffline = false
  }

  private let session: HubSession
  private let cache: HubCache
  /// Small files that are transferred at the same time.
  private static let filesTogether = 4
  /// Room to leave on the disk.
  private static let spareBytes = 64 << 20

  package init(settings: HubSettings, cache: HubCache, transport: any HubTransport) {
    session = HubSession(settings: settings, transport: transport)
    self.cache = cache
  }

  /// - Parameters:
  ///   - revision: a branch, a tag or a commit.
  ///   - file: the one file that is wanted; nil for a model with all that an engine needs.
  ///   - progress: called from any thread.
  /// - Throws: `HubError` or `ModelFileError`: one sentence. What was transferred stays and is used by the next pull.
  package func run(
    _ model: HubModelName, revision: String = HubReference.mainRevision, file: String? = nil,
    progress: @escaping @Sendable (HubProgress) -> Void
  ) async throws -> Summary {
    guard HubPath.isSafe(revision) else {
      throw HubError("the revision is \(revision.debugDescription); expected a branch, a tag or a commit")
    }
    if session.settings.isOffline { return try cached(model, revision: revision, file: file) }
    let listing = try await HubListing(of: model, revision: revision, session)
    var selection = try HubSelection(listing.files, name: file, of: model)
    let meter = HubMeter(progress)
    let download = HubDownload(
      session: session, cache: cache, model: model, commit: listing.commit, meter: meter)
    try FileAccess.createFolder(cache.folder(of: model))
    if let index = selection.index {
      // The index says which files to pull.
      try await download.run(index)
      let snapshot = cache.snapshot(listing.commit, of: model)
      try selection.add(shards: SafetensorsFolder.shards(inFolder: snapshot), from: listing.files, of: model)
      meter.change { $0.received = 0 }
    }
    let total = selection.files.reduce(0) { $0 + $1.size }
    meter.change { $0.total = total }
    try requireSpace(for: selection.files, of: model)
    try await transfer(selection.files, download)
    for name in selection.missing { try cache.recordMissing(name, in: listing.commit, of: model) }
    // Last, so that the revision names nothing incomplete.
    try cache.record(listing.commit, for: revision, of: model)
    let snapshot = cache.snapshot(listing.commit, of: model)
    return Summary(
      path: file.map { FileAccess.join(snapshot, $0) } ?? snapshot, commit: listing.commit,
      fileCount: selection.files.count, byteCount: total, transferred: meter.transferred)
  }

  /// The summary of a model that the cache has, without asking the hub.
  ///
  /// - Throws: `HubError` if the cache does not have all of it.
  private func cached(_ model: HubModelName, revision: String, file: String?) throws(HubError) -> Summary {
    let path: String
    do throws(ModelFileError) {
      path = try cache.path(of: HubReference(model, revision: revision, file: file))
    } catch {
      throw HubError(
        "HF_HUB_OFFLINE is set, and the cache \(cache.folder) does not have all of \(model); expected a network to pull "
          + "it, so unset HF_HUB_OFFLINE")
    }
    var summary = Summary(path: path, commit: cache.commit(of: revision, model) ?? "", isOffline: true)
    let files = FileAccess.isFolder(path) ? FileAccess.files(below: path).map { FileAccess.join(path, $0) } : [path]
    summary.fileCount = files.count
    summary.byteCount = files.reduce(0) { $0 + (FileAccess.size(of: $1) ?? 0) }
    return summary
  }

  private func transfer(_ files: [HubFile], _ download: HubDownload) async throws {
    let isSmall = { (file: HubFile) in file.size <= PartialFile.segmentLength }
    var small = files.filter(isSmall)[...]
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<Self.filesTogether {
        if let file = small.popFirst() { group.addTask { try await download.run(file) } }
      }
      while try await group.next() != nil {
        if let file = small.popFirst() { group.addTask { try await download.run(file) } }
      }
    }
    // Each of the large files has all connections.
    for file in files where !isSmall(file) { try await download.run(file) }
  }

  /// - Throws: `HubError` if the disk has no room for the files that the cache lacks.
  private func requireSpace(for files: [HubFile], of model: HubModelName) throws(HubError) {
    var needed = 0
    for file in files {
      let blob = cache.blob(file.content.digits, of: model)
      guard FileAccess.size(of: blob) != file.size else { continue }
      needed += max(0, file.size - FileAccess.blockBytes("\(blob).ranges.incomplete"))
    }
    var status = statvfs()
    guard needed > 0, statvfs(cache.folder(of: model), &status) == 0 else { return }
    let (free, overflows) = UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize))
    let wanted = UInt64(needed + Self.spareBytes)
    guard overflows || free >= wanted else {
      throw HubError(
        "the disk of \(cache.folder) has \(free / 1_000_000) MB free; expected \(wanted / 1_000_000 + 1) MB for "
          + "\(model), so free some or set HF_HUB_CACHE to another disk")
    }
  }
}

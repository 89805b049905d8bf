extension HubCache {
  /// A model in the cache.
  package struct Model: Sendable {
    package let name: HubModelName
    /// The bytes of its blobs, those of unfinished downloads included.
    package let byteCount: Int
    /// Its snapshots, those with a name first.
    package let snapshots: [Snapshot]
  }

  /// One commit of a model.
  package struct Snapshot: Sendable {
    package let commit: String
    /// Branches and tags that had this commit when they were downloaded, sorted.
    package let revisions: [String]
    package let fileCount: Int
    /// The bytes of its files, which other snapshots of the model may share.
    package let byteCount: Int
    /// Whether all that an engine needs is there: a folder with weights, or a file with a model.
    package let isComplete: Bool
  }

  /// The models in the cache, by name.
  package func models() -> [Model] {
    FileAccess.names(in: folder).compactMap { folderName in
      guard let name = HubModelName(folderName: folderName) else { return nil }
      let folder = folder(of: name)
      let commits = Dictionary(
        grouping: FileAccess.files(below: "\(folder)/refs")
      ) { FileAccess.shortText("\(folder)/refs/\($0)") ?? "" }
      let snapshots = FileAccess.names(in: "\(folder)/snapshots").map { commit in
        let path = snapshot(commit, of: name)
        let weights = CachedWeights(folder: path)
        let sizes = FileAccess.files(below: path).compactMap { FileAccess.size(of: FileAccess.join(path, $0)) }
        return Snapshot(
          commit: commit, revisions: commits[commit] ?? [], fileCount: sizes.count, byteCount: sizes.reduce(0, +),
          isComplete: weights.isComplete || !weights.files.isEmpty)
      }
      let blobs = FileAccess.names(in: "\(folder)/blobs").reduce(0) {
        $0 + FileAccess.blockBytes("\(folder)/blobs/\($1)")
      }
      return Model(
        name: name, byteCount: blobs,
        snapshots: snapshots.filter { !$0.revisions.isEmpty } + snapshots.filter { $0.revisions.isEmpty })
    }
  }
}

import BitNetJSON
package import BitNetModelFiles

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A file of a repository at a commit.
package struct HubFile: Hashable, Sendable {
  /// Its path in the repository, which is safe to append to a folder.
  package let path: String
  package let size: Int
  package let content: ContentHash

  /// - Throws: `HubError` for a path that leads out of the folder, a size out of range or a hash that is none.
  package init(path: String, size: Int, sha1: String?, sha256: String?, in model: HubModelName) throws(HubError) {
    guard HubPath.isSafe(path) else {
      throw HubError("\(model) has a file whose name leads out of its folder; nothing of it is used")
    }
    guard 0...(1 << 44) ~= size else { throw HubError("\(model): the size of \(path) is \(size); expected 0 to 2^44") }
    self.path = path
    self.size = size
    if let sha256, HubPath.isHexadecimal(sha256, count: 64) {
      content = .sha256(sha256)
    } else if sha256 == nil, let sha1, HubPath.isHexadecimal(sha1, count: 40) {
      content = .gitSHA1(sha1)
    } else {
      throw HubError("\(model): the hash of \(path) is \(sha256 ?? sha1 ?? "missing"); expected hexadecimal digits")
    }
  }
}

/// The files of a repository at one commit.
struct HubListing: Sendable {
  let model: HubModelName
  let commit: String
  let files: [HubFile]

  private static let mostPages = 250
  private static let mostFiles = 200_000

  /// Asks the hub.
  ///
  /// - Throws: `HubError`.
  init(of model: HubModelName, revision: String, _ session: HubSession) async throws {
    let subject = "\(model)"
    let quoted = HubSettings.quoted(revision)
    let commit = try await session.json(
      session.settings.url("/api/models/\(model)/revision/\(quoted)"), subject: subject
    ) { try $0["sha"].string() }.0
    guard HubPath.isHexadecimal(commit, count: 40) else {
      throw HubError("\(model): the commit is \(commit.prefix(80).debugDescription); expected 40 hexadecimal digits")
    }
    var files: [HubFile] = []
    var next: URL? = try session.settings.url("/api/models/\(model)/tree/\(commit)?recursive=true")
    var pages = Set<URL>()
    while let page = next {
      guard pages.insert(page).inserted, pages.count <= Self.mostPages, files.count <= Self.mostFiles else {
        throw HubError("\(model): the list of files does not end; expected at most \(Self.mostPages) pages")
      }
      let found: [HubFile]
      (found, next) = try await session.json(page, subject: subject) { json in
        try json.elements().compactMap { entry in
          guard try entry["type"].string() == "file" else { return nil }
          let large = try entry["lfs"].ifPresent
          return try HubFile(
            path: entry["path"].string(), size: entry["size"].integer(), sha1: entry["oid"].ifPresent?.string(),
            sha256: large.map { try $0["oid"].string() }, in: model)
        }
      }
      files += found
    }
    self.model = model
    self.commit = commit
    self.files = files
  }
}

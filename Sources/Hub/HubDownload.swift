import BitNetHash
import BitNetModelFiles

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The download of one file into the cache.
struct HubDownload: Sendable {
  let session: HubSession
  let cache: HubCache
  let model: HubModelName
  let commit: String
  let meter: HubMeter
  /// Segments of a file that are transferred at the same time.
  static let connections = 8

  private var subject: String { "\(model)" }

  /// Makes the file part of the snapshot: with what the cache has, or from the hub.
  ///
  /// - Throws: `HubError`, `ModelFileError`.
  func run(_ file: HubFile) async throws {
    let snapshot = FileAccess.join(cache.snapshot(commit, of: model), file.path)
    let blob = cache.blob(file.content.digits, of: model)
    if FileAccess.size(of: snapshot) == file.size {
      meter.change { $0.received += file.size }
      return
    }
    let lock = try await takeLock(file)
    defer { withExtendedLifetime(lock) {} }
    if FileAccess.size(of: blob) == file.size {
      meter.change { $0.received += file.size }
    } else {
      try await transfer(file, to: blob)
    }
    removeLeftovers(of: blob)
    try cache.link(file.path, to: file.content.digits, in: commit, of: model)
  }

  private func takeLock(_ file: HubFile) async throws -> HubLock {
    let path = "\(cache.locks(of: model))/\(file.content.digits).lock"
    while true {
      if let lock = try HubLock.take(path) { return lock }
      meter.change { $0.waiting = "another download of \(file.path)" }
      try await Task.sleep(for: .milliseconds(100))
    }
  }

  private func transfer(_ file: HubFile, to blob: String) async throws {
    try FileAccess.createFolder(FileAccess.folder(blob))
    let partial = try PartialFile(blob: blob, size: file.size)
    let before = partial.received
    meter.change { $0.received += before }
    var found = try await fill(partial, file)
    if found != file.content.digits {
      // The bytes may be a mixture of two versions, or what an earlier process left: once more from the beginning.
      let bytes = partial.received
      meter.change { $0.received -= bytes }
      try partial.discard()
      found = try await fill(partial, file)
    }
    guard found == file.content.digits else {
      partial.removeFiles()
      throw HubError(
        "\(model): the \(file.content.name) of \(file.path) is \(found); expected \(file.content.digits), as the hub "
          + "says, so the hub or a proxy sends other bytes")
    }
    try partial.commit(as: blob)
  }

  /// Transfers what is missing.
  ///
  /// - Returns: the hash of the content.
  private func fill(_ partial: PartialFile, _ file: HubFile) async throws -> String {
    let transfer = HubTransfer(
      session: session, partial: partial, file: file, subject: subject,
      url: try session.settings.url(of: file.path, in: commit, of: subject), meter: meter)
    return try await withThrowingTaskGroup(of: String?.self) { group in
      for _ in 0..<Self.connections {
        group.addTask {
          try await transfer.work()
          return nil
        }
      }
      group.addTask { try await Self.hash(partial, file) }
      var digits: String?
      var ended = 0
      for try await result in group {
        if let result { digits = result } else { ended += 1 }
        // The hash waits for every byte, so it must not outlive the connections.
        if ended == Self.connections, partial.received < file.size {
          throw HubError("\(model): \(file.path) ended at byte \(partial.received) of \(file.size)")
        }
      }
      return digits ?? ""
    }
  }

  /// Hashes the file's beginning while the rest arrives.
  private static func hash(_ partial: PartialFile, _ file: HubFile) async throws -> String {
    var hash = file.content.hasher(size: file.size)
    var position = 0
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
    defer { buffer.deallocate() }
    while position < file.size {
      try Task.checkCancellation()
      let ready = partial.prefix.count
      guard position < ready else {
        try await Task.sleep(for: .milliseconds(5))
        continue
      }
      let wanted = UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(ready - position))
      let count = try partial.read(into: wanted, at: position)
      hash.update(UnsafeRawBufferPointer(rebasing: wanted.prefix(count)))
      position += count
    }
    return hash.digits()
  }

  /// Removes what other downloads of this blob left behind: its lock is held, so nobody writes to them.
  private func removeLeftovers(of blob: String) {
    let (folder, name) = (FileAccess.folder(blob), FileAccess.name(blob))
    for other in FileAccess.names(in: folder) where other.hasPrefix("\(name).") && other.hasSuffix(".incomplete") {
      try? FileAccess.remove(FileAccess.join(folder, other))
    }
  }
}

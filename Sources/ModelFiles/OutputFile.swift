#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// A file that has its name only when it is complete.
///
/// It is written under a temporary name in the same folder, `.NAME.partial-PID-RANDOM`; `commit` makes it durable and
/// renames it atomically. A link stays a link: the file that it leads to is replaced, in that file's folder. If it is released without `commit`, it is removed. (A killed process leaves its partial file
/// behind.)
package final class OutputFile {
  package typealias SystemWrite = (Int32, UnsafeRawPointer, Int) -> Int

  package let path: String
  package let temporaryPath: String
  /// The file that takes the path's place: that which a link leads to.
  private let target: String
  /// The bytes written so far.
  package private(set) var count = 0
  private var descriptor: Int32
  private let systemWrite: SystemWrite
  private let overwrite: Bool

  /// - Parameters:
  ///   - overwrite: whether an existing file is replaced.
  ///   - systemWrite: writes some of the bytes and returns their number, or -1 with `errno`; the system's `write`,
  ///     except in tests.
  /// - Throws: `ModelFileError` of kind `.system` when the file exists and may not be replaced, or cannot be created.
  package init(
    path: String, overwrite: Bool, systemWrite: @escaping SystemWrite = { write($0, $1, $2) }
  ) throws(ModelFileError) {
    self.path = path
    self.overwrite = overwrite
    self.systemWrite = systemWrite
    target = FileAccess.resolved(link: path) ?? path
    let random = String(UInt32.random(in: 0...UInt32.max), radix: 16)
    temporaryPath = FileAccess.join(FileAccess.folder(target), Self.temporaryName(target) + random)
    descriptor = -1
    try requireFree()
    descriptor = open(temporaryPath, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw refusal("cannot be created: \(lastSystemError())") }
  }

  deinit {
    guard descriptor >= 0 else { return }
    close(descriptor)
    unlink(temporaryPath)
  }

  /// The beginning of the temporary names under which this process writes a file.
  private static func temporaryName(_ path: String) -> String { ".\(FileAccess.name(path)).partial-\(getpid())-" }

  /// Removes what this process has written of a file that is not complete, for a process that is about to end without
  /// releasing its `OutputFile`.
  ///
  /// - Parameter path: as it was given to `init`.
  package static func removePartial(of path: String) {
    let path = FileAccess.resolved(link: path) ?? path
    let folder = FileAccess.folder(path), prefix = temporaryName(path)
    guard let entries = opendir(folder) else { return }
    defer { closedir(entries) }
    while let entry = readdir(entries) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name.hasPrefix(prefix) { unlink(FileAccess.join(folder, name)) }
    }
  }

  private func refusal(_ finding: String, expected: String? = nil) -> ModelFileError {
    ModelFileError(.system, file: path, finding: finding, expected: expected)
  }

  private func requireFree() throws(ModelFileError) {
    guard FileAccess.exists(path) else {
      if FileAccess.isLink(path) {
        throw refusal("is a link to a file that does not exist", expected: "a file, or a name that is not in use")
      }
      return
    }
    guard FileAccess.isRegularFile(path) else {
      throw refusal("is not a regular file", expected: "the name of a file to write")
    }
    if !overwrite { throw refusal("already exists; choose another name or pass --overwrite") }
  }

  /// Appends bytes.
  /// - Throws: `ModelFileError` of kind `.system`, with the number of bytes written, when the disk is full or broken.
  package func append(_ bytes: UnsafeRawBufferPointer) throws(ModelFileError) {
    var written = 0
    while written < bytes.count {
      let result = systemWrite(descriptor, bytes.baseAddress! + written, bytes.count - written)
      if result > 0 {
        written += result
        count += result
      } else if result == 0 || errno != EINTR {
        let reason = result == 0 ? "the disk takes no more bytes" : lastSystemError()
        throw refusal("cannot be written beyond byte \(count): \(reason)")
      }
    }
  }

  package func append(_ bytes: [UInt8]) throws(ModelFileError) {
    try bytes.withUnsafeBufferPointer { (buffer) throws(ModelFileError) in try append(UnsafeRawBufferPointer(buffer)) }
  }

  /// Replaces bytes that have been written.
  /// - Throws: `ModelFileError` of kind `.system`.
  func replace(at offset: Int, with bytes: [UInt8]) throws(ModelFileError) {
    precondition(offset >= 0 && offset + bytes.count <= count, "only written bytes can be replaced")
    let written = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(offset)) }
    guard written == bytes.count else {
      throw refusal("cannot be written at byte \(offset): \(lastSystemError())")
    }
  }

  /// Makes the file durable and renames it.
  package func commit() throws(ModelFileError) {
    guard fsync(descriptor) == 0 else { throw refusal("cannot be written to disk: \(lastSystemError())") }
    try requireFree()
    guard rename(temporaryPath, target) == 0 else { throw refusal("cannot be given its name: \(lastSystemError())") }
    close(descriptor)
    descriptor = -1
    // The name is durable only when its folder is. Some file systems cannot synchronise a folder; the file is complete
    // even then.
    let folder = open(FileAccess.folder(target), O_RDONLY | O_CLOEXEC)
    if folder >= 0 {
      fsync(folder)
      close(folder)
    }
  }
}

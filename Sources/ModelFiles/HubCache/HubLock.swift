#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// A lock on a file of the cache, which other processes respect, the Python client among them.
///
/// Released with the object.
package final class HubLock: Sendable {
  private let descriptor: Int32

  private init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  /// Takes a lock if it is free.
  ///
  /// - Returns: nil while another process, or another lock of this one, holds it.
  /// - Throws: `ModelFileError` of kind `.system` if the lock's file cannot be created.
  package static func take(_ path: String) throws(ModelFileError) -> HubLock? {
    try FileAccess.createFolder(FileAccess.folder(path))
    while true {
      let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o664)
      guard descriptor >= 0 else {
        throw ModelFileError(
          .system, file: path, subject: "the lock", finding: "cannot be created: \(lastSystemError())")
      }
      guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
        let isHeld = errno == EWOULDBLOCK
        let reason = lastSystemError()
        close(descriptor)
        if isHeld { return nil }
        throw ModelFileError(.system, file: path, subject: "the lock", finding: "cannot be taken: \(reason)")
      }
      // The holder before may have removed the file; then the lock is on a file that nobody else will open.
      var held = stat()
      var named = stat()
      if fstat(descriptor, &held) == 0, stat(path, &named) == 0, held.st_ino == named.st_ino {
        return HubLock(descriptor)
      }
      close(descriptor)
    }
  }
}

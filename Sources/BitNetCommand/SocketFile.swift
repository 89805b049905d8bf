#if Server
  import Foundation
  import Synchronization

  /// The file of a Unix socket that a server listens at. It is this process's to remove only after it has made it.
  final class SocketFile: Sendable {
    private struct Identity: Equatable {
      let device: UInt64
      let number: UInt64
    }

    private let path: String
    private let made = Mutex<Identity?>(nil)

    /// Removes a socket that an earlier server has left.
    ///
    /// - Throws: `CommandError` if something else is there, or another server listens.
    init(_ path: String) throws {
      self.path = path
      var address = sockaddr_un()
      let room = MemoryLayout.size(ofValue: address.sun_path)
      guard 1..<room ~= path.utf8.count else {
        throw CommandError("--unix-socket has \(path.utf8.count) bytes; expected a path of 1 to \(room - 1)")
      }
      var status = stat()
      guard lstat(path, &status) == 0 else { return }
      guard status.st_mode & S_IFMT == S_IFSOCK else {
        throw CommandError("\(path) is no socket; expected a path with nothing there, or an earlier server's socket")
      }
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
      #if canImport(Darwin)
        let descriptor = socket(AF_UNIX, SOCK_STREAM, 0)
      #else
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
      #endif
      guard descriptor >= 0 else { throw CommandError.system("\(path) cannot be looked at") }
      defer { close(descriptor) }
      let length = socklen_t(MemoryLayout<sockaddr_un>.size)
      let isServed = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, length) == 0 }
      }
      guard !isServed else { throw CommandError("\(path) is in use by another server; expected a path of its own") }
      guard unlink(path) == 0 else { throw CommandError.system("\(path), which an earlier server left, stays there") }
    }

    private var identity: Identity? {
      var status = stat()
      guard lstat(path, &status) == 0 else { return nil }
      return Identity(device: UInt64(status.st_dev), number: UInt64(status.st_ino))
    }

    /// Says that the server listens.
    func claim() { made.withLock { $0 = identity } }

    /// Removes the socket, unless the path has another one by now.
    func remove() {
      guard let own = made.withLock({ $0 }), own == identity else { return }
      unlink(path)
    }
  }
#endif

#if Server
  import Foundation

  /// Finds out whether a server can listen at an address, before it loads models.
  struct ListenCheck {
    private let host: String
    private let port: Int

    /// - Throws: `CommandError` that tells what is wrong with the address.
    static func check(host: String, port: Int) throws { try ListenCheck(host: host, port: port).check() }

    private func check() throws {
      var hints = addrinfo()
      hints.ai_flags = AI_PASSIVE
      #if canImport(Darwin)
        hints.ai_socktype = SOCK_STREAM
      #else
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
      #endif
      var list: UnsafeMutablePointer<addrinfo>?
      guard getaddrinfo(host, "\(port)", &hints, &list) == 0, let found = list?.pointee else {
        throw CommandError("--host is \"\(host)\", which is unknown; \(Self.expected), without brackets")
      }
      defer { freeaddrinfo(list) }
      let descriptor = socket(found.ai_family, found.ai_socktype, found.ai_protocol)
      guard descriptor >= 0 else { throw CommandError.system("\(host) cannot be listened at") }
      defer { close(descriptor) }
      // As the server does: connections that have ended keep a port for a minute.
      var one: Int32 = 1
      setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout.size(ofValue: one)))
      guard bind(descriptor, found.ai_addr, found.ai_addrlen) == 0 else { throw fault(errno) }
    }

    private func fault(_ number: Int32) -> CommandError {
      let place = "\(host.contains(":") ? "[\(host)]" : host):\(port)"
      return switch number {
      case EADDRINUSE:
        CommandError("\(place) is in use by another program; expected a free port, as --port 0 finds")
      case EACCES:
        CommandError("\(place) is not allowed; expected a port from 1024 on, or the rights of an administrator")
      case EADDRNOTAVAIL, EINVAL:
        CommandError("--host is \"\(host)\", which is no address of this computer; \(Self.expected)")
      default: CommandError("\(place) cannot be listened at: \(String(cString: strerror(number)))")
      }
    }

    private static let expected = "expected 127.0.0.1, ::1, 0.0.0.0 for all, or another address of this computer"
  }
#endif

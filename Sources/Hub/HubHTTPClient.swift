#if Hub
  import AsyncHTTPClient
  import NIOCore
  import NIOHTTP1
  import NIOPosix
  import NIOSSL
  import Synchronization

  #if canImport(Darwin)
    import Darwin
  #elseif canImport(Musl)
    import Musl
  #else
    import Glibc
  #endif
  #if canImport(FoundationEssentials)
    package import FoundationEssentials
  #else
    package import Foundation
  #endif

  /// Requests over the network, with connections that are kept for later ones. Call `shutDown` before releasing it.
  package final class HubHTTPClient: HubTransport {
    private let settings: HubSettings
    /// By proxy.
    private let clients = Mutex<[HubProxies.Proxy?: HTTPClient]>([:])
    private static let connectSeconds: Int64 = 10

    package init(_ settings: HubSettings) { self.settings = settings }

    package func shutDown() async {
      for client in clients.withLock({ Array($0.values) }) { try? await client.shutdown() }
    }

    package func get(_ url: URL, headers: [(name: String, value: String)]) async throws -> HubResponse {
      guard let origin = HubOrigin(url) else { throw HubTransportError("the address is no http address") }
      let client = try client(settings.proxies.proxy(for: origin))
      var request = HTTPClientRequest(url: url.absoluteString)
      for (name, value) in headers { request.headers.add(name: name, value: value) }
      let idle = settings.idleSeconds
      let response: HTTPClientResponse
      do {
        // The limit is for the head alone: one that arrives byte by byte must not take for ever.
        response = try await client.execute(request, timeout: .milliseconds(Int64(2000 * idle)))
      } catch {
        throw Self.readable(error, idle)
      }
      return HubResponse(
        status: Int(response.status.code), headers: response.headers.map { (name: $0.name, value: $0.value) },
        body: HubBody(body: response.body, idle: idle))
    }

    private func client(_ proxy: HubProxies.Proxy?) throws -> HTTPClient {
      try clients.withLock { clients in
        if let client = clients[proxy] { return client }
        var configuration = HTTPClient.Configuration(
          redirectConfiguration: .disallow,
          timeout: .init(
            connect: .seconds(Self.connectSeconds), read: .milliseconds(Int64(1000 * settings.idleSeconds))),
          decompression: .disabled)
        // Ranges arrive faster over connections of their own than over streams of one.
        configuration.httpVersion = .http1Only
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 32
        configuration.connectionPool.retryConnectionEstablishment = false
        if let path = settings.certificates {
          var tls = TLSConfiguration.makeClientConfiguration()
          guard let certificates = try? NIOSSLCertificate.fromPEMFile(path), !certificates.isEmpty else {
            throw HubError("SSL_CERT_FILE is \(path), which cannot be read; expected certificates in PEM form")
          }
          tls.trustRoots = .certificates(certificates)
          configuration.tlsConfiguration = tls
        }
        if let proxy {
          configuration.proxy = .server(
            host: proxy.host, port: proxy.port,
            authorization: proxy.user.map { .basic(username: $0, password: proxy.password ?? "") })
        }
        let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        clients[proxy] = client
        return client
      }
    }

    /// The error for people; a cancellation stays what it is.
    fileprivate static func readable(_ error: any Error, _ idle: Double) -> any Error {
      let seconds = "\(idle == idle.rounded() ? "\(Int(idle))" : "\(idle)") s"
      if let error = error as? HTTPClientError {
        switch error {
        case .cancelled: return CancellationError()
        case .readTimeout: return HubTransportError("nothing arrived for \(seconds)")
        case .deadlineExceeded: return HubTransportError("there was no answer in time")
        case .connectTimeout: return HubTransportError("no connection within \(connectSeconds) s")
        case .remoteConnectionClosed: return HubTransportError("the connection was closed")
        case .proxyAuthenticationRequired:
          return HubError(
            "the proxy asks for a name and a password; expected them in its address, http://NAME:PASSWORD@HOST")
        case .invalidProxyResponse: return HubTransportError("the proxy refuses the connection")
        default: return HubTransportError(error.shortDescription)
        }
      }
      switch error {
      case is CancellationError: return error
      case let error as NIOConnectionError:
        if let first = error.connectionErrors.first { return readable(first.error, idle) }
        return HubTransportError("the host \(error.host) is not known")
      case let error as IOError: return HubTransportError(String(cString: strerror(error.errnoCode)))
      case NIOSSLError.handshakeFailed(let reason):
        let isCertificate = "\(reason)".contains("CERTIFICATE_VERIFY_FAILED")
        return isCertificate
          ? HubError("the hub's certificate is not trusted; expected one of the system, or of the file SSL_CERT_FILE")
          : HubTransportError("there is no TLS connection: \(reason)")
      default: return HubTransportError("\(error)")
      }
    }
  }

  /// A body whose pieces are arrays and whose errors are for people.
  private struct HubBody: AsyncSequence, Sendable {
    typealias Element = [UInt8]
    typealias Failure = any Error

    let body: HTTPClientResponse.Body
    let idle: Double

    struct AsyncIterator: AsyncIteratorProtocol {
      var base: HTTPClientResponse.Body.AsyncIterator
      let idle: Double

      mutating func next() async throws -> [UInt8]? {
        do {
          return try await base.next().map { Array(buffer: $0) }
        } catch {
          throw HubHTTPClient.readable(error, idle)
        }
      }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(base: body.makeAsyncIterator(), idle: idle) }
  }
#endif

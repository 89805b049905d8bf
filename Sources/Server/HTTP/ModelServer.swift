#if Server
  import BitNet
  import Hummingbird
  import HummingbirdCore
  package import Logging
  import NIOCore
  import ServiceLifecycle

  /// An error that prevents a server from starting: one sentence.
  package struct ServerStartError: Error, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
  }

  /// Serves models over HTTP.
  package final class ModelServer: Service {
    package enum Address: Sendable {
      /// Port 0 takes a free one.
      case port(host: String, Int)
      case unixSocket(path: String)
    }

    package struct Configuration: Sendable {
      package var address: Address
      package var limits = ServerLimits()
      package var settings = ServerCore.Settings()
      package var crossOrigin = CrossOrigin()
      package var hosts = HostCheck.none
      package var keys: [String] = []
      /// The PEM files of a certificate and its private key; nil without TLS.
      package var certificate: (path: String, keyPath: String)?

      package init(address: Address) { self.address = address }
    }

    private let configuration: Configuration
    private let core: ServerCore
    private let keys: KeyRing
    private let certificates: CertificateStore?
    private let connections = ConnectionRegistry()
    private let logger: Logger
    private let onStart: @Sendable (_ port: Int?) async -> Void

    /// - Parameters:
    ///   - models: those that generate texts.
    ///   - embedders: those that give vectors; there is at least one of either.
    ///   - onStart: called when connections are accepted, with the port; nil for a Unix socket.
    /// - Throws: `ServerStartError`, or `RequestError` for a name that two models have.
    package init(
      _ models: [ServedModel], embedders: [ServedEmbedder] = [], configuration: Configuration, logger: Logger,
      onStart: @escaping @Sendable (_ port: Int?) async -> Void = { _ in }
    ) throws {
      self.configuration = configuration
      core = ServerCore(try ModelCatalog(models, embedders: embedders), settings: configuration.settings)
      keys = KeyRing(configuration.keys)
      certificates = try configuration.certificate.map {
        try CertificateStore(certificatePath: $0.path, keyPath: $0.keyPath)
      }
      self.logger = logger
      self.onStart = onStart
    }

    /// Uses other keys from now on.
    package func replaceKeys(with keys: [String]) { self.keys.replace(with: keys) }

    /// Reads the certificate's files again, for new connections. If that fails, the certificate stays.
    package func reloadCertificate() throws { try certificates?.reload() }

    /// Serves until the task is cancelled or its service group shuts down. New work is then refused, and the answers
    /// that run may finish within the limit.
    package func run() async throws {
      let door = FrontDoor(
        core.routes, core: core, keys: keys, crossOrigin: configuration.crossOrigin, hosts: configuration.hosts)
      let responder = FrontResponder<BasicRequestContext>(
        door: door, bodyBytes: configuration.limits.bodyBytes, metrics: core.metrics, logger: logger)
      let (limits, certificates, connections) = (configuration.limits, certificates, connections)
      // The framework's own messages are of no use to operators.
      var quiet = logger
      quiet.logLevel = max(logger.logLevel, .warning)
      let application = Application(
        responder: responder,
        server: HTTPServerBuilder {
          ServedChannel(limits: limits, certificates: certificates, connections: connections, responder: $0)
        },
        configuration: ApplicationConfiguration(
          address: configuration.address.bindAddress, backlog: 1024,
          availableConnectionsDelegate: .maximum(limits.connections, logger: quiet)),
        onServerRunning: { [onStart] channel in await onStart(channel.localAddress?.port) }, logger: quiet)
      let group = ServiceGroup(configuration: .init(services: [application], logger: quiet))
      // Detached, so that a shutdown of the services around this one does not close the port before the answers end.
      let serving = Task.detached { try await group.run() }
      try await withTaskCancellationOrGracefulShutdownHandler {
        try await serving.value
      } onCancelOrGracefulShutdown: { [self] in
        Task {
          await drain()
          await group.triggerGracefulShutdown()
          try? await Task.sleep(for: .seconds(1))
          serving.cancel()
        }
      }
    }

    /// Refuses new work, and waits for the end of the answers that run, or of the time that they have.
    private func drain() async {
      core.state.startDraining()
      connections.quiesce()
      let end = ContinuousClock.now + configuration.limits.drainTime
      while connections.count > 0, .now < end { try? await Task.sleep(for: .milliseconds(20)) }
    }
  }

  extension ModelServer.Address {
    fileprivate var bindAddress: BindAddress {
      switch self {
      case .port(let host, let port): .hostname(host, port: port)
      case .unixSocket(let path): .unixDomainSocket(path: path)
      }
    }
  }
#endif

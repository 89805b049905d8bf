#if Server
  import BitNet
  import BitNetModelFiles
  import BitNetServer
  import BitNetServing
  import Foundation
  import Logging

  /// A run of `bitnet serve`.
  struct ServeRun {
    private let options: Serve
    private let logger: Logger

    init(_ options: Serve) {
      self.options = options
      let format = options.logFormat
      var logger = Logger(label: "bitnet") { _ in ServerLogHandler(isJSON: format == .json) }
      logger.logLevel = Logger.Level(rawValue: options.logLevel.rawValue) ?? .info
      self.logger = logger
    }

    func run() async throws {
      let socket = try options.address.unixSocket.map { try SocketFile($0) }
      if socket == nil { try ListenCheck.check(host: options.address.host, port: options.address.port) }
      let server = try await makeServer(socket)
      let task = Task { try await server.run() }
      let end = SignalHandler([SIGTERM, SIGINT]) { number in
        // The second signal does not wait.
        if task.isCancelled { endProcess(by: number) }
        logger.notice("shutting down", metadata: ["signal": "\(number == SIGTERM ? "SIGTERM" : "SIGINT")"])
        task.cancel()
      }
      let reload = SignalHandler([SIGHUP]) { _ in self.reload(server) }
      defer {
        end.cancel()
        reload.cancel()
        socket?.remove()
      }
      do {
        try await task.value
      } catch let error where !(error is CancellationError) {
        throw Self.startError(error, options.address)
      }
    }

    private func makeServer(_ socket: SocketFile?) async throws -> ModelServer {
      let address = options.address
      let keys = try options.access.allKeys()
      var configuration = ModelServer.Configuration(
        address: address.unixSocket.map { .unixSocket(path: $0) } ?? .port(host: address.host, address.port))
      configuration.limits = try options.limits.connectionLimits()
      configuration.settings.tokenLimit = options.limits.maxTokens
      configuration.settings.timeLimit = options.limits.timeout.map { .seconds($0) }
      configuration.settings.receiptKey = try options.receiptKey.map { (path) throws in
        try ReceiptKey(secretFile: path)
      }
      configuration.crossOrigin = CrossOrigin(origins: options.access.origins)
      configuration.keys = keys
      let isLocal = address.unixSocket == nil && Self.isLoopback(address.host)
      if isLocal, keys.isEmpty { configuration.hosts = HostCheck(local: options.access.hosts) }
      if let certificate = address.certificate, let key = address.certificateKey {
        configuration.certificate = (certificate, key)
      }
      var models: [ServedModel] = []
      var embedders: [ServedEmbedder] = []
      for argument in arguments {
        switch try await load(argument) {
        case .model(let model): models.append(model)
        case .embedder(let embedder): embedders.append(embedder)
        }
      }
      if keys.isEmpty, address.unixSocket == nil, !isLocal {
        logger.warning("everybody who reaches this address may use the server; --api-key limits that")
      }
      return try ModelServer(
        models, embedders: embedders, configuration: configuration, logger: logger
      ) { port in
        socket?.claim()
        let scheme = address.certificate == nil ? "http" : "https"
        let host = address.host.contains(":") ? "[\(address.host)]" : address.host
        let place = address.unixSocket ?? "\(scheme)://\(host):\(port ?? address.port)"
        try? ByteOutput.standard.write("listening on \(place)\n")
      }
    }

    /// Whether only programs on this machine reach a host, which is a name or an address.
    private static func isLoopback(_ host: String) -> Bool {
      if host.lowercased() == "localhost" { return true }
      var hints = addrinfo()
      hints.ai_flags = AI_NUMERICHOST
      var found: UnsafeMutablePointer<addrinfo>?
      guard getaddrinfo(host, nil, &hints, &found) == 0, let address = found?.pointee.ai_addr else { return false }
      defer { freeaddrinfo(found) }
      switch Int32(address.pointee.sa_family) {
      case AF_INET:
        return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
          UInt32(bigEndian: $0.pointee.sin_addr.s_addr) >> 24 == 127
        }
      case AF_INET6:
        return address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
          withUnsafeBytes(of: $0.pointee.sin6_addr) { bytes in
            // ::1, and addresses of IPv4 in the form ::ffff:127.0.0.1.
            bytes.dropLast().allSatisfy { $0 == 0 } && bytes.last == 1
              || bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10...12].elementsEqual([255, 255, 127])
          }
        }
      default: return false
      }
    }

    /// The arguments for models, or those of the variable; nil for the demo model.
    private var arguments: [String?] {
      if !options.models.isEmpty { return options.models }
      let variable = ProcessInfo.processInfo.environment["BITNET_ARG_MODEL"] ?? ""
      return variable.isEmpty ? [nil] : variable.split(separator: ",").map { String($0) }
    }

    private enum Loaded {
      case model(ServedModel)
      case embedder(ServedEmbedder)
    }

    /// - Parameter argument: MODEL or NAME=MODEL; nil for the demo model.
    private func load(_ argument: String?) async throws -> Loaded {
      var names: [String] = []
      var source = argument
      while let rest = source, let equals = rest.firstIndex(of: "="), !FileManager.default.fileExists(atPath: rest) {
        names.append(String(rest[..<equals]))
        source = String(rest[rest.index(after: equals)...])
      }
      if names.isEmpty { names.append(ModelSource.servedName(of: source)) }
      guard !names.contains("") else { throw CommandError("the model's name is empty in \"\(argument ?? "")\"") }
      let path = try source.map { (source) throws in try HubCache.current.resolve(source) }
      let (created, aliases) = (Int(Date().timeIntervalSince1970), Array(names.dropFirst()))
      if let path, try ModelInspection(path: path, options: options.layout.options).embedding != nil {
        let embedder = try await options.engine.loadEmbedder(path, layout: options.layout)
        logger.info(
          "embedding model loaded",
          metadata: [
            "name": "\(names[0])", "engine": "\(embedder.device.description)", "context": "\(embedder.contextLength)",
          ])
        return .embedder(.init(name: names[0], aliases: aliases, embedder: embedder, created: created))
      }
      let limits = options.limits
      var replicas: [LanguageModel] = []
      let count = options.engine.device.choices.count
      try await options.engine.forEachDevice { engine, place in
        let (model, seconds) = try await engine.load(path, layout: options.layout, showsWarning: place == 0) {
          $0.policy = Scheduler.Policy(running: limits.maxRunning, waiting: limits.maxWaiting)
        }
        var facts: Logger.Metadata = [
          "name": "\(names[0])", "engine": "\(model.engineDescription)", "context": "\(model.contextLength)",
          "seconds": "\((seconds * 100).rounded() / 100)",
        ]
        if count > 1 { facts["replica"] = "\(place + 1) of \(count), \(engine.device)" }
        logger.info("model loaded", metadata: facts)
        replicas.append(model)
      }
      let model = replicas.removeFirst()
      if let fault = model.chatTemplateFault {
        logger.warning("chats are refused", metadata: ["name": "\(names[0])", "chat_template": "\(fault)"])
      } else if model.chatTemplate == nil {
        logger.info("the model has no chat template, so it continues chats as text", metadata: ["name": "\(names[0])"])
      }
      return .model(
        .init(name: names[0], aliases: aliases, model: model, otherReplicas: replicas, created: created))
    }

    private func reload(_ server: ModelServer) {
      do {
        server.replaceKeys(with: try options.access.allKeys())
        try server.reloadCertificate()
        logger.notice("keys and certificate read again")
      } catch {
        logger.error("keys or certificate stay as they were", metadata: ["error": "\(error)"])
      }
    }

    private static func startError(_ error: any Error, _ address: ServeAddress) -> any Error {
      let place = address.unixSocket ?? "\(address.host):\(address.port)"
      return error is ServerStartError || error is CommandError ? error : CommandError("\(place): \(error)")
    }
  }
#endif

#if Server
  public import BitNet
  import HTTPTypes
  public import Hummingbird
  public import Logging

  /// Models in an application of Hummingbird: the routes of `bitnet serve`, beside the application's own.
  ///
  /// ```swift
  /// let routes = try ModelRoutes(["demo": model])
  /// let router = Router()
  /// routes.add(to: router)
  /// try await Application(router: router).runService()
  /// ```
  ///
  /// Keys, TLS and limits of connections are the application's own.
  public struct ModelRoutes: Sendable {
    private let core: ServerCore
    private let door: FrontDoor
    private let bodyBytes: Int
    private let logger: Logger

    /// Makes routes for models.
    ///
    /// - Parameters:
    ///   - models: by the names that requests call them by: at least one. The first one in the order of names answers
    ///     requests without a name.
    ///   - bodyBytes: the longest body of a request.
    ///   - logger: gets a line for each request, without prompts.
    /// - Throws: an error for an empty list.
    public init(
      _ models: [String: LanguageModel], bodyBytes: Int = 16 << 20, logger: Logger = Logger(label: "bitnet")
    ) throws {
      guard !models.isEmpty else { throw ServerStartError("the number of models is 0; expected 1 or more") }
      let created = Int(WallClock.seconds)
      let served = models.sorted { $0.key < $1.key }.map {
        ServedModel(name: $0.key, model: $0.value, created: created)
      }
      core = ServerCore(try ModelCatalog(served))
      // Browsers' questions about other origins are the application's to answer.
      door = FrontDoor(core.routes, core: core)
      self.bodyBytes = bodyBytes
      self.logger = logger
    }

    /// Adds the routes to a router.
    public func add<Context: RequestContext>(to router: some RouterMethods<Context>) {
      let responder = FrontResponder<Context>(
        door: door, bodyBytes: bodyBytes, metrics: core.metrics, logger: logger)
      for route in core.routes {
        guard let method = HTTPRequest.Method(rawValue: route.method) else { continue }
        let path = route.path.split(separator: "/").map { part in
          part.hasPrefix("{") ? part.hasSuffix("...}") ? "**" : ":" + part.dropFirst().dropLast() : String(part)
        }
        router.on(RouterPath(path.joined(separator: "/")), method: method, responder: responder)
      }
    }
  }
#endif

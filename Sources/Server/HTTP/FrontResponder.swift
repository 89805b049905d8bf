#if Server
  package import Hummingbird
  import HummingbirdCore
  import HTTPTypes
  import Logging
  import NIOCore

  /// Answers requests of Hummingbird by the routes of a server.
  package struct FrontResponder<Context: RequestContext>: HTTPResponder {
    let door: FrontDoor
    let bodyBytes: Int
    let metrics: ServerMetrics
    let logger: Logger

    package func respond(to request: Request, context: Context) async throws -> Response {
      let start = ContinuousClock.now
      let exchange = Exchange(request)
      let found: (reply: Reply, route: String?)
      do {
        found = try await answer(exchange, request)
      } catch {
        // The status is nginx's for clients that have left.
        note(exchange, nil, status: 499, since: start, end: "cancelled")
        ConnectionState.current?.abandon()
        throw error
      }
      var reply = found.reply
      reply.headers.append(.init("X-Request-Id", exchange.id))
      let status = reply.status
      return Self.response(of: reply, isHead: request.method == .head) { end in
        note(exchange, found.route, status: status, since: start, end: end)
      }
    }

    /// Counts and logs a request, without its content.
    private func note(
      _ exchange: Exchange, _ route: String?, status: Int, since start: ContinuousClock.Instant, end: String?
    ) {
      let seconds = start.duration(to: .now) / .seconds(1)
      metrics.count(exchange.method, route, status: status, seconds: seconds)
      var metadata: Logger.Metadata = [
        "id": "\(exchange.id)", "method": "\(exchange.method)", "route": "\(route ?? "none")", "status": "\(status)",
        "ms": "\((seconds * 10_000).rounded() / 10)",
      ]
      if let end { metadata["end"] = "\(end)" }
      logger.log(level: status >= 500 ? .warning : .info, "request", metadata: metadata)
    }

    private func answer(_ exchange: Exchange, _ request: Request) async throws -> (Reply, route: String?) {
      switch door.admit(exchange) {
      case .reply(let reply): return (reply, nil)
      case .route(let route, let parameters):
        var exchange = exchange
        exchange.parameters = parameters
        for try await bytes in request.body {
          guard exchange.body.count + bytes.readableBytes <= bodyBytes else {
            let error = RequestError(
              status: 413, type: "invalid_request_error", code: "request_too_large",
              message: "the request's body is longer than \(bodyBytes) bytes, the most that this server takes")
            return (door.refusal(error, route.errors, exchange), route.path)
          }
          exchange.body += bytes.readableBytesView
        }
        let whole = exchange
        let reply = try await ConnectionState.whileConnected { try await door.answer(whole, by: route) }
        return (reply, route.path)
      }
    }

    private static func response(
      of reply: Reply, isHead: Bool, _ log: @escaping @Sendable (String?) -> Void
    ) -> Response {
      var headers = HTTPFields()
      for field in reply.headers {
        if let name = HTTPField.Name(field.name) { headers.append(HTTPField(name: name, value: field.value)) }
      }
      let status = HTTPResponse.Status(code: reply.status)
      switch reply.body {
      case .whole(let bytes, let contentType):
        log(nil)
        if reply.status != 204 { headers[.contentType] = contentType }
        if isHead { headers[.contentLength] = "\(bytes.count)" }
        return Response(
          status: status, headers: headers,
          body: isHead || reply.status == 204 ? ResponseBody() : ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
      case .stream(let contentType, let body):
        headers[.contentType] = contentType
        return Response(
          status: status, headers: headers,
          body: ResponseBody { writer in
            let sink = WriterSink(writer)
            do {
              try await ConnectionState.whileConnected { try await body(sink) }
              try await sink.finish()
              log(nil)
            } catch {
              log(error is CancellationError ? "cancelled" : "failed")
              throw error
            }
          })
      }
    }
  }

  /// A stream's body on its way to the client.
  ///
  /// Unchecked: one task at a time writes to it.
  private final class WriterSink: ReplySink, @unchecked Sendable {
    private var writer: any ResponseBodyWriter

    init(_ writer: any ResponseBodyWriter) { self.writer = writer }

    func send(_ bytes: [UInt8]) async throws { try await writer.write(ByteBuffer(bytes: bytes)) }

    func finish() async throws { try await writer.finish(nil) }
  }

  extension Exchange {
    fileprivate init(_ request: Request) {
      let given = request.headers[Self.idName].flatMap { Self.isValid(id: $0) ? $0 : nil }
      self.init(
        id: given ?? Self.newID(), method: request.method.rawValue, path: Self.decoded(request.uri.path))
      if let query = request.uri.query {
        for pair in query.split(separator: "&") {
          let parts = pair.split(separator: "=", maxSplits: 1)
          if let name = parts.first { self.query[Self.decoded(name)] = parts.count > 1 ? Self.decoded(parts[1]) : "" }
        }
      }
      headers = request.headers.map { HeaderField($0.name.rawName, $0.value) }
      // Which the framework keeps apart.
      if let host = request.head.authority { headers.insert(HeaderField("Host", host), at: 0) }
    }

    private static let idName = HTTPField.Name("X-Request-Id")!
  }
#endif

import BitNetJSON

/// Takes requests to their routes: finds the route, checks key and form, and turns errors into responses.
package struct FrontDoor: Sendable {
  package enum Admission: Sendable {
    /// The request may pass, once its body is there.
    case route(Route, parameters: [String: String])
    /// The response is known already, whatever the body says.
    case reply(Reply)
  }

  private let table: RouteTable
  private let core: ServerCore
  private let keys: KeyRing
  private let crossOrigin: CrossOrigin
  private let hosts: HostCheck

  package init(
    _ routes: [Route], core: ServerCore, keys: KeyRing = .init(), crossOrigin: CrossOrigin = .init(),
    hosts: HostCheck = .none
  ) {
    table = RouteTable(routes)
    self.core = core
    self.keys = keys
    self.crossOrigin = crossOrigin
    self.hosts = hosts
  }

  /// Looks at a request's head.
  package func admit(_ exchange: Exchange) -> Admission {
    if let host = hosts.fault(exchange) {
      return .reply(
        refusal(
          RequestError(
            status: 403, type: "invalid_request_error", code: "host_not_allowed",
            message: "Host is \(quoted(host)); expected localhost, an address, or a name of --allowed-host"),
          .ofPath(exchange.path), exchange))
    }
    if let reply = crossOrigin.preflight(exchange) { return .reply(reply) }
    switch table.match(exchange.method, exchange.path) {
    case .none:
      return .reply(
        refusal(
          RequestError(
            status: 404, type: "invalid_request_error", code: "unknown_url",
            message:
              "\(exchange.method) \(quoted(exchange.path)) is unknown; expected a path such as /v1/chat/completions"),
          .ofPath(exchange.path), exchange))
    case .otherMethods(let methods):
      if exchange.method == "OPTIONS" {
        let allow = HeaderField("Allow", methods.joined(separator: ", "))
        return .reply(Reply(status: 204, headers: [allow], body: .whole([], contentType: "text/plain")))
      }
      return .reply(
        refusal(
          RequestError(
            status: 405, type: "invalid_request_error", code: "method_not_allowed",
            message: "the method of \(exchange.path) is \(exchange.method); expected \(methods[0])",
            headers: [.init("Allow", methods.joined(separator: ", "))]),
          .ofPath(exchange.path), exchange))
    case .route(let route, let parameters):
      if let error = fault(exchange, route) { return .reply(refusal(error, route.errors, exchange)) }
      return .route(route, parameters: parameters)
    }
  }

  private func fault(_ exchange: Exchange, _ route: Route) -> RequestError? {
    if route.needsKey, !keys.admits(exchange) {
      return RequestError(
        status: 401, type: "invalid_request_error", code: "invalid_api_key",
        message: "the API key is missing or unknown; expected the field Authorization: Bearer KEY",
        headers: [.init("WWW-Authenticate", "Bearer")])
    }
    // Browsers tell their pages' origin, and programs such as curl -d call JSON a form.
    let isProgram = exchange.header("origin") == nil
    if route.takesJSON, !(route.takesAnyType && isProgram), let type = exchange.header("content-type") {
      let name = type.prefix { $0 != ";" }.filter { !$0.isWhitespace }.lowercased()
      guard name == "application/json" || name.hasSuffix("+json") else {
        // A page of any origin may send forms and plain text without asking first.
        return RequestError(
          status: 415, type: "invalid_request_error", code: "unsupported_media_type",
          message: "Content-Type is \(quoted(type)); expected application/json")
      }
    }
    if route.needsKey, route.method == "POST", core.state.isDraining {
      return RequestError(
        status: 503, type: "server_error", code: "shutting_down", message: "the server is shutting down",
        retryAfter: 1)
    }
    return nil
  }

  /// Answers a request that was admitted.
  ///
  /// - Throws: `CancellationError` when the client has left.
  package func answer(_ exchange: Exchange, by route: Route) async throws -> Reply {
    do {
      var reply = try await route.answer(exchange)
      reply.headers += crossOrigin.headers(for: exchange)
      return reply
    } catch {
      if error is CancellationError || Task.isCancelled { throw CancellationError() }
      return refusal(RequestError(error), route.errors, exchange)
    }
  }

  /// The response of an error.
  package func refusal(_ error: RequestError, _ form: ErrorForm, _ exchange: Exchange) -> Reply {
    var headers = error.headers
    if let seconds = error.retryAfter { headers.append(.init("Retry-After", "\(seconds)")) }
    headers += crossOrigin.headers(for: exchange)
    return Reply(
      status: error.status, headers: headers, body: .whole(form.body(error), contentType: "application/json"))
  }
}
